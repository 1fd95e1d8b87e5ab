//! `bench`: the cost of a way to make a song, in time and in sound. A file per bench, and what they share.

pub(super) mod args;
mod codes;
mod continuity;
mod last_to_join;
mod machine;
mod machines;
mod modes;
mod plot;
mod report;
mod scaling;
mod side_by_side;
mod songs;
mod speculation;
mod speed;
mod speed_report;
mod stages;
mod table;

use std::{error::Error, fs, path::Path};

use args::{Bench, BenchArgs, SubjectArgs};
use heartstream_models::weights::Checkpoint;
use heartstream_tools::synth::random;

use super::{Failed, asked::checkpoint};

/// Of random weights. Which they are has no influence on how long they take.
const SEED: u64 = 1;

/// Runs one bench.
pub(super) fn bench(args: &BenchArgs, quiet: bool) -> Result<(), Failed> {
    match &args.bench {
        None => speed::speed(&args.speed, quiet),
        Some(Bench::Continuity(args)) => continuity::continuity(args, quiet),
        Some(Bench::Speculation(args)) => speculation::speculation(args, quiet),
        Some(Bench::Songs(args)) => songs::songs(args, quiet),
        Some(Bench::Machines(args)) => machines::machines(args),
    }
}

/// What is measured, with a name for it: a model of random weights, or one that there is.
fn subject(SubjectArgs { model, random: size }: &SubjectArgs) -> Result<(String, Checkpoint), Failed> {
    match *size {
        Some(size) => Ok((format!("random {size:?}").to_lowercase(), random(size.into(), SEED)?)),
        None => Ok((model.model.clone(), checkpoint(&model.model)?)),
    }
}

/// Writes a drawing, or says why there is none.
fn write_plot(path: &Path, drawing: Result<String, Box<dyn Error>>) -> Result<(), Failed> {
    let drawing = drawing.map_err(|error| Failed::Error(format!("cannot draw: {error}")))?;
    fs::write(path, drawing)
        .map_err(|error| Failed::Error(format!("cannot write the plot {}: {error}", path.display())))
}
