//! Level of a song: the gain that its model's card names.

use super::Failed;

/// The gain in decibels that brings the median song of a model to -16 LUFS; `None` where no card names one.
pub(super) fn card_gain(model: &str) -> Option<f64> {
    (model == heartstream_demo::NAME).then_some(heartstream_demo::GAIN)
}

/// The gain that `--loudness` asks for.
///
/// # Errors
/// When the model's card names none.
pub(super) fn gain(model: &str, loudness: &str) -> Result<Option<f64>, Failed> {
    match (loudness, card_gain(model)) {
        ("off", _) => Ok(None),
        (_, Some(gain)) => Ok(Some(gain)),
        (_, None) => Err(Failed::Usage(format!(
            "--loudness needs a model whose card names a gain, which is demo, and the model is {model}. Leave it out, or \
             level the file afterwards: ffmpeg -i song.wav -af loudnorm=I=-16 levelled.wav"
        ))),
    }
}
