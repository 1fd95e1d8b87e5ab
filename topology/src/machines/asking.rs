//! Requests to servers of other machines, as messages of kameo, and their answers.
//!
//! kameo's own references to remote actors go through a swarm that also holds its registry. That takes records of others,
//! and fails on a record that is too short; so the messages are sent without it.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use heartstream_actors::remote::workers::Fault;
use heartstream_messages::{FlowKind, FlowRefusal, SongKind, SongRefusal};
use heartstream_models::foreign_text::shown;
use kameo::{
    actor::ActorId,
    error::RemoteSendError,
    remote::{RemoteActor, RemoteMessage, messaging},
};
use libp2p::PeerId;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, oneshot};

use super::swarm::Command;

/// A message for a server of another machine.
#[derive(Debug)]
pub(super) struct Request {
    /// The machine, and the number of its server.
    server: (PeerId, u64),
    /// What kameo calls the actor and the message.
    names: [&'static str; 2],
    payload: Vec<u8>,
    /// How long the server may take.
    time: Duration,
    answer: oneshot::Sender<Result<Vec<u8>, Fault>>,
}

/// Sends `message` to the actor `A` of another machine, and waits for its answer.
pub(super) fn ask<A: RemoteActor + RemoteMessage<M>, M: Serialize, R: DeserializeOwned>(
    commands: &mpsc::UnboundedSender<Command>,
    server: (PeerId, u64),
    message: &M,
    time: Duration,
) -> impl Future<Output = Result<R, Fault>> + use<A, M, R> {
    let (answer, answered) = oneshot::channel();
    let gone = || Fault::Gone("the connections of this machine have ended".to_owned());
    let names = [<A as RemoteActor>::REMOTE_ID, <A as RemoteMessage<M>>::REMOTE_ID];
    let payload = rmp_serde::to_vec_named(message).map_err(|error| Fault::Gone(error.to_string()));
    let sent = payload.and_then(|payload| {
        let request = Request { server, names, payload, time, answer };
        commands.send(Command::Ask(request)).map_err(|_| gone())
    });
    async move {
        sent?;
        read(&answered.await.unwrap_or_else(|_| Err(gone()))?)
    }
}

/// Requests that are not answered yet.
#[derive(Default)]
pub(super) struct Asking(HashMap<messaging::RequestId, oneshot::Sender<Result<Vec<u8>, Fault>>>);

impl Asking {
    /// Sends a request.
    pub fn send(&mut self, messages: &mut messaging::Behaviour, request: Request) {
        self.0.retain(|_, answer| !answer.is_closed()); // those that are no longer waited for
        let Request { server: (peer, number), names: [actor, message], payload, time, answer } = request;
        let id = messages.ask(
            ActorId::new_with_peer_id(number, peer),
            Cow::Borrowed(actor),
            Cow::Borrowed(message),
            payload,
            Some(time),
            Some(time),
            false,
        );
        self.0.insert(id, answer);
    }

    /// Takes what the messages say.
    pub fn handle(&mut self, event: messaging::Event) {
        let (id, answer) = match event {
            messaging::Event::AskResult { request_id, result, .. } => {
                (request_id, result.map_err(|error| fault(&error)))
            }
            messaging::Event::OutboundFailure { request_id, error, .. } => {
                (messaging::RequestId::Outbound(request_id), Err(fault(&error)))
            }
            _ => return,
        };
        if let Some(waiting) = self.0.remove(&id) {
            let _ = waiting.send(answer); // it may not be waited for
        }
    }
}

fn read<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, Fault> {
    let none = |error: rmp_serde::decode::Error| {
        Fault::Gone(format!("it answers what is no answer: {}", shown(&error.to_string())))
    };
    rmp_serde::from_slice(bytes).map_err(none)
}

fn fault<E: std::fmt::Debug>(error: &RemoteSendError<E>) -> Fault {
    match error {
        RemoteSendError::ReplyTimeout | RemoteSendError::NetworkTimeout => Fault::Late,
        RemoteSendError::ConnectionClosed => Fault::Gone("the connection was closed".to_owned()),
        RemoteSendError::DialFailure => Fault::Gone("it is not connected".to_owned()),
        error => Fault::Gone(shown(&format!("{error:?}"))),
    }
}

/// A refusal that can be shown: its text comes from another machine.
pub(super) fn readable(refusal: FlowRefusal) -> FlowRefusal {
    let shown = |text: String| shown(&text);
    match refusal {
        FlowRefusal::OtherKind(FlowKind { engine, codec, kernels }) => {
            FlowRefusal::OtherKind(FlowKind { engine: shown(engine), codec: shown(codec), kernels: shown(kernels) })
        }
        FlowRefusal::Order(text) => FlowRefusal::Order(shown(text)),
        FlowRefusal::Failed(text) => FlowRefusal::Failed(shown(text)),
    }
}

/// The same of a song.
pub(super) fn readable_of_song(refusal: SongRefusal) -> SongRefusal {
    let shown = |text: String| shown(&text);
    match refusal {
        SongRefusal::OtherKind(SongKind { engine, model, kernels }) => {
            SongRefusal::OtherKind(SongKind { engine: shown(engine), model: shown(model), kernels: shown(kernels) })
        }
        SongRefusal::Order(text) => SongRefusal::Order(shown(text)),
        SongRefusal::Failed(text) => SongRefusal::Failed(shown(text)),
        SongRefusal::Full | SongRefusal::Unknown => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartstream_messages::{FlowAnswer, SongAnswer};

    #[test]
    fn bytes_that_are_no_answer_are_a_fault_and_no_panic() {
        for bytes in [vec![], vec![0xc1], vec![0xdd, 0xff, 0xff, 0xff, 0xff], vec![0x81; 100_000]] {
            assert!(matches!(read::<Result<FlowAnswer, FlowRefusal>>(&bytes), Err(Fault::Gone(_))));
            assert!(matches!(read::<Result<SongAnswer, SongRefusal>>(&bytes), Err(Fault::Gone(_))));
        }
    }

    #[test]
    fn what_a_refusal_says_is_shown_without_what_a_terminal_would_do_with_it() {
        let foreign = "\u{1b}[31m".repeat(1000);
        let kind = SongKind { engine: foreign.clone(), model: foreign.clone(), kernels: foreign.clone() };
        let flow = readable(FlowRefusal::Failed(foreign.clone())).to_string();
        let song = readable_of_song(SongRefusal::Failed(foreign)).to_string();
        for text in [flow, song, readable_of_song(SongRefusal::OtherKind(kind)).to_string()] {
            assert!(text.len() < 1000 && !text.contains('\u{1b}'), "{text}");
        }
    }
}
