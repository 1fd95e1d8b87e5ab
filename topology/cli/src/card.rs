//! Card of a model: the gain that levels its songs, and how long they are.

use heartstream::Checkpoint;
use heartstream_models::ModelCard;

use super::{Failed, asked::checkpoint};

/// The card of a checkpoint; one that cannot be read costs no song.
pub(super) fn card(checkpoint: &Checkpoint) -> ModelCard {
    ModelCard::of(checkpoint).unwrap_or_else(|reason| {
        tracing::warn!("the model card is ignored: {reason}");
        ModelCard::default()
    })
}

/// The gain in decibels that `--loudness` asks for.
///
/// # Errors
/// When the model's card names none.
pub(super) fn gain(model: &str, loudness: &str) -> Result<Option<f64>, Failed> {
    if loudness == "off" {
        return Ok(None);
    }
    match card(&checkpoint(model)?).gain_db {
        Some(gain) => Ok(Some(gain)),
        None => Err(Failed::Usage(format!(
            "--loudness needs a model whose card.json names a gain (\"gain_db\"), and {model} has none. Leave it out, or \
             level the file afterwards: ffmpeg -i song.wav -af loudnorm=I=-16 levelled.wav"
        ))),
    }
}
