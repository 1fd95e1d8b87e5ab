//! `worker`: this machine decodes windows for the songs of others.

use super::args::WorkerArgs;
use crate::Failed;

/// Works until the process is asked to end.
#[cfg(feature = "remote")]
pub(crate) fn worker(args: &WorkerArgs) -> Result<(), Failed> {
    use heartstream::{Placement, machines::FlowWorkers, plan::Devices};

    use crate::{asked::checkpoint, interrupts::Interrupts, render::runtime};

    let checkpoint = checkpoint(&args.model.model)?;
    let network = super::network::of_worker(args)?;
    let first = args.device.first().copied().unwrap_or_default();
    let placement = Placement {
        flow_cores: args.flow_cores.clone().map(|list| list.0),
        threads: args.threads,
        flow_workers: args.flow_workers,
        devices: Devices { flow: first, ..Devices::default() },
        more_flow_devices: args.device.iter().skip(1).copied().collect(),
        flow_precision: args.flow_precision.flow_precision.into(),
        ..Placement::default()
    };
    runtime()?.block_on(async {
        let workers =
            FlowWorkers::offer(checkpoint, args.codec_weights.codec_weights.into(), &placement, network).await?;
        let places = match workers.listening() {
            [] => "for the machines that it joins".to_owned(),
            places => format!("on {}", places.join(", ")),
        };
        out!("heartstream decodes windows {places} ({} at once)", workers.count());
        Interrupts::listen().next().await;
        Ok(())
    })
}

/// As this program was built, there is no such work.
#[cfg(not(feature = "remote"))]
pub(crate) fn worker(_: &WorkerArgs) -> Result<(), Failed> {
    Err(super::not_built())
}
