//! Swarm of a machine: whom it is connected with, and what is said over the connections.

use std::{
    collections::HashMap,
    error::Error,
    net::SocketAddr,
    time::{Duration, Instant},
};

use kameo::remote::{self, messaging};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    connection_limits::{self, ConnectionLimits},
    futures::StreamExt,
    identify, mdns,
    multiaddr::Protocol,
    ping,
    swarm::{NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts},
};
use tokio::sync::mpsc;

use super::{
    MachinesError, Network,
    address::{of_socket, shown},
    asking::{Asking, Request},
    dialing::{Dialing, Place},
    offer::{self, Offer},
    transport,
};

/// What machines of this protocol call it.
pub(super) const PROTOCOL: &str = "/heartstream/1";
/// Bytes of an order, at most: a window's codes and in-context latents, which a message doubles.
const MOST_ORDER_BYTES: u64 = 1 << 20;
/// Bytes of an answer, at most: the latents of twice the reference's window, 1.5 MB, which a message doubles.
const MOST_ANSWER_BYTES: u64 = 4 << 20;
/// Time of a request, at most; each has a shorter deadline of its own.
const REQUEST_TIME: Duration = Duration::from_secs(600);
/// A machine that does not answer for so long is disconnected, and dialled again.
const PING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));
/// Connections of a machine that are being set up, or are: as many workers as an engine may have.
const MOST_CONNECTIONS: u32 = 1024;
const MOST_BEING_SET_UP: u32 = 64;
/// Requests of one connection at once.
const MOST_STREAMS: usize = offer::MOST_SERVERS;
/// How often it is looked whom to dial.
const TICK: Duration = Duration::from_millis(250);

/// What the swarm does for its engine.
#[derive(Debug)]
pub(super) enum Command {
    /// Asks a server of another machine.
    Ask(Request),
    /// Ends the connections with a machine; where it was dialled, it is again.
    Disconnect(PeerId),
}

/// What an engine is told.
#[derive(Debug)]
pub(super) enum News {
    /// A machine offers work.
    Offer {
        /// The machine.
        peer: PeerId,
        /// How people write it.
        name: String,
        /// Its servers.
        offer: Offer,
    },
    /// The last connection with a machine has ended.
    Gone(PeerId),
    /// A machine that was named cannot be reached.
    Unreachable(String, String),
}

/// A swarm that runs.
pub(super) struct Started {
    pub commands: mpsc::UnboundedSender<Command>,
    pub listening: Vec<String>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    messages: messaging::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Starts the process's swarm, which makes the offer, and says `news`.
pub(super) async fn start(
    network: Network,
    offer: &Offer,
    news: mpsc::UnboundedSender<News>,
) -> Result<Started, MachinesError> {
    let mut swarm = build(&network, offer).map_err(|error| MachinesError::Setup(error.to_string()))?;
    if !offer.is_empty() {
        // kameo finds the actors of this process under the name that the process has in its global swarm. That one itself
        // stays without connections: see `asking`.
        let own = remote::Behaviour::new(*swarm.local_peer_id(), messaging::Config::default());
        own.try_init_global().map_err(|_| MachinesError::Twice)?;
    }
    let mut listen = network.listen.clone();
    if network.mdns && listen.is_empty() {
        listen.push(([0, 0, 0, 0], 0).into()); // who is found must be reached
    }
    let listening = listen_on(&mut swarm, &listen).await?;
    let mut dialing = Dialing::default();
    network.dial.into_iter().for_each(|address| dialing.add(Place::Named(address)));
    let (commands, orders) = mpsc::unbounded_channel();
    let meeting = Meeting { swarm, dialing, asking: Asking::default(), names: HashMap::new(), news };
    tokio::spawn(meeting.run(orders));
    Ok(Started { commands, listening })
}

fn build(network: &Network, offer: &Offer) -> Result<Swarm<Behaviour>, Box<dyn Error>> {
    let (says, has_mdns) = (offer.text(), network.mdns);
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(MOST_BEING_SET_UP))
        .with_max_pending_outgoing(Some(MOST_BEING_SET_UP))
        .with_max_established_per_peer(Some(4))
        .with_max_established(Some(MOST_CONNECTIONS));
    let messages = messaging::Config::default()
        .with_request_timeout(REQUEST_TIME)
        .with_max_concurrent_streams(MOST_STREAMS)
        .with_request_size_maximum(MOST_ORDER_BYTES)
        .with_response_size_maximum(MOST_ANSWER_BYTES);
    transport::swarm(network.token, |identity| {
        let peer = identity.public().to_peer_id();
        let mdns = has_mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer)).transpose()?;
        let identify = identify::Config::new(PROTOCOL.to_owned(), identity.public()).with_agent_version(says);
        Ok(Behaviour {
            limits: connection_limits::Behaviour::new(limits),
            messages: messaging::Behaviour::new(peer, messages),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING.0).with_timeout(PING.1)),
            mdns: mdns.into(),
        })
    })
}

/// Listens on all of `addresses`; where that is.
async fn listen_on(swarm: &mut Swarm<Behaviour>, addresses: &[SocketAddr]) -> Result<Vec<String>, MachinesError> {
    let refused = |address: &SocketAddr, reason: String| MachinesError::Listen { address: address.to_string(), reason };
    let mut listening = Vec::new();
    for address in addresses {
        let id = swarm.listen_on(of_socket(*address)).map_err(|error| refused(address, error.to_string()))?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address: found } if listener_id == id => {
                    // Of all addresses of this machine the first would be one of many.
                    let port = found.iter().find_map(|part| match part {
                        Protocol::Tcp(port) => Some(port),
                        _ => None,
                    });
                    listening.push(SocketAddr::new(address.ip(), port.unwrap_or_default()).to_string());
                    break;
                }
                SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } if listener_id == id => {
                    return Err(refused(address, error.to_string()));
                }
                SwarmEvent::ListenerError { listener_id, error } if listener_id == id => {
                    return Err(refused(address, error.to_string()));
                }
                _ => (), // no machine is connected yet
            }
        }
    }
    Ok(listening)
}

/// The swarm at work.
struct Meeting {
    swarm: Swarm<Behaviour>,
    dialing: Dialing,
    asking: Asking,
    /// How people write the machines that are connected.
    names: HashMap<PeerId, String>,
    news: mpsc::UnboundedSender<News>,
}

impl Meeting {
    /// Runs as long as its runtime does.
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut tick = tokio::time::interval(TICK);
        let (give, mut looked_up) = mpsc::unbounded_channel();
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle(event),
                Some(command) = commands.recv() => match command {
                    Command::Ask(request) => self.asking.send(&mut self.swarm.behaviour_mut().messages, request),
                    Command::Disconnect(peer) => {
                        let _ = self.swarm.disconnect_peer_id(peer); // it may be gone already
                        // A connection whose task has ended in a panic says no end.
                        self.dialing.disconnected(peer, Instant::now());
                    }
                },
                Some((index, found)) = looked_up.recv() => self.dial(index, found),
                _ = tick.tick() => {
                    for (index, place) in self.dialing.due(Instant::now()) {
                        let give = give.clone();
                        tokio::spawn(async move {
                            let found = match place {
                                Place::Named(address) => address.resolve().await,
                                Place::Found(address) => Ok(address),
                            };
                            let _ = give.send((index, found)); // the swarm may have ended
                        });
                    }
                }
            }
        }
    }

    fn dial(&mut self, index: usize, found: Result<Multiaddr, String>) {
        let dialled = found.and_then(|address| {
            let options = DialOpts::unknown_peer_id().address(address).build();
            let connection = options.connection_id();
            self.swarm.dial(options).map(|()| connection).map_err(|error| error.to_string())
        });
        match dialled {
            Ok(connection) => self.dialing.dialled(index, connection),
            Err(reason) => self.unreachable(index, reason),
        }
    }

    fn unreachable(&mut self, index: usize, reason: String) {
        self.dialing.postpone(index, Instant::now());
        if let Some(name) = self.dialing.name(index) {
            self.say(News::Unreachable(name, reason));
        }
    }

    fn say(&self, news: News) {
        let _ = self.news.send(news); // a worker has no use for it
    }

    fn handle(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let named = self.dialing.connected(connection_id, peer_id);
                let name = named.unwrap_or_else(|| shown(endpoint.get_remote_address()));
                self.names.entry(peer_id).or_insert(name);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.names.remove(&peer_id);
                self.dialing.disconnected(peer_id, Instant::now());
                self.say(News::Gone(peer_id));
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(index) = self.dialing.of(connection_id) {
                    self.unreachable(index, error.to_string());
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Messages(event)) => self.asking.handle(event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
                let offer = Offer::read(&info.agent_version);
                let name = self.names.get(&peer_id).cloned();
                if let (Some(name), false) = (name, offer.is_empty()) {
                    self.say(News::Offer { peer: peer_id, name, offer });
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { connection, result: Err(_), .. })) => {
                self.swarm.close_connection(connection);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                for (_, address) in found {
                    self.dialing.add(Place::Found(address));
                }
            }
            _ => (),
        }
    }
}
