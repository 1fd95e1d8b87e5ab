//! Tests of what machines do that have the secret and mean ill: as engines to a worker, and as workers to an engine.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use heartstream_actors::remote::{answer::checksum, server::FlowServer};
use heartstream_messages::{
    FlowAnswer, FlowOrder, FlowRefusal, Numbers, SongAnswer, SongCall, SongOrder, SongRefusal, SongRequest,
    units::SampleIndex,
};
use heartstream_models::weights::Storage;
use kameo::{
    actor::{ActorId, Spawn},
    remote::{
        RemoteActor, RemoteMessage,
        messaging::{SwarmRequest, SwarmResponse},
    },
};
use libp2p::{
    PeerId, StreamProtocol, Swarm,
    futures::StreamExt,
    identify, ping,
    request_response::{self, Event, Message, ProtocolSupport, cbor},
    swarm::{NetworkBehaviour, SwarmEvent},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    FlowWorkers, Machines, Network, SharedSecret, address::of_socket, kind::song_kind, offer::Offer,
    song_server::SongServer, swarm::PROTOCOL, transport,
};
use crate::{Decoder, Heartstream, Placement};

/// How long a test waits for something that must happen: far longer than it ever takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn token() -> SharedSecret {
    SharedSecret::new(&"x".repeat(40)).expect("a secret")
}

fn network(listen: &[SocketAddr], dial: &[String]) -> Network {
    let dial = dial.iter().map(|address| address.parse().expect("an address")).collect();
    Network { token: token(), listen: listen.to_vec(), dial, mdns: false }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A member that says what it likes.
#[derive(NetworkBehaviour)]
struct Member<Q: Wire, A: Wire> {
    messages: cbor::Behaviour<Q, A>,
    identify: identify::Behaviour,
    /// Without an answer to pings, the connection would be closed before anything was said.
    ping: ping::Behaviour,
}

/// What travels.
trait Wire: Serialize + DeserializeOwned + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Send + 'static> Wire for T {}

fn member<Q: Wire, A: Wire>(says: &str) -> Swarm<Member<Q, A>> {
    let made = transport::swarm(token(), |identity| {
        let protocol = StreamProtocol::new("/kameo/messaging/1.0.0"); // as kameo calls it
        let config = request_response::Config::default().with_request_timeout(Duration::from_secs(5));
        let codec = cbor::codec::Codec::default().set_request_size_maximum(1 << 30).set_response_size_maximum(1 << 30);
        let identify = identify::Config::new(PROTOCOL.to_owned(), identity.public());
        Ok(Member {
            messages: cbor::Behaviour::with_codec(codec, [(protocol, ProtocolSupport::Full)], config),
            identify: identify::Behaviour::new(identify.with_agent_version(says.to_owned())),
            ping: ping::Behaviour::default(),
        })
    });
    made.expect("a swarm")
}

/// kameo's request with an actor of any bytes.
#[derive(Debug, Serialize, Deserialize)]
enum Malformed {
    Ask { actor_id: Numbers, actor_remote_id: String, message_remote_id: String, payload: Vec<u8>, immediate: bool },
    Other(Vec<u64>),
}

/// Connects as a member that says `requests` one after the other, each over a connection that may end by it; how many were
/// answered with what is no refusal.
async fn attack<Q: Wire>(address: SocketAddr, requests: impl IntoIterator<Item = Box<dyn Fn(PeerId) -> Q>>) -> usize {
    let mut taken = 0;
    for request in requests {
        let mut swarm = member::<Q, SwarmResponse>("heartstream/0 hostile");
        swarm.dial(of_socket(address)).expect("a connection");
        let said = tokio::time::timeout(PATIENCE, async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                        let request = request(peer_id);
                        swarm.behaviour_mut().messages.send_request(&peer_id, request);
                    }
                    SwarmEvent::Behaviour(MemberEvent::Messages(Event::Message {
                        message: Message::Response { response, .. },
                        ..
                    })) => return usize::from(is_work(&response)),
                    SwarmEvent::Behaviour(MemberEvent::Messages(Event::OutboundFailure { .. }))
                    | SwarmEvent::ConnectionClosed { .. } => return 0,
                    // A busy machine may not have done with the handshake in time.
                    SwarmEvent::OutgoingConnectionError { .. } => {
                        swarm.dial(of_socket(address)).expect("a connection");
                    }
                    _ => (),
                }
            }
        });
        taken += said.await.expect("an answer, or none");
    }
    taken
}

fn is_work(response: &SwarmResponse) -> bool {
    let SwarmResponse::Ask(Ok(bytes)) = response else {
        return matches!(response, SwarmResponse::Link(Ok(())) | SwarmResponse::Unlink(Ok(())));
    };
    let answer: Result<Result<FlowAnswer, FlowRefusal>, _> = rmp_serde::from_slice(bytes);
    let song: Result<Result<SongAnswer, SongRefusal>, _> = rmp_serde::from_slice(bytes);
    matches!(answer, Ok(Ok(_))) || matches!(song, Ok(Ok(SongAnswer::Begun(_) | SongAnswer::Part(_))))
}

fn ask(server: u64, peer: PeerId, payload: Vec<u8>) -> SwarmRequest {
    SwarmRequest::Ask {
        actor_id: ActorId::new_with_peer_id(server, peer),
        actor_remote_id: <FlowServer as RemoteActor>::REMOTE_ID.into(),
        message_remote_id: <FlowServer as RemoteMessage<FlowOrder>>::REMOTE_ID.into(),
        payload,
        mailbox_timeout: None,
        reply_timeout: None,
        immediate: false,
    }
}

/// The same to a server that makes songs.
fn ask_for_song(server: u64, peer: PeerId, payload: Vec<u8>) -> SwarmRequest {
    SwarmRequest::Ask {
        actor_id: ActorId::new_with_peer_id(server, peer),
        actor_remote_id: <SongServer as RemoteActor>::REMOTE_ID.into(),
        message_remote_id: <SongServer as RemoteMessage<SongCall>>::REMOTE_ID.into(),
        payload,
        mailbox_timeout: None,
        reply_timeout: None,
        immediate: false,
    }
}

/// A worker of this process, and the numbers of its servers: those of the first actors.
async fn worker() -> FlowWorkers {
    let placement = Placement { threads: Some(1), ..Placement::default() };
    let workers =
        FlowWorkers::offer(heartstream_tools::synth::noise(), Storage::Stored, &placement, network(&[anywhere()], &[]));
    workers.await.expect("a worker")
}

/// How many workers join an engine that dials `addresses`.
async fn joined(decoder: &Decoder, addresses: &[String]) -> usize {
    let machines = Machines::meet(network(&[], addresses)).await.expect("a network");
    machines.workers_for(decoder).await.expect("an engine");
    machines.workers()
}

async fn decoder() -> Decoder {
    let placement = Placement { threads: Some(1), ..Placement::default() };
    Decoder::load(heartstream_tools::synth::noise(), &placement).await.expect("a codec")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_works_on_after_whatever_members_and_others_say_to_it() {
    let worker = worker().await;
    let address: SocketAddr = worker.listening()[0].parse().expect("an address");
    let decoder = decoder().await;
    assert_eq!(joined(&decoder, &[address.to_string()]).await, 1);

    // Without the secret: bytes of any kind, and connections that say nothing.
    let mut silent = Vec::new();
    for byte in 0..80_u8 {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let _ = stream.write_all(&vec![byte.wrapping_mul(37); usize::from(byte) << 10]); // it may be closed meanwhile
        if byte % 2 == 0 {
            silent.push(stream);
        }
    }
    drop(silent);

    let number = worker.numbers()[0];
    let malformed = |bytes: usize| -> Box<dyn Fn(PeerId) -> Malformed> {
        Box::new(move |_| Malformed::Ask {
            actor_id: Numbers(vec![0.0; bytes / 4]),
            actor_remote_id: <FlowServer as RemoteActor>::REMOTE_ID.to_owned(),
            message_remote_id: String::new(),
            payload: Vec::new(),
            immediate: false,
        })
    };
    let other = || -> Box<dyn Fn(PeerId) -> Malformed> { Box::new(|_| Malformed::Other(vec![u64::MAX; 1000])) };
    assert_eq!(attack(address, [malformed(0), malformed(4), malformed(8), malformed(4096), other()]).await, 0);

    type Hostile = Box<dyn Fn(PeerId) -> SwarmRequest>;
    let mut requests: Vec<Hostile> = Vec::new();
    for payload in payloads() {
        requests.push(Box::new(move |peer| ask(number, peer, payload.clone())));
    }
    requests.push(Box::new(move |peer| ask(u64::MAX, peer, Vec::new())));
    requests.push(Box::new(move |peer| SwarmRequest::Tell {
        actor_id: ActorId::new_with_peer_id(number, peer),
        actor_remote_id: <FlowServer as RemoteActor>::REMOTE_ID.into(),
        message_remote_id: <FlowServer as RemoteMessage<FlowOrder>>::REMOTE_ID.into(),
        payload: vec![0xc0],
        mailbox_timeout: None,
        immediate: true,
    }));
    requests.push(Box::new(move |peer| SwarmRequest::Link {
        actor_id: ActorId::new_with_peer_id(number, peer),
        actor_remote_id: <FlowServer as RemoteActor>::REMOTE_ID.into(),
        sibling_id: ActorId::new_with_peer_id(1, PeerId::random()),
        sibling_remote_id: <FlowServer as RemoteActor>::REMOTE_ID.into(),
    }));
    assert_eq!(attack(address, requests).await, 0, "nothing of this is work, and no link is taken");
    attack_on_songs(address).await;
    assert_eq!(joined(&decoder, &[address.to_string()]).await, 1, "the worker works on");
}

/// Bytes that are no message.
fn payloads() -> [Vec<u8>; 5] {
    [vec![], vec![0xc1; 64], vec![0xdd, 0xff, 0xff, 0xff, 0xff], vec![0x91; 200_000], vec![7; 3 << 20]]
}

/// What members say to a server that makes one song at once: nothing of it is work, but for the last order.
async fn attack_on_songs(address: SocketAddr) {
    let placement = Placement { threads: Some(1), ..Placement::default() };
    let builder = Heartstream::builder(heartstream_tools::synth::noise()).placement(placement);
    let engine = builder.build().await.expect("an engine");
    let kind = song_kind(&engine).expect("a whole model");
    let server = SongServer::spawn(SongServer::new(engine, kind.clone(), 1));
    server.into_remote_ref().await;
    let number = server.id().sequence_id();
    let call = |call: &SongCall| rmp_serde::to_vec_named(call).expect("a call");
    let order = |change: fn(&mut SongOrder)| {
        let request = SongRequest::new("calm", "la la");
        let mut order = SongOrder { kind: kind.clone(), request, codes: Vec::new(), played: SampleIndex(0) };
        change(&mut order);
        call(&SongCall::Begin(Box::new(order)))
    };
    let hostile: [Vec<u8>; 8] = [
        order(|order| order.kind.kernels.push('x')),
        order(|order| order.request.lyrics = "la ".repeat(100_000)),
        order(|order| order.request.sampling.temperature = f32::NAN),
        order(|order| order.codes = vec![u16::MAX; 800]),
        order(|order| order.codes = vec![0; 200_000]),
        order(|order| order.request.lyrics = String::new()),
        call(&SongCall::Next { song: 1, paused: false }),
        call(&SongCall::End { song: 1 }),
    ];
    let say = |payload: Vec<u8>| -> Box<dyn Fn(PeerId) -> SwarmRequest> {
        Box::new(move |peer| ask_for_song(number, peer, payload.clone()))
    };
    assert_eq!(attack(address, payloads().into_iter().chain(hostile).map(say)).await, 0, "nothing of this is work");
    // The song of a member that never asks for it keeps its place for a while; no other one is begun.
    assert_eq!(attack(address, [say(order(|_| ())), say(order(|_| ()))]).await, 1, "the server makes one song at once");
}

/// How a hostile worker answers an order.
type Answer = fn(&FlowOrder) -> Vec<u8>;

/// Works for engines with `answer`, as long as its runtime; where it listens.
async fn hostile_worker(answer: Answer) -> String {
    let mut swarm = member::<SwarmRequest, SwarmResponse>(&Offer { flow: vec![1], songs: None }.text());
    swarm.listen_on(of_socket(anywhere())).expect("a place to listen");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break super::address::shown(&address);
        }
    };
    tokio::spawn(async move {
        loop {
            let event = swarm.select_next_some().await;
            if let SwarmEvent::Behaviour(MemberEvent::Messages(Event::Message {
                message: Message::Request { request: SwarmRequest::Ask { payload, .. }, channel, .. },
                ..
            })) = event
            {
                let order: FlowOrder = rmp_serde::from_slice(&payload).expect("an engine sends orders");
                let _ = swarm.behaviour_mut().messages.send_response(channel, SwarmResponse::Ask(Ok(answer(&order))));
            }
        }
    });
    address
}

fn said(answer: Result<FlowAnswer, FlowRefusal>) -> Vec<u8> {
    rmp_serde::to_vec_named(&answer).expect("an answer")
}

/// An answer with the right checksum.
fn with(order: &FlowOrder, latents: Vec<f32>) -> Vec<u8> {
    let latents = Numbers(latents);
    said(Ok(FlowAnswer { checksum: checksum(order, &latents), latents }))
}

/// As many numbers as a proof window of 40 frames has, beginning as it must: four of its eighty latents are known.
fn whole(order: &FlowOrder, number: f32) -> Vec<f32> {
    let mut latents = order.known.0.clone();
    latents.resize(20 * order.known.0.len(), number);
    latents
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_takes_no_worker_that_answers_garbage() {
    let answers: [Answer; 9] = [
        |_| Vec::new(),
        |_| vec![0xc1; 1000],
        |_| vec![0xdd, 0xff, 0xff, 0xff, 0xff],
        |_| vec![0; 5 << 20],
        |order| with(order, vec![0.0; 1]),
        |order| with(order, whole(order, f32::NAN)),
        |order| with(order, whole(order, 0.0)),
        |order| said(Ok(FlowAnswer { checksum: 0, latents: order.known.clone() })),
        |_| said(Err(FlowRefusal::Failed("\u{1b}[2J".repeat(100_000)))),
    ];
    let decoder = decoder().await;
    let mut addresses = Vec::new();
    for answer in answers {
        addresses.push(hostile_worker(answer).await);
    }
    assert_eq!(joined(&decoder, &addresses).await, 0);
}
