//! `check`: comparison of the engine with golden data.

mod report;
mod wider;

use heartstream::{
    Checkpoint, Placement,
    plan::{Devices, Plan},
};
use heartstream_models::ModelDirectory;
use heartstream_tools::golden::{self, Goldens};
use report::Report;

use super::{Failed, model_args::CheckArgs};

/// Prints what computes and in which dtypes, a row for each golden tensor, and what would help where something is not ok.
pub(super) fn check(args: &CheckArgs) -> Result<(), Failed> {
    let directory = ModelDirectory::open(Checkpoint::open(&args.directory)?)?
        .stored_as(args.lm_weights.lm_weights.into(), args.codec_weights.codec_weights.into())
        .with_flow_precision(args.flow_precision.flow_precision.into());
    // As for a song: what a device cannot do is refused.
    let flow_precision = directory.flow_precision;
    Plan::new(&Placement { devices: Devices::all(args.device), flow_precision, ..Placement::default() })?;
    if let Some(file) = &args.write_goldens {
        golden::record(&directory, file)?;
        out!("{}: what this engine computes", file.display());
        return Ok(());
    }
    let file = args.directory.join("goldens.safetensors");
    if !file.exists() {
        return Err(Failed::Error(format!(
            "there is no golden data to compare with: {}: No such file. tests/golden/half of a clone has the \
             reference's; `heartstream check DIR --write-goldens FILE` writes what the processor computes",
            file.display()
        )));
    }
    let device = args.device.open()?;
    let goldens = Goldens::open(&directory, &device, args.kv.into())?;
    let mut report = Report::begin(args, &device, &goldens)?;
    let mut verdicts = Vec::new();
    for half in goldens.halves() {
        let before = report.bad();
        goldens.check_half(half, &mut |row| report.row(row))?;
        if report.bad() > before {
            verdicts.extend(wider::verdict(&goldens, half, &device)?);
        }
    }
    goldens.not_compared().for_each(|row| report.row(row));
    report.end(&verdicts)
}
