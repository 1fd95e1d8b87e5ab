//! `check`: does the engine compute what the reference computed?

use heartstream_models::{ModelDirectory, golden, kernels::cpu::KernelSet};

use super::{Failed, args::CheckArgs};
use crate::Checkpoint;

/// Prints what computes, and a row for each golden tensor.
pub(super) fn check(args: &CheckArgs) -> Result<(), Failed> {
    let directory = ModelDirectory::open(Checkpoint::open(&args.directory)?)?;
    let (mut rows, mut bad) = (0, 0);
    let device = args.device.open()?;
    if device.is_cpu() {
        out!("kernels: {}", KernelSet::chosen());
    }
    out!("device: {}", args.device);
    out!("{:<34} {:<28} {:<10} ", "tensor", "engine against reference", "tolerance");
    golden::check(&directory, &device, &mut |row| {
        rows += 1;
        bad += usize::from(!row.ok());
        let verdict = if row.ok() { "ok" } else { "NOT OK" };
        out!("{:<34} {:<28} {:<10} {verdict}", row.tensor, row.measure.to_string(), row.limit());
        if !row.note.is_empty() {
            out!("{:<34} {}", "", row.note);
        }
    })?;
    if bad == 0 {
        out!("all {rows} ok");
        return Ok(());
    }
    out!("{bad} of {rows} not ok");
    Err(Failed::Said)
}
