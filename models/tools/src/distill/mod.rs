//! Distillation of a drafter: on songs of the model that it will draft for, with the model's distributions as the
//! teacher.
//!
//! A song is written by the model, so what the drafter sees in training is what it will see at work. It learns to
//! predict the backbone's next output: the number itself, and what the model makes of it, the distributions of all
//! codes of the frame, with guidance. The distance of a distribution is measured by the Kullback-Leibler divergence,
//! and at the end by the total variation, which is what acceptance depends on. How good a drafter is, is measured on
//! songs that it was not trained on: how often it draws the teacher's code when it draws with the same noise.

mod loss;
mod measure;
mod songs;
mod teacher;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use heartstream_models::{
    ModelError, Result,
    heartmula::HeartMulaConfig,
    signal::KeyedNoise,
    speculation::{DrafterSizes, DrafterWeights, MOST_POSITIONS},
    weights::{Expected, TensorStore},
};

use self::{
    loss::{Batch, UNROLLED},
    teacher::Teacher,
};

pub use measure::Matches;
pub use songs::TaughtSong;

/// The last share of the steps, in which the total variation is what is made small.
const LAST_SHARE: f64 = 0.4;
/// Steps in which the learning rate grows, as a share of all.
const WARM_UP: f64 = 0.05;

/// How a drafter is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct DistillOptions {
    /// Frames that heads reach.
    pub heads: usize,
    /// Pieces of songs in a step.
    pub pieces: usize,
    /// Frames of a piece.
    pub frames: usize,
    /// Frames of a step of which all codes are learnt from; of the others it is code 0.
    pub whole_frames: usize,
    /// Steps.
    pub steps: usize,
    /// The largest learning rate.
    pub learning_rate: f64,
    /// Seed of the initial weights and of the order.
    pub seed: u64,
}

impl Default for DistillOptions {
    fn default() -> Self {
        Self { heads: 3, pieces: 8, frames: 128, whole_frames: 256, steps: 3000, learning_rate: 1e-3, seed: 1 }
    }
}

/// A drafter that is being trained.
pub struct Distillation {
    config: HeartMulaConfig,
    options: DistillOptions,
    device: Device,
    teacher: Teacher,
    variables: BTreeMap<String, Var>,
    optimizer: AdamW,
    step: usize,
}

impl Distillation {
    /// Begins with a drafter that says that the backbone's output stays what it is.
    ///
    /// # Errors
    /// When `lm`, the tensors of the language model, do not fit its config, or the device has no memory for them.
    pub fn new(config: &HeartMulaConfig, lm: &TensorStore, options: DistillOptions, device: &Device) -> Result<Self> {
        let teacher = Teacher::load(config, lm, device)?;
        let noise = KeyedNoise::new(options.seed);
        let mut variables = BTreeMap::new();
        let expected = DrafterWeights::expected(config, DrafterSizes::usual(config, options.heads));
        for (place, tensor) in (0u64..).zip(expected) {
            let values = match tensor.name.as_str() {
                "next.norm.scale" => teacher.norm.copy()?,
                name => Tensor::from_vec(beginning(name, &tensor.shape, &noise, place), &*tensor.shape, device)?,
            };
            variables.insert(tensor.name, Var::from_tensor(&values)?);
        }
        Self::with(config, teacher, options, variables, 0)
    }

    /// Goes on with weights that [`Distillation::tensors`] gave, after `step` steps.
    ///
    /// # Errors
    /// When the tensors do not fit, or the device has no memory for them.
    pub fn resume(
        config: &HeartMulaConfig,
        lm: &TensorStore,
        options: DistillOptions,
        (trained, step): (&TensorStore, usize),
        device: &Device,
    ) -> Result<Self> {
        let expected = DrafterWeights::expected(config, DrafterSizes::usual(config, options.heads));
        trained.check(&expected)?;
        let variable = |tensor: &Expected| {
            let values = trained.tensor(&tensor.name, &tensor.shape, device)?;
            Ok((tensor.name.clone(), Var::from_tensor(&values)?))
        };
        let variables = expected.iter().map(variable).collect::<Result<_>>()?;
        Self::with(config, Teacher::load(config, lm, device)?, options, variables, step)
    }

    fn with(
        config: &HeartMulaConfig,
        teacher: Teacher,
        options: DistillOptions,
        variables: BTreeMap<String, Var>,
        step: usize,
    ) -> Result<Self> {
        let parameters = ParamsAdamW { lr: options.learning_rate, weight_decay: 0.01, ..ParamsAdamW::default() };
        let optimizer = AdamW::new(variables.values().cloned().collect(), parameters)?;
        let device = teacher.norm.device().clone();
        Ok(Self { config: config.clone(), options, device, teacher, variables, optimizer, step })
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.step >= self.options.steps
    }

    /// The weights as they are now.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable.as_tensor()))
    }

    /// The drafter as it is now. What it computes can be learnt from.
    fn weights(&self) -> Result<DrafterWeights> {
        let held = self.tensors().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
        DrafterWeights::load(&self.config, &TensorStore::from_tensors(held), &self.device)
    }

    /// One step on pieces drawn from `songs`, whose numbers are on the device of this; gives the loss.
    ///
    /// # Errors
    /// When no song has more frames than the heads reach.
    pub fn train(&mut self, songs: &[TaughtSong]) -> Result<f32> {
        let reach = self.options.heads.max(UNROLLED);
        let long: Vec<&TaughtSong> = songs.iter().filter(|song| song.frames() > reach + 1).collect();
        if long.is_empty() {
            return Err(ModelError::shape("songs", format!("some of more than {} frames", reach + 1), "shorter ones"));
        }
        let progress = self.step as f64 / self.options.steps.max(1) as f64;
        let rate = if progress < WARM_UP {
            progress / WARM_UP
        } else {
            0.5 * (1.0 + (std::f64::consts::PI * (progress - WARM_UP) / (1.0 - WARM_UP)).cos())
        };
        self.optimizer.set_learning_rate(self.options.learning_rate * rate.max(0.01));
        let mut rng = KeyedNoise::new(self.options.seed ^ 0x5EED).draws(self.step as u64);
        let batch = Batch::draw(&long, &self.options, reach, &mut rng)?;
        let loss = self.loss(&batch, progress >= 1.0 - LAST_SHARE, &mut rng)?;
        self.optimizer.backward_step(&loss)?;
        self.step += 1;
        Ok(loss.to_scalar()?)
    }

    /// Writes the weights to `path`, all at once when the file is complete, with `notes` beside: as 16-bit numbers, or,
    /// `to_go_on` with, as they are.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path, notes: BTreeMap<String, String>, to_go_on: bool) -> Result<()> {
        let unwritable = |error: std::io::Error| ModelError::unwritable(path, &error);
        let numbers = if to_go_on { DType::F32 } else { DType::F16 };
        let stored = |(name, tensor): (&str, &Tensor)| {
            Ok((name.to_owned(), tensor.detach().to_device(&Device::Cpu)?.to_dtype(numbers)?))
        };
        let tensors = self.tensors().map(stored).collect::<Result<Vec<_>>>()?;
        let sizes = DrafterSizes::usual(&self.config, self.options.heads);
        let mut notes = notes;
        notes.insert("drafter".to_owned(), "one layer behind the backbone, and heads behind it".to_owned());
        notes.insert("frames".to_owned(), MOST_POSITIONS.to_string());
        notes.insert("heads".to_owned(), sizes.reach.to_string());
        notes.insert("hidden".to_owned(), sizes.hidden.to_string());
        let bytes = safetensors::serialize(tensors, Some(notes.into_iter().collect()))
            .map_err(|error| unwritable(std::io::Error::other(error)))?;
        let beside = path.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path)).map_err(|error| {
            let _ = std::fs::remove_file(&beside); // what is there of it is of no use
            unwritable(error)
        })
    }
}

/// What a tensor holds before the first step: residual branches give nothing, so that an output comes out as it went
/// in.
fn beginning(name: &str, shape: &[usize], noise: &KeyedNoise, place: u64) -> Vec<f32> {
    let mut values = vec![0f32; shape.iter().product()];
    let columns = *shape.last().unwrap_or(&1);
    if name.ends_with(".scale") {
        values.fill(1.0);
    } else if !["output_proj.weight", "w2.weight", "up.weight", "transition.to"].iter().any(|end| name.ends_with(end)) {
        noise.fill_latent(place, &mut values);
        let scale = 1.0 / (columns as f32).sqrt();
        values.iter_mut().for_each(|value| *value *= scale);
    }
    if name == "input.weight" {
        (0..shape[0]).for_each(|row| values[row * columns + row] += 1.0);
    }
    values
}
