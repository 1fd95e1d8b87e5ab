//! Requests to servers of other machines, as messages of kameo, and their answers.
//!
//! kameo's own references to remote actors go through a swarm that also holds its registry. That takes records of others,
//! and fails on a record that is too short; so the messages are sent without it.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use heartstream_actors::remote::{server::FlowServer, workers::Fault};
use heartstream_messages::{FlowAnswer, FlowKind, FlowOrder, FlowRefusal};
use heartstream_models::foreign_text::shown;
use kameo::{
    actor::ActorId,
    error::RemoteSendError,
    remote::{RemoteActor, RemoteMessage, messaging},
};
use libp2p::PeerId;
use tokio::sync::oneshot;

/// A window for a server of another machine.
#[derive(Debug)]
pub(super) struct Request {
    /// The machine, and the number of its server.
    pub server: (PeerId, u64),
    pub order: FlowOrder,
    /// How long the server may take.
    pub time: Duration,
    pub answer: oneshot::Sender<Result<FlowAnswer, Fault>>,
}

/// Requests that are not answered yet.
#[derive(Default)]
pub(super) struct Asking(HashMap<messaging::RequestId, oneshot::Sender<Result<FlowAnswer, Fault>>>);

impl Asking {
    /// Sends a request.
    pub fn send(&mut self, messages: &mut messaging::Behaviour, request: Request) {
        self.0.retain(|_, answer| !answer.is_closed()); // those that are no longer waited for
        let Request { server: (peer, number), order, time, answer } = request;
        match rmp_serde::to_vec_named(&order) {
            Ok(payload) => {
                let id = messages.ask(
                    ActorId::new_with_peer_id(number, peer),
                    Cow::Borrowed(<FlowServer as RemoteActor>::REMOTE_ID),
                    Cow::Borrowed(<FlowServer as RemoteMessage<FlowOrder>>::REMOTE_ID),
                    payload,
                    Some(time),
                    Some(time),
                    false,
                );
                self.0.insert(id, answer);
            }
            Err(error) => drop(answer.send(Err(Fault::Gone(error.to_string())))), // it may not be waited for
        }
    }

    /// Takes what the messages say.
    pub fn handle(&mut self, event: messaging::Event) {
        let (id, answer) = match event {
            messaging::Event::AskResult { request_id, result, .. } => (request_id, read(result)),
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

fn read(result: Result<Vec<u8>, RemoteSendError<Vec<u8>>>) -> Result<FlowAnswer, Fault> {
    let bytes = result.map_err(|error| fault(&error))?;
    let answer: Result<FlowAnswer, FlowRefusal> = rmp_serde::from_slice(&bytes)
        .map_err(|error| Fault::Gone(format!("it answers what is no answer: {}", shown(&error.to_string()))))?;
    answer.map_err(|refusal| Fault::Refused(readable(refusal)))
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
fn readable(refusal: FlowRefusal) -> FlowRefusal {
    let shown = |text: String| shown(&text);
    match refusal {
        FlowRefusal::OtherKind(FlowKind { engine, codec, kernels }) => {
            FlowRefusal::OtherKind(FlowKind { engine: shown(engine), codec: shown(codec), kernels: shown(kernels) })
        }
        FlowRefusal::Order(text) => FlowRefusal::Order(shown(text)),
        FlowRefusal::Failed(text) => FlowRefusal::Failed(shown(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_answer_are_a_fault_and_no_panic() {
        for bytes in [vec![], vec![0xc1], vec![0xdd, 0xff, 0xff, 0xff, 0xff], vec![0x81; 100_000]] {
            assert!(matches!(read(Ok(bytes)), Err(Fault::Gone(_))));
        }
    }

    #[test]
    fn what_a_refusal_says_is_shown_without_what_a_terminal_would_do_with_it() {
        let refusal = FlowRefusal::Failed("\u{1b}[31m".repeat(1000));
        let text = readable(refusal).to_string();
        assert!(text.len() < 1000 && !text.contains('\u{1b}'), "{text}");
    }
}
