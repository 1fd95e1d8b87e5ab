//! Flow server: the actor that decodes windows for the engines of other machines.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use heartstream_messages::{FlowAnswer, FlowKind, FlowOrder, FlowRefusal, Numbers, Stage};
use heartstream_models::{
    heartcodec::{HeartCodec, LATENTS_PER_FRAME},
    signal::{KeyedNoise, REFERENCE_WINDOW},
};
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    error::{ActorStopReason, Infallible, PanicError},
    message::{Context, Message},
    remote::RemoteActor,
    remote_message,
};

use super::answer::{checksum, is_orderable};
use crate::{
    compute_site::{ComputePool, ComputeSite},
    flow_task::solve_window,
    stage::panic_message,
};

/// Frames of a window, at most: as many as the reference's, and as many again for its lead-in and look-ahead.
const MOST_FRAMES: usize = 2 * REFERENCE_WINDOW;

/// Decodes windows on a thread of its own, one after the other, with the threads of its site.
pub struct FlowServer {
    codec: Arc<HeartCodec>,
    kind: FlowKind,
    pool: ComputePool,
}

/// By its name alone: kameo's derived form also lets actors of other machines link themselves to it, each of which it would
/// remember for ever.
impl RemoteActor for FlowServer {
    const REMOTE_ID: &'static str = "heartstream::FlowServer";
}

/// Arguments of a flow server.
pub struct FlowServerArgs {
    /// The weights.
    pub codec: Arc<HeartCodec>,
    /// What its latents are.
    pub kind: FlowKind,
    /// Where it computes.
    pub site: ComputeSite,
}

/// Why a flow server does not start: the system gives no more threads.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the system starts no more threads ({0}). End other programs, or raise the limit of processes")]
pub struct NoThreads(String);

impl Actor for FlowServer {
    type Args = FlowServerArgs;
    type Error = NoThreads;

    fn name() -> &'static str {
        "flow_server"
    }

    async fn on_start(args: FlowServerArgs, _: ActorRef<Self>) -> Result<Self, NoThreads> {
        let FlowServerArgs { codec, kind, site } = args;
        let pool = ComputePool::around_this_thread(Some(&site), Stage::FlowWorker.name());
        Ok(Self { codec, kind, pool: pool.map_err(|error| NoThreads(error.to_string()))? })
    }

    /// No message ends the server, whatever is in it.
    async fn on_panic(
        &mut self,
        _: WeakActorRef<Self>,
        error: PanicError,
    ) -> Result<ControlFlow<ActorStopReason>, NoThreads> {
        tracing::warn!("a message made the flow server panic: {error}");
        Ok(ControlFlow::Continue(()))
    }
}

/// A refusal is a value, not an error of the actor: an error that is not waited for would end it.
#[remote_message]
impl Message<FlowOrder> for FlowServer {
    type Reply = Result<Result<FlowAnswer, FlowRefusal>, Infallible>;

    async fn handle(&mut self, order: FlowOrder, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let decode = || self.pool.run(|| self.decode(&order));
        let caught = catch_unwind(AssertUnwindSafe(decode));
        Ok(caught.unwrap_or_else(|panic| Err(FlowRefusal::Failed(panic_message(&*panic)))))
    }
}

impl FlowServer {
    fn decode(&self, order: &FlowOrder) -> Result<FlowAnswer, FlowRefusal> {
        if order.kind != self.kind {
            return Err(FlowRefusal::OtherKind(self.kind.clone()));
        }
        let flow = &self.codec.flow;
        check(order, (flow.quantizer.codebooks(), flow.channels())).map_err(FlowRefusal::Order)?;
        let noise = (KeyedNoise::new(order.noise_key), order.first_latent);
        let solved = solve_window(flow, &order.codes, noise, &order.known.0, order.flow, &|| false);
        match solved {
            Ok(Some(latents)) => {
                let latents = Numbers(latents);
                Ok(FlowAnswer { checksum: checksum(order, &latents), latents })
            }
            Ok(None) => Err(FlowRefusal::Failed("it was stopped".to_owned())),
            Err(error) => Err(FlowRefusal::Failed(error.to_string())),
        }
    }
}

/// Checks an order before anything is allocated by it; says what is wrong with it.
fn check(order: &FlowOrder, (codebooks, channels): (usize, usize)) -> Result<(), String> {
    let (codes, known) = (order.codes.len(), order.known.0.len());
    let frames = codes / codebooks.max(1);
    if !codes.is_multiple_of(codebooks.max(1)) || !(1..=MOST_FRAMES).contains(&frames) {
        return Err(format!("{codes} codes, where a window has 1 to {MOST_FRAMES} frames of {codebooks}"));
    }
    if !known.is_multiple_of(channels.max(1)) || known > frames * LATENTS_PER_FRAME * channels {
        return Err(format!("{known} in-context numbers, where {frames} frames have whole latents of {channels}"));
    }
    if !order.known.0.iter().all(|number| number.is_finite()) {
        return Err("in-context numbers that are not finite".to_owned());
    }
    if !is_orderable(order.flow) {
        return Err(format!("{} steps with guidance {}", order.flow.steps, order.flow.guidance));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartstream_messages::Flow;

    fn order() -> FlowOrder {
        let kind = FlowKind { engine: "0".to_owned(), codec: "c".to_owned(), kernels: "k".to_owned() };
        let (flow, known) = (Flow { steps: 10, guidance: 1.25 }, Numbers(vec![0.0; 8]));
        FlowOrder { kind, codes: vec![0; 16], noise_key: 1, first_latent: 0, flow, known }
    }

    #[test]
    fn an_order_that_is_not_one_of_a_song_is_refused_before_anything_is_allocated() {
        assert_eq!(check(&order(), (8, 4)), Ok(()));
        type Change = fn(&mut FlowOrder);
        let changes: [Change; 12] = [
            |order| order.codes.clear(),
            |order| order.codes.truncate(15),
            |order| order.codes = vec![0; 8 * (MOST_FRAMES + 1)],
            |order| order.known.0.truncate(7),
            |order| order.known.0 = vec![0.0; 4 * 5],
            |order| order.known.0[3] = f32::NAN,
            |order| order.known.0[3] = f32::INFINITY,
            |order| order.flow.steps = 0,
            |order| order.flow.steps = usize::MAX,
            |order| order.flow.guidance = f32::NAN,
            |order| order.flow.guidance = 0.5,
            |order| order.flow.guidance = f32::INFINITY,
        ];
        for (place, change) in changes.into_iter().enumerate() {
            let mut bad = order();
            change(&mut bad);
            assert!(check(&bad, (8, 4)).is_err(), "change {place}");
        }
    }
}
