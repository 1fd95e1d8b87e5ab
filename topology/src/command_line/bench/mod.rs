//! `bench`: what does a way of making a song cost, in time and in sound? A file per bench, and what they share.

pub(super) mod args;
mod codes;
mod continuity;
mod modes;
mod plot;
mod report;
mod speculation;
mod speed;
mod speed_report;
mod stages;
mod table;

use super::Failed;
use args::{Bench, BenchArgs};

/// Runs one bench.
pub(super) fn bench(args: &BenchArgs, quiet: bool) -> Result<(), Failed> {
    match &args.bench {
        None => speed::speed(&args.speed, quiet),
        Some(Bench::Continuity(args)) => continuity::continuity(args, quiet),
        Some(Bench::Speculation(args)) => speculation::speculation(args, quiet),
    }
}
