//! Setting of a training run: sizes, folders, device, songs and time.

use std::path::PathBuf;

use candle_core::Device;
use heartstream_models::{ModelDirectory, weights::Checkpoint};

use crate::{
    error::{Result, TrainError},
    feed::Source,
    part::Part,
    sizes::Size,
};

/// What all stages are told.
#[derive(Clone)]
pub struct Setting {
    /// The model's size.
    pub size: Size,
    /// Where everything is kept.
    pub run: PathBuf,
    /// Where is computed.
    pub device: Device,
    /// The songs.
    pub source: Source,
    /// All choices follow from it.
    pub seed: u64,
    /// Threads that render songs, and as many that learn from parts of a batch where the language model is learnt on a
    /// processor.
    pub threads: usize,
    /// Which part of the stage this is.
    pub part: Part,
    /// Minutes of this part of the stage; the learning rate falls over all parts.
    pub minutes: f64,
    /// Minutes of this call, after which the stage is kept to go on later.
    pub call_minutes: f64,
    /// Steps of this part of the stage; then the minutes do not count.
    pub steps: Option<usize>,
    /// Examples of a batch, where it is not the stage's own.
    pub batch: Option<usize>,
    /// Largest learning rate, where it is not the stage's own.
    pub rate: Option<f64>,
    /// Held-out songs that are measured, where they are not as many as the stage's own.
    pub measured: Option<usize>,
    /// Songs that are held in memory.
    pub pool: usize,
    /// Share of the language model's batches that are sequences of copies.
    pub copies: f64,
    /// Share of the frames played again that the language model reads as it drew them itself, once it has begun.
    pub drawn: f64,
    /// Passes that draw before one that is learnt from; each reads what the one before drew.
    pub draw_passes: usize,
    /// Whether the language model learns from short songs, whose parts come again at once.
    pub short: bool,
    /// Seconds between two checkpoints.
    pub kept_every: f64,
    /// Whether an autoencoder that is there keeps its encoder, so that what was built on its latents stays right.
    pub vocoder_alone: bool,
    /// A finished checkpoint, for whose latents and codes encoders are trained.
    pub beside: Option<PathBuf>,
}

impl Setting {
    /// What the part that is learnt is called in its progress.
    pub fn label(&self) -> String {
        if self.vocoder_alone { format!("vocoder alone, {}", self.part) } else { self.part.to_string() }
    }

    /// The folder of a stage.
    pub fn folder(&self, stage: &str) -> PathBuf {
        self.run.join(stage)
    }

    /// The finished weights of an earlier stage.
    pub fn weights_of(&self, stage: &str) -> Result<PathBuf> {
        let file = self.run.join(stage).join("weights.safetensors");
        if file.exists() {
            return Ok(file);
        }
        Err(TrainError::Order(format!("{}: not there; run the stage `{stage}` first", file.display())))
    }

    /// The finished checkpoint that is learnt beside, if there is one.
    ///
    /// # Errors
    /// When it cannot be read, or its codec has other sizes.
    pub fn beside(&self) -> Result<Option<ModelDirectory>> {
        let Some(model) = &self.beside else { return Ok(None) };
        let directory = ModelDirectory::open(Checkpoint::Directory(model.clone()))?;
        if directory.codec == self.size.codec() {
            return Ok(Some(directory));
        }
        Err(TrainError::Order(format!(
            "--beside {}: expected a codec of the sizes that --size {} has, found {:?}. Give a checkpoint that this \
             trainer exported, and the size that it was trained in",
            model.display(),
            format!("{:?}", self.size).to_lowercase(),
            directory.codec,
        )))
    }
}

#[cfg(test)]
impl Setting {
    /// Three steps of the smallest model on toys, kept after each.
    pub fn tiny(run: PathBuf) -> Self {
        Self {
            size: Size::Tiny,
            run,
            device: Device::Cpu,
            source: Source::Toy,
            seed: 1,
            threads: 1,
            part: Part::WHOLE,
            minutes: 1.0,
            call_minutes: 1.0,
            steps: Some(3),
            batch: Some(2),
            rate: None,
            measured: Some(2),
            pool: 4,
            copies: 0.5,
            drawn: 0.3,
            draw_passes: 2,
            short: false,
            kept_every: 0.0,
            vocoder_alone: false,
            beside: None,
        }
    }
}
