//! Flow workers for other machines: this machine decodes windows.

use heartstream_actors::{
    core_layout::CoreLayout,
    remote::server::{FlowServer, FlowServerArgs},
};
use heartstream_models::weights::{Checkpoint, Storage};
use kameo::actor::{ActorRef, Spawn};
use tokio::sync::mpsc;

use super::{
    Network,
    offer::{self, Offer},
    swarm,
};
use crate::{Decoder, EngineError, Placement};

/// Flow workers that decode windows for engines on other machines, as long as this lives.
pub struct FlowWorkers {
    servers: Vec<ActorRef<FlowServer>>,
    listening: Vec<String>,
}

impl FlowWorkers {
    /// Loads the codec of a checkpoint, and offers it in `network`: as many workers as the placement has flow workers, each
    /// for one window at a time, and by default on all cores.
    ///
    /// # Errors
    /// When the codec cannot be loaded, the placement or a device does not fit the machine, or it cannot listen.
    pub async fn offer(
        checkpoint: Checkpoint,
        storage: Storage,
        placement: &Placement,
        network: Network,
    ) -> Result<Self, EngineError> {
        if placement.flow_workers > offer::MOST_SERVERS {
            let expected = format!("at most {} for other machines", offer::MOST_SERVERS);
            let found = placement.flow_workers.to_string();
            return Err(EngineError::Option { option: "flow-workers", expected, found });
        }
        let mut placement = placement.clone();
        let all = CoreLayout::here().cores();
        if placement.flow_cores.is_none() && placement.threads.is_none() && !all.is_empty() {
            placement.flow_cores = Some(all); // no other stage computes here
        }
        let decoder = Decoder::load_as(checkpoint, storage, &placement).await?;
        let mut servers = Vec::new();
        for (site, codec) in decoder.plan.flow.iter().zip(&decoder.workers) {
            let args = FlowServerArgs { codec: codec.clone(), kind: decoder.kind.clone(), site: site.clone() };
            let server = FlowServer::spawn_in_thread(args);
            let started = server.wait_for_startup_result().await;
            started.map_err(|error| EngineError::Threads(error.to_string()))?;
            servers.push(server);
        }
        let workers = Self { servers, listening: Vec::new() };
        let offer = Offer { flow: workers.numbers(), songs: None };
        let (news, _) = mpsc::unbounded_channel(); // of no use here: engines come by themselves
        let listening = swarm::start(network, &offer, news).await?.listening;
        for server in &workers.servers {
            server.into_remote_ref().await; // from now on it is found by its number
        }
        Ok(Self { listening, ..workers })
    }

    /// The numbers that other machines know its servers by.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.servers.iter().map(|server| server.id().sequence_id()).collect()
    }

    /// How many windows it decodes at once.
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// Where it listens.
    pub fn listening(&self) -> &[String] {
        &self.listening
    }
}
