//! `worker`: this machine decodes windows for the songs of others, or makes whole songs.

use super::args::WorkerArgs;
use crate::Failed;

/// Works until the process is asked to end.
#[cfg(feature = "remote")]
pub(crate) fn worker(args: &WorkerArgs) -> Result<(), Failed> {
    use heartstream::{
        Heartstream, Placement,
        machines::{FlowWorkers, SongMaker},
        plan::{Devices, Storage},
    };

    use crate::{asked::checkpoint, interrupts::Interrupts, render::runtime};

    let checkpoint = checkpoint(&args.model.model)?;
    let network = super::network::of_worker(args)?;
    let first = args.device.first().copied().unwrap_or_default();
    let codec = args.codec_weights.codec_weights.into();
    let placement = Placement {
        flow_cores: args.flow_cores.clone().map(|list| list.0),
        threads: args.threads,
        flow_workers: args.flow_workers,
        devices: if args.songs { Devices::all(first) } else { Devices { flow: first, ..Devices::default() } },
        more_flow_devices: args.device.iter().skip(1).copied().collect(),
        flow_precision: args.flow_precision.flow_precision.into(),
        ..Placement::default()
    };
    let says = |what: &str, listening: &[String], count: usize| match listening {
        [] => out!("heartstream {what} for the machines that it joins ({count} at once)"),
        places => out!("heartstream {what} on {} ({count} at once)", places.join(", ")),
    };
    runtime()?.block_on(async {
        if args.songs {
            let builder = Heartstream::builder(checkpoint).placement(placement).weights(Storage::Auto, codec);
            let maker = SongMaker::offer(builder.build().await?, args.max_songs, network).await?;
            says("makes songs", maker.listening(), maker.count());
            Interrupts::listen().next().await;
        } else {
            let workers = FlowWorkers::offer(checkpoint, codec, &placement, network).await?;
            says("decodes windows", workers.listening(), workers.count());
            Interrupts::listen().next().await;
        }
        Ok(())
    })
}

/// As this program was built, there is no such work.
#[cfg(not(feature = "remote"))]
pub(crate) fn worker(_: &WorkerArgs) -> Result<(), Failed> {
    Err(super::not_built())
}
