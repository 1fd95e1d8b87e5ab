//! More than one machine: workers for the engines of others, and workers of others for an engine of this one.
//!
//! Machines that have the same secret connect over TCP: libp2p's private network, in it noise, in it yamux. Orders and
//! answers are messages of kameo's remote actors. `docs/machines.md` says when it pays and what is protected.
//!
//! - [`SharedSecret`], [`MachineAddress`]: the secret, and where machines are
//! - `transport`: the connections, `swarm`: with whom, `dialing`: those that are set up again and again; `offer`: what machines say they can do,
//!   `asking`: what they are asked to do
//! - [`FlowWorkers`]: this machine decodes windows for others; [`SongMaker`]: it makes whole songs, by `song_server`
//! - [`Machines`]: other machines work for an engine here; `joining`: who is taken, and who is left out; `song_proof`: the
//!   song by which one is proved; `throughput`: how fast they decode windows together

mod address;
mod asking;
mod dialing;
mod error;
mod flow_workers;
mod joining;
mod kind;
mod offer;
mod song_maker;
mod song_proof;
mod song_server;
mod swarm;
mod throughput;
mod token;
mod transport;

#[cfg(test)]
mod hostile_members;
#[cfg(test)]
mod hostile_songs;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use heartstream_actors::remote::{song_workers::SongWorkers, workers::RemoteWorkers};
use tokio::sync::{mpsc, watch};

pub use address::MachineAddress;
pub use error::MachinesError;
pub use flow_workers::FlowWorkers;
pub(crate) use kind::flow_kind;
pub use song_maker::SongMaker;
pub use throughput::Throughput;
pub use token::SharedSecret;

use crate::{EngineError, Heartstream, decoder::Decoder, engine::Weights};
use joining::{Joining, SongsWanted};
use offer::Offer;
use swarm::{Command, News};

/// How long an engine waits for the machines that were named, before its first song.
const WAIT_FOR_NAMED: Duration = Duration::from_secs(5);

/// Where this machine meets others.
#[derive(Debug, Clone)]
pub struct Network {
    /// The secret that all machines share.
    pub token: SharedSecret,
    /// Where it listens for them.
    pub listen: Vec<SocketAddr>,
    /// Machines that it connects to, again when a connection ends.
    pub dial: Vec<MachineAddress>,
    /// Whether it is found, and finds others, by multicast DNS in its local network.
    pub mdns: bool,
}

/// Other machines, for one engine of this one. Clones are the same.
#[derive(Clone)]
pub struct Machines(Arc<Inner>);

struct Inner {
    news: Mutex<Option<mpsc::UnboundedReceiver<News>>>,
    commands: mpsc::UnboundedSender<Command>,
    named: usize,
    mdns: bool,
    listening: Vec<String>,
    /// There once an engine has them.
    workers: OnceLock<RemoteWorkers>,
    /// The same of those that make songs, and how they are asked for.
    songs: OnceLock<Option<SongWorkers>>,
    want_songs: mpsc::Sender<SongsWanted>,
    songs_wanted: Mutex<Option<mpsc::Receiver<SongsWanted>>>,
}

impl std::fmt::Debug for Machines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machines").field("named", &self.0.named).finish_non_exhaustive()
    }
}

impl Machines {
    /// Begins to meet other machines. A process does so once.
    ///
    /// # Errors
    /// When it cannot listen where it is to, or does so already.
    pub async fn meet(network: Network) -> Result<Self, MachinesError> {
        let (named, mdns) = (network.dial.len(), network.mdns);
        let (give, news) = mpsc::unbounded_channel();
        let swarm = swarm::start(network, &Offer::default(), give).await?;
        let news = Mutex::new(Some(news));
        let (commands, listening) = (swarm.commands, swarm.listening);
        let (want_songs, songs_wanted) = mpsc::channel(1);
        Ok(Self(Arc::new(Inner {
            news,
            commands,
            named,
            mdns,
            listening,
            workers: OnceLock::new(),
            songs: OnceLock::new(),
            want_songs,
            songs_wanted: Mutex::new(Some(songs_wanted)),
        })))
    }

    /// Where it listens for workers.
    pub fn listening(&self) -> &[String] {
        &self.0.listening
    }

    /// How many workers its engine has at the moment.
    pub fn workers(&self) -> usize {
        self.0.workers.get().map_or(0, RemoteWorkers::count)
    }

    /// Takes workers for the codec of `decoder` from now on. It returns when every machine that was named has joined, was
    /// refused or does not answer.
    pub(crate) async fn workers_for(&self, decoder: &Decoder) -> Result<RemoteWorkers, EngineError> {
        let news = self.0.news.lock().unwrap_or_else(PoisonError::into_inner).take();
        let wanted = self.0.songs_wanted.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (news, wanted) = news.zip(wanted).ok_or_else(|| EngineError::Machines(MachinesError::Twice))?;
        let (kind, codec) = (decoder.kind.clone(), Arc::clone(&decoder.codec));
        let proof = crate::decoder::blocking(move || Ok(joining::Proof::compute(kind, &codec)?)).await?;
        // Of machines that are found by themselves it is not known how many there will be.
        let unnamed = if self.0.mdns || !self.0.listening.is_empty() { joining::USUAL_UNNAMED } else { 0 };
        let (taken, left_out) = proof.workers(self.0.named * joining::SERVERS_OF_ONE + unnamed);
        let workers = self.0.workers.get_or_init(|| taken).clone();
        let (settled, mut count) = watch::channel(0);
        let joining = Joining::new(workers.clone(), proof, self.0.commands.clone(), settled);
        tokio::spawn(joining.run(news, left_out, wanted));
        let all = count.wait_for(|count| *count >= self.0.named);
        if tokio::time::timeout(WAIT_FOR_NAMED, all).await.is_err() {
            tracing::warn!("not every machine that was named has answered: the song begins without those");
        }
        Ok(workers)
    }

    /// Workers that make songs, for `engine`, whose machines these are.
    pub(crate) fn song_workers(&self, engine: &Heartstream) -> Option<SongWorkers> {
        let begin = || {
            let (workers, left_out) = SongWorkers::new(kind::song_kind(engine)?);
            let wanted = SongsWanted { engine: engine.clone(), workers: workers.clone(), left_out };
            self.0.want_songs.try_send(wanted).ok().map(|()| workers) // the first one has its place
        };
        self.0.songs.get_or_init(begin).clone()
    }
}

impl Heartstream {
    /// The same engine with workers of `machines`; one that loads half of its model after the other has none.
    pub(crate) async fn with_machines(mut self, machines: Option<Machines>) -> Result<Self, EngineError> {
        match (machines, &mut self.weights) {
            (None, _) => (),
            (Some(machines), Weights::Loaded { decoder, .. }) => {
                decoder.context.remote = Some(machines.workers_for(decoder).await?);
                self.context.remote.clone_from(&decoder.context.remote);
                self.machines = Some(machines);
            }
            (Some(_), Weights::Sequential(_)) => {
                tracing::warn!(
                    "songs that load one half of the model after the other have no workers on other machines"
                );
            }
        }
        Ok(self)
    }
}
