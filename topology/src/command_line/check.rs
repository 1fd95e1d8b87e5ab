//! `check`: does the engine compute what the reference computed?

use candle_core::Device;
use heartstream_models::{ModelDirectory, golden, kernels::cpu::KernelSet};

use super::{Failed, args::CheckArgs};
use crate::Checkpoint;

/// Prints the kernels that compute, and a row for each golden tensor.
pub(super) fn check(args: &CheckArgs) -> Result<(), Failed> {
    let directory = ModelDirectory::open(Checkpoint::open(&args.directory)?)?;
    let (mut rows, mut bad) = (0, 0);
    out!("kernels: {}", KernelSet::chosen());
    out!("{:<34} {:<28} {:<10} ", "tensor", "engine against reference", "tolerance");
    golden::check(&directory, &Device::Cpu, &mut |row| {
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
