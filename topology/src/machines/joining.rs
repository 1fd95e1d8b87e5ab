//! Joining of workers: who is proved to give this machine's latents, and who is left out, for how long.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use heartstream_actors::{
    flow_task::solve_window,
    remote::{
        answer::{WrongAnswer, checked},
        workers::{Ask, Fault, LeftOut, RemoteWorkers, work},
    },
};
use heartstream_messages::{Flow, FlowKind, FlowOrder, Numbers};
use heartstream_models::{ModelError, foreign_text, heartcodec::HeartCodec, signal::KeyedNoise};
use libp2p::PeerId;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    asking::Request,
    swarm::{Command, News},
};

/// Windows that a song sends at once to a machine that was named: most have one worker, some a second GPU.
pub(super) const SERVERS_OF_ONE: usize = 2;
/// The same for all machines that find this one.
pub(super) const USUAL_UNNAMED: usize = 8;
/// Frames and steps of the proof window: more rows than a block of any kernel, and less than a second of work.
const PROOF_FRAMES: usize = 40;
const PROOF_FLOW: Flow = Flow { steps: 2, guidance: 1.25 };
/// Time for a proof: this, and as often as long as this machine took.
const PROOF_TIME: Duration = Duration::from_secs(10);
const PROOF_FACTOR: f64 = 20.0;
/// Time that a worker is left out after its first fault, doubled with each, to at most this.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A window whose latents are known: a worker that gives the same bits computes as this machine does.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    order: FlowOrder,
    latents: Vec<f32>,
    sizes: (usize, usize),
    /// Seconds that this machine takes for a unit of work.
    local_seconds: f64,
}

impl Proof {
    /// Computes the window with `codec`, twice: the first time touches memory that never was.
    pub fn compute(kind: FlowKind, codec: &HeartCodec) -> Result<Self, ModelError> {
        let flow = &codec.flow;
        let sizes = (flow.quantizer.codebooks(), flow.channels());
        let codes: Vec<u16> = (0..PROOF_FRAMES * sizes.0).map(|place| (place % 256) as u16).collect();
        let seed = 1;
        let known = vec![0.25; 4 * sizes.1];
        let solve = || solve_window(flow, &codes, (KeyedNoise::new(seed), 0), &known, PROOF_FLOW, &|| false);
        solve()?;
        let since = Instant::now();
        let latents = solve()?.unwrap_or_default();
        let seconds = since.elapsed().as_secs_f64();
        let known = Numbers(known);
        let order = FlowOrder { kind, codes, noise_key: seed, first_latent: 0, flow: PROOF_FLOW, known };
        let local_seconds = seconds / work(&order, sizes.0);
        Ok(Self { order, latents, sizes, local_seconds })
    }

    /// No workers yet, that are to be proved so.
    pub fn workers(&self, stages: usize) -> (RemoteWorkers, mpsc::UnboundedReceiver<LeftOut>) {
        RemoteWorkers::new(self.order.kind.clone(), self.sizes, stages, Some(self.local_seconds))
    }

    /// Has a worker decode the window; its seconds for a unit of work.
    async fn of(self: Arc<Self>, ask: Ask) -> Result<f64, Fault> {
        let work = work(&self.order, self.sizes.0);
        let time = PROOF_TIME + Duration::from_secs_f64((PROOF_FACTOR * self.local_seconds * work).min(600.0));
        let since = Instant::now();
        let answer = tokio::time::timeout(time, ask(self.order.clone(), time)).await.unwrap_or(Err(Fault::Late))?;
        let latents = checked(&self.order, answer, self.sizes)?;
        if latents.iter().zip(&self.latents).any(|(one, other)| one.to_bits() != other.to_bits()) {
            return Err(WrongAnswer::OtherBits.into());
        }
        Ok(since.elapsed().as_secs_f64() / work)
    }
}

/// What is known of a machine.
struct Machine {
    name: String,
    /// Workers that have joined.
    keys: Vec<u64>,
}

/// A worker whose proof has ended.
struct Proved {
    peer: PeerId,
    ask: Ask,
    rate: Result<f64, Fault>,
}

/// Takes workers, and leaves them out.
pub(super) struct Joining {
    workers: RemoteWorkers,
    proof: Arc<Proof>,
    commands: mpsc::UnboundedSender<Command>,
    /// How many of the machines that were named have joined, were refused or cannot be reached.
    settled: watch::Sender<usize>,
    settled_names: HashSet<String>,
    machines: HashMap<PeerId, Machine>,
    /// Faults that do not last, of machines that may be connected again.
    faults: HashMap<PeerId, u32>,
    /// Machines that were wrong.
    wrong: HashSet<PeerId>,
    proofs: JoinSet<Proved>,
}

impl Joining {
    pub fn new(
        workers: RemoteWorkers,
        proof: Proof,
        commands: mpsc::UnboundedSender<Command>,
        settled: watch::Sender<usize>,
    ) -> Self {
        Self {
            workers,
            proof: Arc::new(proof),
            commands,
            settled,
            settled_names: HashSet::new(),
            machines: HashMap::new(),
            faults: HashMap::new(),
            wrong: HashSet::new(),
            proofs: JoinSet::new(),
        }
    }

    /// Runs as long as the swarm does.
    pub async fn run(
        mut self,
        mut news: mpsc::UnboundedReceiver<News>,
        mut left_out: mpsc::UnboundedReceiver<LeftOut>,
    ) {
        loop {
            tokio::select! {
                news = news.recv() => match news {
                    Some(News::Offer { peer, name, servers }) => self.offered(peer, name, servers),
                    Some(News::Gone(peer)) => self.gone(peer),
                    Some(News::Unreachable(name, reason)) => self.unreachable(name, &reason),
                    None => return,
                },
                Some(LeftOut { key, fault }) = left_out.recv() => {
                    let peer = self.machines.iter().find(|(_, machine)| machine.keys.contains(&key)).map(|(peer, _)| *peer);
                    peer.into_iter().for_each(|peer| self.leave_out(peer, &fault));
                }
                Some(Ok(proved)) = self.proofs.join_next() => self.proved(proved),
            }
        }
    }

    fn offered(&mut self, peer: PeerId, name: String, servers: Vec<u64>) {
        if self.wrong.contains(&peer) || self.machines.contains_key(&peer) {
            return; // machines say it again now and then
        }
        self.machines.insert(peer, Machine { name, keys: Vec::new() });
        let pause = match self.faults.get(&peer) {
            None => Duration::ZERO,
            Some(faults) => (FIRST_PAUSE * 2_u32.saturating_pow(faults - 1)).min(LONGEST_PAUSE),
        };
        for number in servers {
            let (proof, ask) = (Arc::clone(&self.proof), asking(self.commands.clone(), (peer, number)));
            self.proofs.spawn(async move {
                tokio::time::sleep(pause).await;
                Proved { peer, ask: Arc::clone(&ask), rate: proof.of(ask).await }
            });
        }
    }

    fn proved(&mut self, Proved { peer, ask, rate }: Proved) {
        let Some(machine) = self.machines.get_mut(&peer) else { return }; // gone meanwhile
        let name = machine.name.clone();
        match rate {
            Ok(rate) => {
                let times = rate / self.proof.local_seconds;
                tracing::info!(
                    "the worker {name} joins; with the way there it takes {times:.1} times as long as this machine"
                );
                machine.keys.push(self.workers.join(&name, ask, rate));
            }
            Err(fault) => self.leave_out(peer, &fault),
        }
        self.settle(name);
    }

    fn leave_out(&mut self, peer: PeerId, fault: &Fault) {
        let Some(machine) = self.machines.remove(&peer) else { return };
        machine.keys.iter().for_each(|key| self.workers.leave(*key));
        if fault.is_for_good() {
            let FlowKind { engine, codec, kernels } = self.workers.kind();
            let name = &machine.name;
            tracing::warn!(
                "the worker {name} is left out: {fault}. This machine has the codec {codec} with {kernels} of version {engine}"
            );
            self.wrong.insert(peer);
        } else {
            tracing::warn!("the worker {} is left out for a while: {fault}", machine.name);
            *self.faults.entry(peer).or_insert(0) += 1;
            let _ = self.commands.send(Command::Disconnect(peer)); // what is connected anew is proved anew
        }
    }

    fn gone(&mut self, peer: PeerId) {
        let Some(machine) = self.machines.remove(&peer) else { return };
        machine.keys.iter().for_each(|key| self.workers.leave(*key));
        tracing::info!("the worker {} is gone", machine.name);
        self.settle(machine.name);
    }

    fn unreachable(&mut self, name: String, reason: &str) {
        if !self.settled_names.contains(&name) {
            tracing::warn!(
                "the worker {name} cannot be reached, and is tried again and again: {}",
                foreign_text::shown(reason)
            );
        }
        self.settle(name);
    }

    fn settle(&mut self, name: String) {
        self.settled_names.insert(name);
        self.settled.send_replace(self.settled_names.len());
    }
}

/// Sends orders to a server of another machine.
fn asking(commands: mpsc::UnboundedSender<Command>, server: (PeerId, u64)) -> Ask {
    Arc::new(move |order, time| {
        let (answer, answered) = oneshot::channel();
        let sent = commands.send(Command::Ask(Request { server, order, time, answer }));
        Box::pin(async move {
            let gone = || Fault::Gone("the connections of this machine have ended".to_owned());
            sent.map_err(|_| gone())?;
            answered.await.unwrap_or_else(|_| Err(gone()))
        })
    })
}
