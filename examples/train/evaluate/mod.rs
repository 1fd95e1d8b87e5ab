//! How good is the model that was exported? Figures on held-out songs, each beside what real renders have.

mod heard;
mod instruments;
mod pictures;
mod round_trip;
mod songs;
mod wav;

use std::path::{Path, PathBuf};

use heartstream_models::{ModelDirectory, weights::Checkpoint};

use crate::{
    autoencoder::Autoencoder,
    codes::Codes,
    error::Result,
    language::Language,
    stage::{Setting, Stage},
};

/// What is evaluated on how many songs.
pub struct Counts {
    /// Songs that are coded and decoded.
    pub coded: usize,
    /// Held-out words that songs are written from.
    pub written: usize,
    /// Songs of each of them: more tell small differences from chance.
    pub takes: usize,
    /// Songs that the instrument classifier learns from.
    pub taught: usize,
}

/// Where sounds and pictures are put, if anywhere.
#[derive(Default)]
pub struct Shown {
    /// WAVs of each song, of the render of the same words, and of what is coded and decoded.
    pub wavs: Option<PathBuf>,
    /// A spectrogram and a chromagram of each of the first eight.
    pub pictures: Option<PathBuf>,
}

/// Prints the figures of the checkpoint in `model`. Those that ask for the latents or codes of real sound need what writes
/// them, which is exported to nobody: the run folder of the training.
pub fn evaluate(setting: &Setting, model: &Path, counts: &Counts, shown: &Shown) -> Result<()> {
    let checkpoint = Checkpoint::Directory(model.to_owned());
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let ear = instruments::Ear::taught(setting, counts.taught)?;
    match [Autoencoder::NAME, Codes::NAME]
        .into_iter()
        .map(|stage| setting.weights_of(stage))
        .collect::<Result<Vec<_>>>()
    {
        Ok(_) => {
            round_trip::print(setting, &directory, &ear, counts.coded, shown)?;
            let mut language = Language::new(setting)?;
            language.parameters().adopt(&model.join(directory.lm_part).join("model.safetensors"), &setting.device)?;
            for (name, value) in language.held_out()? {
                println!("language model, held out: {name} {value:.3}");
            }
        }
        Err(missing) => {
            println!(
                "NOT MEASURED: the autoencoder, the round trip and the language model on held-out songs ({missing})"
            );
        }
    }
    songs::print(setting, checkpoint, &ear, counts, shown)
}
