//! `convert`: a published checkpoint, once, as the files that the engine computes with.

use heartstream_models::ModelDirectory;

use super::{Failed, asked::checkpoint, model_args::ConvertArgs, weights_bar::WeightsBar};

/// Writes the checkpoint.
pub(super) fn convert(args: &ConvertArgs, quiet: bool) -> Result<(), Failed> {
    if args.out.exists() {
        return Err(Failed::Usage(format!(
            "--out {} is there already. Give a directory that is not there yet",
            args.out.display()
        )));
    }
    let directory = ModelDirectory::open(checkpoint(&args.model.model)?)?;
    directory.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let mut bar = WeightsBar::new(quiet);
    heartstream_tools::convert(&directory, &args.out, args.codec.into(), &mut |done, all| bar.show(done, all))?;
    out!("{}", args.out.display());
    Ok(())
}
