//! Throughput of workers that there are.

use heartstream::{
    Decoder, Placement,
    machines::{Machines, Throughput},
};
use serde_json::json;

use super::network::network;
use crate::{Failed, asked::checkpoint, bench::args::MachinesArgs, render::runtime};

/// Measures the workers that are named, and says how fast they are together.
///
/// # Errors
/// When the codec cannot be loaded, none joins, or one has a fault.
pub(crate) fn measured(args: &MachinesArgs) -> Result<(), Failed> {
    let Some(token_file) = &args.workers_token_file else { return Ok(()) }; // clap demands it
    let network = network(&args.measure, token_file)?;
    let checkpoint = checkpoint(&args.model.model)?;
    let measured = runtime()?.block_on(async {
        let machines = Machines::meet(network).await?;
        let codec = args.codec_weights.codec_weights.into();
        let decoder = Decoder::load_as(checkpoint, codec, &Placement::default()).await?;
        Ok::<_, Failed>(machines.measure(&decoder, args.windows).await?)
    })?;
    let Throughput { workers, windows, time, music } = measured;
    let speed = music.0 / time.0;
    if args.json {
        out!("{}", json!({ "workers": workers, "windows": windows, "seconds": time.0, "music_per_s": speed }));
    } else {
        out!("{workers} workers decoded {windows} windows in {:.2} s: {speed:.2} s of music a second", time.0);
    }
    Ok(())
}
