//! Does the engine compute what the reference computed? The comparison behind `heartstream check`.
//!
//! A directory with golden data is a model directory with one more file, `goldens.safetensors`: inputs, and what the
//! reference implementation made of them in f32. Each tensor of it becomes a [`Row`]. The code that is compared is the
//! code that renders.

mod codec;
mod lm;
mod measure;

pub use measure::{Measure, Row};

use candle_core::Device;

use crate::{
    directory::ModelDirectory,
    error::{ModelError, Result},
    weights::Shards,
};

const FILE: &str = "goldens.safetensors";
/// How much wider tolerances are on a GPU, which adds up in an order of its own.
const SLACK_OF_A_GPU: f64 = 10.0;

/// Compares everything that the directory has golden data for; hands over each row as it is known. What a GPU computes may
/// be ten times as far off as what a processor does, but for codes, which must be equal everywhere.
///
/// # Errors
/// When the model or the golden data cannot be read, or there is nothing to compare.
pub fn check(directory: &ModelDirectory, device: &Device, report: &mut dyn FnMut(Row)) -> Result<()> {
    let goldens = Shards::open_file(&directory.checkpoint, FILE)?;
    let mut count = 0;
    let slack = if device.is_cpu() { 1.0 } else { SLACK_OF_A_GPU };
    let mut report = |row: Row| {
        count += 1;
        report(row.with_slack(slack));
    };
    if goldens.names().any(|name| name.starts_with("lm.")) {
        lm::check(&directory.load_lm(device)?, &goldens, &mut report)?;
    }
    if goldens.names().any(|name| name.starts_with("codec.")) {
        codec::check(&directory.load_codec(device)?, &goldens, slack, &mut report)?;
    }
    for name in goldens.names().filter(|name| !is_compared(&goldens, name)) {
        let note = "nothing compares this tensor: a part of its run is missing, or its name is misspelt".to_owned();
        report(Row { tensor: name.to_owned(), measure: Measure::CodesEqual(0, 0), tolerance: 0.0, note });
    }
    if count == 0 {
        return Err(ModelError::Damaged {
            path: directory.checkpoint.path_of(FILE),
            reason: "it holds no tensor that begins with `lm.` or `codec.`".to_owned(),
            remedy: "Give a directory with golden data".to_owned(),
        });
    }
    Ok(())
}

/// Whether a tensor is an input or the measure of some row, so that none is passed over in silence.
fn is_compared(goldens: &Shards, name: &str) -> bool {
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
fn floats<const N: usize>(goldens: &Shards, name: &str) -> Result<(Vec<f32>, [usize; N])> {
    Ok((goldens.floats(name)?, dims(goldens, name)?))
}

fn dims<const N: usize>(goldens: &Shards, name: &str) -> Result<[usize; N]> {
    let shape = goldens.shape(name).unwrap_or_default();
    shape.try_into().map_err(|_| ModelError::shape("dimensions of a golden tensor", N, format!("{shape:?} in {name}")))
}

/// Whole numbers of the golden data that are ids or codes.
fn ids(goldens: &Shards, name: &str) -> Result<Vec<u32>> {
    let wrong = |id: i64| ModelError::shape("ids of golden data", "from 0 to 2^32 - 1", format!("{id} in {name}"));
    goldens.integers(name)?.into_iter().map(|id| u32::try_from(id).map_err(|_| wrong(id))).collect()
}
