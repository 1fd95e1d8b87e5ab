//! Comparison with golden data: the reference's results, stage by stage.
//!
//! A directory with golden data is a model directory with one more file, `goldens.safetensors`: inputs, and what the
//! reference implementation made of them in f32. Each tensor of it becomes a [`Row`]. The code that is compared is the
//! code that renders.

mod codec;
mod dtypes;
mod lm;
mod measure;
mod record;

pub use dtypes::{Dtypes, Half, Wider};
pub use measure::{Measure, Row};
pub use record::record;

use std::sync::Arc;

use candle_core::Device;
use heartstream_models::{
    ModelDirectory, ModelError, Result, WeightDtype, foreign_text::shown, heartmula::HeartMula, weights::TensorStore,
};

const FILE: &str = "goldens.safetensors";
/// How much wider tolerances are on a GPU, which adds up in an order of its own.
const SLACK_OF_A_GPU: f64 = 10.0;

/// The golden data of a model directory, and how the model is held while it is compared with them.
#[derive(Debug, Clone)]
pub struct Goldens {
    directory: ModelDirectory,
    device: Device,
    kv: Option<WeightDtype>,
    file: Arc<TensorStore>,
}

/// Compares everything that the directory has golden data for, with the model held as it is when it renders; hands over
/// each row as it is known.
///
/// # Errors
/// As [`Goldens::open`] and [`Goldens::check`].
pub fn check(directory: &ModelDirectory, device: &Device, report: &mut dyn FnMut(Row)) -> Result<()> {
    Goldens::open(directory, device, None)?.check(report)
}

impl Goldens {
    /// Reads which golden data there are. The model will be computed on `device`, its weights stored as the directory
    /// says, keys and values as `kv`; `None` is what suits the size of the model.
    ///
    /// # Errors
    /// When the golden data cannot be read, or there is nothing to compare.
    pub fn open(directory: &ModelDirectory, device: &Device, kv: Option<WeightDtype>) -> Result<Self> {
        let file = Arc::new(TensorStore::open_file(&directory.checkpoint, FILE)?);
        let goldens = Self { directory: directory.clone(), device: device.clone(), kv, file };
        if goldens.halves().next().is_none() {
            return Err(ModelError::Damaged {
                path: directory.checkpoint.path_of(FILE),
                reason: "it holds no tensor that begins with `lm.` or `codec.`".to_owned(),
                remedy: "Give a directory with golden data".to_owned(),
            });
        }
        Ok(goldens)
    }

    /// The halves of the model that there are golden data for.
    pub fn halves(&self) -> impl Iterator<Item = Half> {
        Half::ALL.into_iter().filter(|half| self.file.names().any(|name| name.starts_with(half.prefix())))
    }

    /// Compares everything; hands over each row as it is known. What a GPU computes may be ten times as far off as what
    /// a processor does, but for codes, which must be equal everywhere.
    ///
    /// # Errors
    /// When the model or the golden data cannot be read.
    pub fn check(&self, report: &mut dyn FnMut(Row)) -> Result<()> {
        self.halves().try_for_each(|half| self.check_half(half, report))?;
        self.not_compared().for_each(report);
        Ok(())
    }

    /// A row for each tensor that no comparison reads, so that none is passed over in silence. None of them is ok.
    pub fn not_compared(&self) -> impl Iterator<Item = Row> {
        self.file.names().filter(|name| !is_compared(&self.file, name)).map(|name| {
            let note = "nothing compares this tensor: a part of its run is missing, or its name is misspelt".to_owned();
            Row { tensor: name.to_owned(), measure: Measure::CodesEqual(0, 0), tolerance: 0.0, note }
        })
    }

    /// Compares one half of the model.
    ///
    /// # Errors
    /// As [`Goldens::check`].
    pub fn check_half(&self, half: Half, report: &mut dyn FnMut(Row)) -> Result<()> {
        let slack = if self.device.is_cpu() { 1.0 } else { SLACK_OF_A_GPU };
        let mut report = |row: Row| report(row.with_slack(slack));
        match half {
            Half::LanguageModel => lm::check(&self.load_lm()?, &self.file, &mut report),
            Half::Codec => codec::check(&self.directory.load_codec(&self.device)?, &self.file, slack, &mut report),
        }
    }

    fn load_lm(&self) -> Result<HeartMula> {
        let model = self.directory.load_lm(&self.device)?;
        Ok(match self.kv {
            Some(dtype) => model.keeping_kv_as(dtype),
            None => model,
        })
    }
}

/// Whether a tensor is an input or the measure of some row.
fn is_compared(goldens: &TensorStore, name: &str) -> bool {
    let there = |name: &str| goldens.shape(name).is_some();
    match name.split('.').collect::<Vec<_>>()[..] {
        ["tags_ids" | "lyrics_ids"] | ["codec", "codes" | "rvq_output"] => true,
        ["codec", "condition"] => there("codec.rvq_output"),
        ["codec", "estimator", "input" | "timestep" | "output"] => there("codec.estimator.output"),
        ["codec", "vocoder", "latent" | "pcm"] => there("codec.vocoder.pcm"),
        ["lm", run, "greedy_codes" | "logits"] => there(&format!("lm.{run}.greedy_codes")),
        ["codec", run, "codes" | "noise" | "latents" | "pcm"] => there(&format!("codec.{run}.noise")),
        _ => false,
    }
}

/// A tensor of the golden data with its shape, which must have `N` dimensions.
fn floats<const N: usize>(goldens: &TensorStore, name: &str) -> Result<(Vec<f32>, [usize; N])> {
    Ok((goldens.floats(name)?, dims(goldens, name)?))
}

fn dims<const N: usize>(goldens: &TensorStore, name: &str) -> Result<[usize; N]> {
    let shape = goldens.shape(name).unwrap_or_default();
    let dims = <[usize; N]>::try_from(shape).ok().filter(|dims| !dims.contains(&0));
    dims.ok_or_else(|| {
        let found = format!("{shape:?} in {}", shown(name));
        ModelError::shape("dimensions of a golden tensor", format!("{N}, none of them 0"), found)
    })
}

/// Says that the tensor `name` of the golden data has another shape than the model's sizes ask for.
fn unfit(name: &str, expected: impl std::fmt::Debug, found: impl std::fmt::Debug) -> ModelError {
    let found = format!("{found:?} in {}", shown(name));
    ModelError::shape("shape of a golden tensor of this model", format!("{expected:?}"), found)
}

/// Whole numbers of the golden data that are ids or codes.
fn ids(goldens: &TensorStore, name: &str) -> Result<Vec<u32>> {
    let wrong =
        |id: i64| ModelError::shape("ids of golden data", "from 0 to 2^32 - 1", format!("{id} in {}", shown(name)));
    goldens.integers(name)?.into_iter().map(|id| u32::try_from(id).map_err(|_| wrong(id))).collect()
}
