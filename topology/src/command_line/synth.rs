//! `synth`: a checkpoint of random weights, for trying and testing.

use heartstream_models::synth::synthesise;

use super::{Failed, args::SynthArgs};

/// Writes the checkpoint.
pub(super) fn synth(args: &SynthArgs) -> Result<(), Failed> {
    synthesise(args.size.into(), args.seed, &args.out)?;
    out!("{}", args.out.display());
    Ok(())
}
