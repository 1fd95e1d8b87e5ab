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
        server::FlowServer,
        song_workers::{AskForSong, SongWorkers},
        workers::{Ask, Fault, LeftOut, RemoteWorkers, work},
    },
};
use heartstream_messages::{
    Flow, FlowAnswer, FlowKind, FlowOrder, FlowRefusal, Numbers, SongAnswer, SongKind, SongRefusal,
};
use heartstream_models::{ModelError, foreign_text, heartcodec::HeartCodec, signal::KeyedNoise};
use libp2p::PeerId;
use tokio::{
    sync::{OnceCell, mpsc, watch},
    task::JoinSet,
};

use super::{
    asking::{ask, readable, readable_of_song},
    offer::Offer,
    song_proof::SongProof,
    song_server::SongServer,
    swarm::{Command, News},
};
use crate::Heartstream;

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

/// An engine that has other machines make songs, and the workers that it is to have.
pub(super) struct SongsWanted {
    pub engine: Heartstream,
    pub workers: SongWorkers,
    pub left_out: mpsc::UnboundedReceiver<LeftOut>,
}

/// The same, once it is known; the proof is made when the first machine offers songs.
#[derive(Clone)]
struct Songs {
    engine: Heartstream,
    workers: SongWorkers,
    proof: Arc<OnceCell<SongProof>>,
}

impl Songs {
    async fn prove(&self, name: &str, ask: AskForSong) -> Result<f64, Fault> {
        let proof = self.proof.get_or_try_init(|| SongProof::compute(&self.engine)).await;
        let proof = proof.map_err(|error| Fault::Gone(format!("this machine cannot make the proof song: {error}")))?;
        self.workers.measured_here(proof.frame_seconds);
        proof.of(&self.engine, &self.workers, name, ask).await
    }
}

/// What is known of a machine.
struct Machine {
    name: String,
    offer: Offer,
    /// Flow workers that have joined.
    flow: Vec<u64>,
    /// The worker for songs, if it has joined.
    songs: Option<u64>,
}

/// A worker whose proof has ended.
struct Proved {
    peer: PeerId,
    joined: Result<Joined, Fault>,
}

/// What joins, with its seconds for a unit of work, or for a frame.
enum Joined {
    Flow(Ask, f64),
    Songs(AskForSong, f64, usize),
}

/// Takes workers, and leaves them out.
pub(super) struct Joining {
    workers: RemoteWorkers,
    proof: Arc<Proof>,
    songs: Option<Songs>,
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
            songs: None,
            commands,
            settled,
            settled_names: HashSet::new(),
            machines: HashMap::new(),
            faults: HashMap::new(),
            wrong: HashSet::new(),
            proofs: JoinSet::new(),
        }
    }

    /// Runs as long as the swarm does. Songs are taken from when they are `wanted`.
    pub async fn run(
        mut self,
        mut news: mpsc::UnboundedReceiver<News>,
        mut left_out: mpsc::UnboundedReceiver<LeftOut>,
        mut wanted: mpsc::Receiver<SongsWanted>,
    ) {
        let (_, mut songs_left_out) = mpsc::unbounded_channel();
        loop {
            tokio::select! {
                news = news.recv() => match news {
                    Some(News::Offer { peer, name, offer }) => self.offered(peer, name, offer),
                    Some(News::Gone(peer)) => self.gone(peer),
                    Some(News::Unreachable(name, reason)) => self.unreachable(name, &reason),
                    None => return,
                },
                Some(LeftOut { key, fault }) = left_out.recv() => {
                    self.leave_out_where(|machine| machine.flow.contains(&key), &fault);
                }
                Some(LeftOut { key, fault }) = songs_left_out.recv() => {
                    self.leave_out_where(|machine| machine.songs == Some(key), &fault);
                }
                Some(SongsWanted { engine, workers, left_out }) = wanted.recv() => {
                    songs_left_out = left_out;
                    self.songs = Some(Songs { engine, workers, proof: Arc::default() });
                    let peers: Vec<PeerId> = self.machines.keys().copied().collect();
                    peers.into_iter().for_each(|peer| self.prove_songs(peer));
                }
                Some(Ok(proved)) = self.proofs.join_next() => self.proved(proved),
            }
        }
    }

    fn offered(&mut self, peer: PeerId, name: String, offer: Offer) {
        if self.wrong.contains(&peer) || self.machines.contains_key(&peer) {
            return; // machines say it again now and then
        }
        if offer.flow.is_empty() {
            self.settle(name.clone()); // no song of this machine waits for it
        }
        let (pause, servers) = (self.pause(peer), offer.flow.clone());
        self.machines.insert(peer, Machine { name, offer, flow: Vec::new(), songs: None });
        for number in servers {
            let (proof, ask) = (Arc::clone(&self.proof), asking(self.commands.clone(), (peer, number)));
            self.proofs.spawn(async move {
                tokio::time::sleep(pause).await;
                let rate = proof.of(Arc::clone(&ask)).await;
                Proved { peer, joined: rate.map(|rate| Joined::Flow(ask, rate)) }
            });
        }
        self.prove_songs(peer);
    }

    /// How long a machine is left out after its faults.
    fn pause(&self, peer: PeerId) -> Duration {
        match self.faults.get(&peer) {
            None => Duration::ZERO,
            Some(faults) => (FIRST_PAUSE * 2_u32.saturating_pow(faults - 1)).min(LONGEST_PAUSE),
        }
    }

    /// Has a machine make the proof song, if it offers songs and they are wanted.
    fn prove_songs(&mut self, peer: PeerId) {
        let (Some(songs), Some(machine)) = (self.songs.clone(), self.machines.get(&peer)) else { return };
        let Some((number, places)) = machine.offer.songs else { return };
        let (name, pause) = (machine.name.clone(), self.pause(peer));
        let ask = asking_for_songs(self.commands.clone(), (peer, number));
        self.proofs.spawn(async move {
            tokio::time::sleep(pause).await;
            let rate = songs.prove(&name, ask.clone()).await;
            Proved { peer, joined: rate.map(|rate| Joined::Songs(ask, rate, places)) }
        });
    }

    fn proved(&mut self, Proved { peer, joined }: Proved) {
        let Some(machine) = self.machines.get_mut(&peer) else { return }; // gone meanwhile
        let name = machine.name.clone();
        match (joined, self.songs.as_ref().map(|songs| songs.workers.clone())) {
            (Ok(Joined::Flow(ask, rate)), _) => {
                let times = rate / self.proof.local_seconds;
                tracing::info!(
                    "the worker {name} joins; with the way there it takes {times:.1} times as long as this machine"
                );
                machine.flow.push(self.workers.join(&name, ask, rate));
            }
            (Ok(Joined::Songs(ask, rate, places)), Some(songs)) => {
                tracing::info!("the worker {name} joins, and makes {places} songs at once, {rate:.3} s for a frame");
                machine.songs = Some(songs.join(&name, ask, rate, places));
            }
            (Ok(Joined::Songs(..)), None) => (), // what was not wanted was not proved
            (Err(fault), _) => self.leave_out(peer, &fault),
        }
        self.settle(name);
    }

    fn leave_out_where(&mut self, is_it: impl Fn(&Machine) -> bool, fault: &Fault) {
        let peer = self.machines.iter().find(|(_, machine)| is_it(machine)).map(|(peer, _)| *peer);
        peer.into_iter().for_each(|peer| self.leave_out(peer, fault));
    }

    /// Takes the workers of a machine out; the machine, if it was known.
    fn remove(&mut self, peer: PeerId) -> Option<Machine> {
        let machine = self.machines.remove(&peer)?;
        machine.flow.iter().for_each(|key| self.workers.leave(*key));
        if let (Some(songs), Some(key)) = (&self.songs, machine.songs) {
            songs.workers.leave(key);
        }
        Some(machine)
    }

    fn leave_out(&mut self, peer: PeerId, fault: &Fault) {
        let Some(Machine { name, .. }) = self.remove(peer) else { return };
        if fault.is_for_good() {
            let own = match (fault, &self.songs) {
                (Fault::SongRefused(_) | Fault::WrongPart(_), Some(songs)) => {
                    let SongKind { engine, model, kernels } = songs.workers.kind();
                    format!("model {model} with {kernels} of version {engine}")
                }
                _ => {
                    let FlowKind { engine, codec, kernels } = self.workers.kind();
                    format!("codec {codec} with {kernels} of version {engine}")
                }
            };
            tracing::warn!("the worker {name} is left out: {fault}. This machine has the {own}");
            self.wrong.insert(peer);
        } else {
            tracing::warn!("the worker {name} is left out for a while: {fault}");
            *self.faults.entry(peer).or_insert(0) += 1;
            let _ = self.commands.send(Command::Disconnect(peer)); // what is connected anew is proved anew
        }
    }

    fn gone(&mut self, peer: PeerId) {
        let Some(Machine { name, .. }) = self.remove(peer) else { return };
        tracing::info!("the worker {name} is gone");
        self.settle(name);
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
        let answer = ask::<FlowServer, _, Result<FlowAnswer, FlowRefusal>>(&commands, server, &order, time);
        Box::pin(async move { answer.await?.map_err(|refusal| Fault::Refused(readable(refusal))) })
    })
}

/// The same for a server that makes songs.
fn asking_for_songs(commands: mpsc::UnboundedSender<Command>, server: (PeerId, u64)) -> AskForSong {
    Arc::new(move |call, time| {
        let answer = ask::<SongServer, _, Result<SongAnswer, SongRefusal>>(&commands, server, &call, time);
        Box::pin(async move { answer.await?.map_err(|refusal| Fault::SongRefused(readable_of_song(refusal))) })
    })
}
