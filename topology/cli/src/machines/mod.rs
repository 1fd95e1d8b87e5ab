//! More than one machine: the options for it, and the command `worker`.

mod args;
#[cfg(feature = "remote")]
mod network;
#[cfg(feature = "remote")]
mod throughput;
mod worker;

#[cfg(not(feature = "remote"))]
use heartstream::Builder;

#[cfg(not(feature = "remote"))]
use super::Failed;
pub(crate) use args::{WorkerArgs, WorkersArgs};
#[cfg(feature = "remote")]
pub(crate) use network::with_workers;
#[cfg(feature = "remote")]
pub(crate) use throughput::measured;
pub(crate) use worker::worker;

/// As this program was built, an engine has no workers on other machines.
#[cfg(not(feature = "remote"))]
pub(crate) async fn with_workers(builder: Builder, args: &WorkersArgs) -> Result<Builder, Failed> {
    if args.workers.is_empty() { Ok(builder) } else { Err(not_built()) }
}

/// As this program was built, there are no workers to be measured.
#[cfg(not(feature = "remote"))]
pub(crate) fn measured(_: &crate::bench::args::MachinesArgs) -> Result<(), Failed> {
    Err(not_built())
}

/// What a program says that was built without it.
#[cfg(not(feature = "remote"))]
fn not_built() -> Failed {
    let build = "cargo build --release --package heartstream-cli --features remote";
    Failed::Usage(format!("this program was built without work on other machines ({build})"))
}
