//! `synth`: a checkpoint of random weights, for trying and testing.

use heartstream_tools::synth::synthesise;

use super::{Failed, model_args::SynthArgs, weights_bar::WeightsBar};

/// Writes the checkpoint.
pub(super) fn synth(args: &SynthArgs, quiet: bool) -> Result<(), Failed> {
    let mut bar = WeightsBar::new(quiet);
    synthesise(args.size.into(), args.seed, &args.out, &mut |done, all| bar.show(done, all))?;
    out!("{}", args.out.display());
    Ok(())
}
