//! Song server: the actor that makes songs for the engines of other machines, and the songs that it makes.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    ops::ControlFlow,
    path::Path,
    sync::Arc,
    time::Duration,
};

use flume::Receiver;
use heartstream_actors::remote::{
    answer::is_orderable,
    song_part::{MOST_BLOCKS, part_checksum},
};
use heartstream_messages::{
    CodeFrame, Numbers, Outcome, PcmBlock, SongAnswer, SongCall, SongKind, SongOrder, SongPart, SongRefusal,
    units::{CHANNELS, SampleIndex},
};
use heartstream_models::SongCodes;
use kameo::{
    Actor,
    actor::{ActorRef, WeakActorRef},
    error::{ActorStopReason, Infallible, PanicError},
    message::{Context, Message},
    remote::RemoteActor,
    remote_message,
    reply::{DelegatedReply, ReplySender},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, sleep_until, timeout},
};

use crate::{Heartstream, Sink, Sinks, SongBlocks, SongControl, codes::SavedSong};

/// How long a call waits for sound.
const WAIT: Duration = Duration::from_secs(1);
/// A song that its engine does not ask for in so long is ended.
const LEASE: Duration = Duration::from_secs(120);
/// Bytes of tags and of lyrics, at most; as many as a body of `serve` may have.
const MOST_WORDS: usize = 64 << 10;

/// What a call is answered with. A refusal is a value: an error of the actor that is not waited for would end it.
type Answer = Result<Result<SongAnswer, SongRefusal>, Infallible>;

/// Makes songs, each in a task of its own.
pub(super) struct SongServer {
    engine: Heartstream,
    kind: SongKind,
    places: Arc<Semaphore>,
    /// Where the songs that are made take calls.
    songs: HashMap<u64, mpsc::Sender<Asked>>,
}

/// By its name alone, as the flow server.
impl RemoteActor for SongServer {
    const REMOTE_ID: &'static str = "heartstream::SongServer";
}

/// A call for the next part.
struct Asked {
    paused: bool,
    reply: ReplySender<Answer>,
}

impl SongServer {
    /// Makes songs of `kind` with `engine`, at most `places` at once.
    pub fn new(engine: Heartstream, kind: SongKind, places: usize) -> Self {
        Self { engine, kind, places: Arc::new(Semaphore::new(places)), songs: HashMap::new() }
    }

    fn begin(&mut self, order: SongOrder, reply: ReplySender<Answer>) {
        self.songs.retain(|_, asks| !asks.is_closed());
        let codebooks = self.engine.lm_resources.sizes.audio_num_codebooks;
        let place = check(&order, &self.kind, codebooks)
            .and_then(|()| Arc::clone(&self.places).try_acquire_owned().map_err(|_| SongRefusal::Full));
        let place = match place {
            Ok(place) => place,
            Err(refusal) => return reply.send(Ok(Err(refusal))),
        };
        // Random, so that no other member ends the song or takes its parts.
        let number = RandomState::new().hash_one(0);
        let (give, asks) = mpsc::channel(1);
        self.songs.insert(number, give);
        let engine = self.engine.clone();
        tokio::spawn(async move {
            match Making::begin(&engine, number, order).await {
                Ok(making) => {
                    reply.send(Ok(Ok(SongAnswer::Begun(number))));
                    making.run(asks).await;
                }
                Err(refusal) => reply.send(Ok(Err(refusal))),
            }
            drop(place); // nothing is left of the song
        });
    }
}

/// Checks an order before anything is begun by it.
fn check(order: &SongOrder, kind: &SongKind, codebooks: usize) -> Result<(), SongRefusal> {
    let refused = |what: &str| Err(SongRefusal::Order(what.to_owned()));
    let SongOrder { request, codes, .. } = order;
    if order.kind != *kind {
        return Err(SongRefusal::OtherKind(kind.clone()));
    }
    if request.tags.len().max(request.lyrics.len()) > MOST_WORDS {
        return refused("tags or lyrics of more than 64 KiB");
    }
    if request.first_window.deadline.is_some() {
        return refused("a deadline for its first sound, which depends on the machine");
    }
    if !is_orderable(request.flow) {
        return refused("too many steps, or guidance out of range");
    }
    if !codes.len().is_multiple_of(codebooks.max(1)) {
        return refused("codes that are no whole frames");
    }
    Ok(())
}

impl Actor for SongServer {
    type Args = Self;
    type Error = Infallible;

    fn name() -> &'static str {
        "song_server"
    }

    async fn on_start(server: Self, _: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(server)
    }

    /// No message ends the server, whatever is in it.
    async fn on_panic(
        &mut self,
        _: WeakActorRef<Self>,
        error: PanicError,
    ) -> Result<ControlFlow<ActorStopReason>, Infallible> {
        tracing::warn!("a message made the song server panic: {error}");
        Ok(ControlFlow::Continue(()))
    }
}

#[remote_message]
impl Message<SongCall> for SongServer {
    type Reply = DelegatedReply<Answer>;

    async fn handle(&mut self, call: SongCall, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let (delegated, reply) = context.reply_sender();
        let Some(reply) = reply else { return delegated }; // who waits for no answer gets no song
        match call {
            SongCall::Begin(order) => self.begin(*order, reply),
            SongCall::Next { song, paused } => match self.songs.get(&song) {
                None => reply.send(Ok(Err(SongRefusal::Unknown))),
                Some(asks) => {
                    // Of two calls at once, the second one is none.
                    if let Err(unasked) = asks.try_send(Asked { paused, reply }) {
                        unasked.into_inner().reply.send(Ok(Err(SongRefusal::Unknown)));
                    }
                }
            },
            SongCall::End { song } => {
                self.songs.remove(&song); // its task ends with the last that may call it
                reply.send(Ok(Ok(SongAnswer::Ended)));
            }
        }
        delegated
    }
}

/// A song that is made for another machine.
struct Making {
    number: u64,
    parts: u64,
    blocks: SongBlocks,
    control: SongControl,
    frames: Receiver<CodeFrame>,
    /// Frames that the engine has.
    skipped: u64,
    /// Sound that the engine has.
    played: SampleIndex,
    made: SampleIndex,
}

impl Making {
    async fn begin(engine: &Heartstream, number: u64, order: SongOrder) -> Result<Self, SongRefusal> {
        let SongOrder { request, codes, played, .. } = order;
        let (give, frames) = flume::bounded(engine.plan.capacities.frame_places());
        let sinks = Sinks::from(Sink::Subscriber).and_frames(give);
        let codebooks = engine.lm_resources.sizes.audio_num_codebooks;
        let skipped = (codes.len() / codebooks.max(1)) as u64;
        let begun = if codes.is_empty() {
            engine.sing_to(request, sinks).await
        } else {
            let codes = SongCodes { codebooks, codes, notes: HashMap::new() };
            let kept = SavedSong { request, checkpoint: engine.fingerprint().to_owned(), codes };
            engine.resume(kept, Path::new("the order"), sinks).await
        };
        let (blocks, control) = begun.map_err(|error| SongRefusal::Order(error.to_string()))?.split();
        Ok(Self { number, parts: 0, blocks, control, frames, skipped, played, made: SampleIndex(0) })
    }

    /// Hands out part after part, until the song is over, is ended, or is not asked for any more.
    async fn run(mut self, mut asks: mpsc::Receiver<Asked>) {
        while let Ok(Some(Asked { paused, reply })) = timeout(LEASE, asks.recv()).await {
            if paused && !self.control.is_paused() {
                self.control.pause();
            } else if !paused && self.control.is_paused() {
                self.control.resume();
            }
            let part = self.part().await;
            let is_over = part.as_ref().map_or(true, |part| part.is_last);
            reply.send(Ok(part.map(SongAnswer::Part)));
            if is_over {
                return; // its end was waited for
            }
        }
        let Self { mut blocks, control, frames, .. } = self;
        drop(frames);
        control.cancel();
        blocks.wait().await;
    }

    /// What there is, once there is sound or a second has passed.
    async fn part(&mut self) -> Result<SongPart, SongRefusal> {
        let (mut part, mut until) = (SongPart::default(), Instant::now() + WAIT);
        while part.blocks.len() < MOST_BLOCKS {
            tokio::select! {
                biased;
                Ok(frame) = self.frames.recv_async() => self.add_frame(&mut part, frame),
                block = self.blocks.next_block() => match block {
                    Some(block) => {
                        if self.add_block(&mut part, &block) {
                            until = Instant::now(); // with what else is there already
                        }
                    }
                    None => {
                        part.is_last = true;
                        break;
                    }
                },
                () = sleep_until(until) => break,
            }
        }
        if part.is_last {
            match self.blocks.wait().await.outcome {
                Outcome::Finished => (),
                Outcome::Failed(error) => return Err(SongRefusal::Failed(error.to_string())),
                _ => return Err(SongRefusal::Failed("it was ended there".to_owned())),
            }
        }
        // There is no sound without its frames.
        while let Ok(frame) = self.frames.try_recv() {
            self.add_frame(&mut part, frame);
        }
        part.made = self.made;
        part.checksum = part_checksum(self.number, self.parts, &part);
        self.parts += 1;
        Ok(part)
    }

    fn add_frame(&self, part: &mut SongPart, frame: CodeFrame) {
        if frame.index.0 >= self.skipped {
            part.codes.extend(frame.codes);
        }
    }

    /// Adds what the engine does not have of a block, if there is any.
    fn add_block(&mut self, part: &mut SongPart, block: &PcmBlock) -> bool {
        self.made = block.end();
        let known = self.played.0.saturating_sub(block.start.0) as usize * CHANNELS;
        let rest = block.samples.get(known..).filter(|rest| !rest.is_empty());
        part.blocks.extend(rest.map(|rest| Numbers(rest.to_vec())));
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartstream_messages::{SongRequest, units::Seconds};

    #[test]
    fn an_order_that_would_be_another_song_or_too_much_work_is_refused() {
        let kind = SongKind { engine: "0".to_owned(), model: "m".to_owned(), kernels: "k".to_owned() };
        let order = || SongOrder {
            kind: kind.clone(),
            request: SongRequest::new("calm", "la la"),
            codes: vec![0; 16],
            played: SampleIndex(0),
        };
        assert_eq!(check(&order(), &kind, 8), Ok(()));
        type Change = fn(&mut SongOrder);
        let changes: [Change; 7] = [
            |order| order.kind.model.push('x'),
            |order| order.request.tags = "x".repeat(MOST_WORDS + 1),
            |order| order.request.lyrics = "x".repeat(MOST_WORDS + 1),
            |order| order.request.first_window.deadline = Some(Seconds(1.0)),
            |order| order.request.flow.steps = usize::MAX,
            |order| order.request.flow.guidance = f32::NAN,
            |order| order.codes.truncate(15),
        ];
        for (place, change) in changes.into_iter().enumerate() {
            let mut bad = order();
            change(&mut bad);
            assert!(check(&bad, &kind, 8).is_err(), "change {place}");
        }
    }
}
