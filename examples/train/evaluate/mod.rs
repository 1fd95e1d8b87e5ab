//! How good is the model that was exported? Figures on held-out songs, each beside what real renders have.

mod heard;
mod instruments;
mod pictures;
mod round_trip;
mod songs;
mod wav;

use std::path::{Path, PathBuf};

use candle_core::Device;
use heartstream_models::{ModelDirectory, weights::Checkpoint};

use crate::{
    autoencoder::Autoencoder,
    codes::Codes,
    error::{Result, TrainError},
    language::Language,
    parameters::read_weights,
    semantic::codebook,
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
    if counts.takes == 0 {
        return Err(TrainError::Order("--takes: expected 1 or more, found 0".to_owned()));
    }
    let checkpoint = Checkpoint::Directory(model.to_owned());
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let ear = instruments::Ear::taught(setting, counts.taught)?;
    match [Autoencoder::NAME, Codes::NAME]
        .into_iter()
        .map(|stage| setting.weights_of(stage))
        .collect::<Result<Vec<_>>>()
    {
        Ok(_) => {
            belongs_together(setting, &directory)?;
            if counts.coded > 0 {
                round_trip::print(setting, &directory, &ear, counts.coded, shown)?;
            }
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
    if counts.written > 0 {
        songs::print(setting, checkpoint, &ear, counts, shown)?;
    }
    Ok(())
}

/// Whether the codes of a run are those of a model: else all that is made of them would be another's.
fn belongs_together(setting: &Setting, directory: &ModelDirectory) -> Result<()> {
    let (device, sizes) = (Device::Cpu, &directory.codec);
    let weights = setting.weights_of(Codes::NAME)?;
    let (run, shards) = (read_weights(&weights, &device)?, directory.codec_shards()?);
    for quantizer in 0..sizes.num_quantizers {
        let name = codebook(quantizer);
        let model = shards.tensor(&name, &[1, sizes.codebook_size, sizes.codebook_dim], &device)?;
        let same = match run.get(&name) {
            Some(run) if run.dims() == model.dims() => (run - &model)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-3,
            _ => false,
        };
        if !same {
            return Err(TrainError::Order(format!(
                "{}: expected the codes of the model {}, found others ({name}). Give --run the folder that it was exported \
                 from, or one that is not there to measure songs alone",
                weights.display(),
                directory.checkpoint.path_of("").display(),
            )));
        }
    }
    Ok(())
}
