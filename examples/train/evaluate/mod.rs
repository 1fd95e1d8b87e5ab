//! Evaluation of the exported model: figures on held-out songs, each beside those of real renders.

mod audio_features;
mod chroma;
mod comb;
pub mod copied;
mod edges;
mod form;
mod instruments;
mod pictures;
mod prompts;
mod rendered;
mod round_trip;
mod songs;
pub mod steps;
mod steps_plot;
mod users;
mod wav;

pub use rendered::SamplingArgs;

use std::path::{Path, PathBuf};

use candle_core::Device;
use heartstream_models::{ModelDirectory, weights::Checkpoint};

use crate::{
    autoencoder::Autoencoder,
    codes::Codes,
    corpus::Manner,
    error::{Result, TrainError},
    language::Language,
    parameters::read_weights,
    semantic::codebook,
    setting::Setting,
    stage::Stage,
};

/// The demo model.
pub const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo");

/// Encoders of its latents and codes: a run folder with two stages that were trained beside it.
const ENCODERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/encoders");

/// What is evaluated on how many songs.
pub struct Counts {
    /// Songs that are coded and decoded.
    pub coded: usize,
    /// Held-out words that songs are written from.
    pub written: usize,
    /// Prompts in a user's manner that songs are written from.
    pub prompts: usize,
    /// Songs of each of them: more resolve smaller differences.
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

/// Prints the figures of the checkpoint in `model`. Those that ask for the latents or codes of real sound need what
/// encodes them, which no checkpoint has: the run folder of the training, or of the stages that were learnt beside it.
///
/// # Errors
/// When the checkpoint cannot be read, or a song cannot be written or measured.
pub fn evaluate(setting: &Setting, model: &Path, counts: &Counts, sampling: SamplingArgs, shown: &Shown) -> Result<()> {
    if counts.takes == 0 {
        return Err(TrainError::Order("--takes: expected 1 or more, found 0".to_owned()));
    }
    let checkpoint = Checkpoint::Directory(model.to_owned());
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let classifier = instruments::InstrumentClassifier::taught(setting, counts.taught)?;
    match encoders(setting, &directory)? {
        _ if counts.coded == 0 => {}
        Ok(encoders) => {
            println!("encoders of latents and codes: {}", encoders.run.display());
            round_trip::print(&encoders, &directory, &classifier, counts.coded, shown)?;
            for (manner, of) in [(Manner::Excerpt, "excerpts"), (Manner::Form, "whole songs")] {
                let mut language = Language::of(&encoders, &directory, manner)?;
                let weights = model.join(&directory.lm_part).join("model.safetensors");
                language.parameters().adopt(&weights, &setting.device)?;
                for (name, value) in language.held_out()? {
                    println!("language model, held-out {of}: {name} {value:.3}");
                }
            }
        }
        Err(missing) => {
            println!(
                "NOT MEASURED: the autoencoder, the round trip and the language model on held-out songs ({missing})"
            );
        }
    }
    let renderer = rendered::Renderer::open(checkpoint, sampling)?;
    if counts.written > 0 {
        songs::print(setting, &renderer, &classifier, counts, shown)?;
    }
    if counts.prompts > 0 {
        users::print(setting, &renderer, &classifier, counts, shown)?;
    }
    Ok(())
}

/// The setting with a run that has encoders of this model: the one that was given, or what the
/// repository has for the demo model. If neither does, why.
fn encoders(setting: &Setting, directory: &ModelDirectory) -> Result<std::result::Result<Setting, TrainError>> {
    let stages = [Autoencoder::NAME, Codes::NAME];
    let missing = match stages.map(|stage| setting.weights_of(stage)) {
        [Ok(_), Ok(_)] => {
            belongs_together(setting, directory)?;
            return Ok(Ok(setting.clone()));
        }
        [Err(missing), _] | [_, Err(missing)] => missing,
    };
    let ours = Setting { run: ENCODERS.into(), ..setting.clone() };
    let fits = stages.iter().all(|stage| ours.weights_of(stage).is_ok()) && belongs_together(&ours, directory).is_ok();
    Ok(if fits { Ok(ours) } else { Err(missing) })
}

/// Whether the codes of a run are those of a model: else all that is made of them would be another's.
pub fn belongs_together(setting: &Setting, directory: &ModelDirectory) -> Result<()> {
    let (device, sizes) = (Device::Cpu, &directory.codec);
    let weights = setting.weights_of(Codes::NAME)?;
    let (run, store) = (read_weights(&weights, &device)?, directory.codec_store()?);
    for quantizer in 0..sizes.num_quantizers {
        let name = codebook(quantizer);
        let model = store.tensor(&name, &[1, sizes.codebook_size, sizes.codebook_dim], &device)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoders_of_the_demo_model_are_there_and_both_together_are_32_mib_at_most() {
        let model = Path::new(DEMO);
        let directory = ModelDirectory::open(Checkpoint::Directory(model.to_owned())).expect("the demo model");
        let run = tempfile::tempdir().expect("a temporary directory").path().join("no run");
        let setting = Setting { size: crate::sizes::Size::Demo, ..Setting::tiny(run) };
        let encoders =
            encoders(&setting, &directory).expect("weights that can be read").expect("weights that are there");
        assert_eq!(encoders.run, Path::new(ENCODERS));
        crate::autoencoder::finished(&encoders).expect("an encoder");
        crate::codes::Coder::open(&encoders).expect("an encoder and its codes");
        let bytes: u64 = [model, Path::new(ENCODERS)].into_iter().map(bytes_in).sum();
        assert!(bytes <= 32 << 20, "{bytes} bytes");
    }

    fn bytes_in(folder: &Path) -> u64 {
        let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file"));
        files
            .map(|file| match file.metadata().expect("its size") {
                folder if folder.is_dir() => bytes_in(&file.path()),
                file => file.len(),
            })
            .sum()
    }
}
