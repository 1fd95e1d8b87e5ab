//! Networks of machines, from the options.

use std::path::Path;

use heartstream::{
    Builder,
    machines::{MachineAddress, Machines, MachinesError, Network, SharedSecret},
};

use super::args::{WorkerArgs, WorkersArgs};
use crate::{Failed, token_file, values};

/// An engine with the workers of other machines, if there are to be any. Without, nothing listens and nothing is dialled.
///
/// # Errors
/// When an option is wrong, or it cannot listen where it is to.
pub(crate) async fn with_workers(builder: Builder, args: &WorkersArgs) -> Result<Builder, Failed> {
    match &args.workers_token_file {
        Some(token_file) if !args.workers.is_empty() => {
            let machines = Machines::meet(network(&args.workers, token_file)?).await?;
            machines.listening().iter().for_each(|place| note!("workers join this machine at {place}"));
            Ok(builder.machines(machines))
        }
        _ => Ok(builder), // clap demands both or none
    }
}

/// The network of a worker.
pub(super) fn of_worker(args: &WorkerArgs) -> Result<Network, Failed> {
    let mut network = network(&args.join, &args.token_file)?;
    if !network.listen.is_empty() {
        return Err(Failed::Usage("a worker listens where --listen says, and joins HOST:PORT or mdns".to_owned()));
    }
    network.listen.extend(args.listen);
    Ok(network)
}

/// A network of `places`: HOST:PORT, listen:ADDRESS:PORT or mdns.
pub(super) fn network(places: &[String], token: &Path) -> Result<Network, Failed> {
    let token = SharedSecret::new(&token_file::read(token)?)?;
    let mut network = Network { token, listen: Vec::new(), dial: Vec::new(), mdns: false };
    for place in places.iter().map(|place| place.trim()) {
        match place.split_once("listen:") {
            _ if place == "mdns" => network.mdns = true,
            Some(("", address)) => network.listen.push(values::address(address).map_err(Failed::Usage)?),
            _ => network.dial.push(place.parse::<MachineAddress>()?),
        }
    }
    Ok(network)
}

impl From<MachinesError> for Failed {
    fn from(error: MachinesError) -> Self {
        match error {
            MachinesError::Token { .. } | MachinesError::Address(_) => Self::Usage(error.to_string()),
            error => Self::Error(error.to_string()),
        }
    }
}
