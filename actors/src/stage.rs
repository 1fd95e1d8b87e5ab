//! Stage loop: receive, work, send; and answer the mailbox in between.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    thread::sleep,
    time::{Duration, Instant},
};

use heartstream_messages::{FailureKind, Stage, StageError};
use kameo::{
    actor::{Actor, ActorRef, WeakActorRef},
    mailbox::{MailboxReceiver, Signal},
};

use crate::{
    channel::{Inlet, Outlet},
    compute_site::ComputePool,
    failure::failed,
    song_context::{EngineContext, SongContext},
};

/// Why a stage cannot go on; the sentence in it reaches the user.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Poll interval of a stage that waits.
const REST: Duration = Duration::from_millis(10);

/// What a stage is given to work on.
#[derive(Debug)]
pub enum Event<I> {
    /// The song begins.
    Begin,
    /// An input.
    Input(I),
    /// What the stage asked for by [`Next::Continue`], [`Next::Wait`] or [`Next::InputWithin`].
    Continue,
    /// There is no more input.
    End,
}

/// What a stage asks for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Its next input.
    Input,
    /// Its next input; where none comes within this time, to continue.
    InputWithin(Duration),
    /// To continue at once, before its next input: there is more to make.
    Continue,
    /// To continue soon, as while paused.
    Wait,
    /// Nothing: it has ended early. Its actor then drops its receiver, which ends the stages before it.
    Nothing,
}

/// The work of a stage, without the loop around it.
pub trait StageWork: Send + 'static {
    /// Which stage it is.
    const STAGE: Stage;
    /// What it takes.
    type Input: Send + Sync + 'static;
    /// What it makes.
    type Output: Send + 'static;

    /// Works on one event, appends what it makes, and says what it asks for next.
    ///
    /// # Errors
    /// Ends the song.
    fn step(&mut self, event: Event<Self::Input>, outputs: &mut VecDeque<Self::Output>) -> Result<Next, Failure>;
}

/// Arguments of a stage's actor.
pub struct StageArgs<W, I, O> {
    /// Its work.
    pub work: W,
    /// Where its inputs come from.
    pub inlet: I,
    /// Where its outputs go.
    pub outlet: O,
    /// The threads it computes on.
    pub pool: ComputePool,
    /// The shared state of its song.
    pub song: SongContext,
}

/// The kameo actor of a stage.
///
/// It ends when its input has ended and all outputs are sent, or when its receivers are gone. It then drops its ends of
/// the channels, which ends its neighbours in turn. It fails with a [`StageError`], which names the stage to linked
/// actors.
pub struct StageActor<W: StageWork, I, O> {
    work: W,
    /// Dropped as soon as the work is over, before linked actors are notified.
    ends: Option<(I, O)>,
    outputs: VecDeque<W::Output>,
    /// What the work asked for; `None` before it has begun.
    asked: Option<Next>,
    pool: ComputePool,
    song: SongContext,
    taken: u64,
}

impl<W, I, O> Actor for StageActor<W, I, O>
where
    W: StageWork,
    I: Inlet<Item = W::Input>,
    O: Outlet<Item = W::Output>,
{
    type Args = StageArgs<W, I, O>;
    type Error = StageError;

    fn name() -> &'static str {
        W::STAGE.name()
    }

    async fn on_start(args: Self::Args, _: ActorRef<Self>) -> Result<Self, StageError> {
        let StageArgs { work, inlet, outlet, pool, song } = args;
        Ok(Self { work, ends: Some((inlet, outlet)), outputs: VecDeque::new(), asked: None, pool, song, taken: 0 })
    }

    async fn next(
        &mut self,
        _: WeakActorRef<Self>,
        mailbox: &mut MailboxReceiver<Self>,
    ) -> Result<Option<Signal<Self>>, StageError> {
        loop {
            if !self.give_all().await {
                return Ok(None); // the receivers are gone: not a failure of this stage
            }
            let event = match self.asked {
                None => Event::Begin,
                Some(Next::Nothing) => {
                    self.ends = None;
                    return Ok(None);
                }
                Some(asked @ (Next::Continue | Next::Wait)) => {
                    if let Ok(signal) = mailbox.try_recv() {
                        return Ok(Some(signal));
                    }
                    if asked == Next::Wait {
                        sleep(REST); // the thread is the stage's own
                        self.song.meter.stage(W::STAGE).waited(REST);
                    }
                    Event::Continue
                }
                Some(asked @ (Next::Input | Next::InputWithin(_))) => {
                    let Some((inlet, _)) = &mut self.ends else { return Ok(None) };
                    let (since, idle) = (Instant::now(), inlet.waits_idle());
                    let event = tokio::select! {
                        biased;
                        signal = mailbox.recv() => return Ok(signal),
                        input = inlet.take() => input.map_or(Event::End, Event::Input),
                        () = elapsed(asked) => Event::Continue,
                    };
                    if idle {
                        self.song.meter.stage(W::STAGE).waited(since.elapsed());
                    }
                    event
                }
            };
            let is_end = matches!(event, Event::End);
            self.asked = Some(self.perform(event)?);
            if is_end {
                self.give_all().await;
                self.ends = None;
                return Ok(None);
            }
            tokio::task::yield_now().await; // a point at which the actor can be killed
        }
    }
}

impl<W, I, O> StageActor<W, I, O>
where
    W: StageWork,
    O: Outlet<Item = W::Output>,
{
    /// Sends the outputs; false when the receivers are gone.
    async fn give_all(&mut self) -> bool {
        let Some((_, outlet)) = &mut self.ends else { return false };
        while let Some(output) = self.outputs.pop_front() {
            let since = Instant::now();
            let taken = outlet.give(output).await;
            self.song.meter.stage(W::STAGE).waited(since.elapsed());
            if !taken {
                self.ends = None;
                return false;
            }
        }
        true
    }

    /// Does a piece of work on the stage's cores; a panic becomes an error.
    ///
    /// On an error the stop flag is set while this stage still holds its ends of the channels: later stages see their
    /// input end soon after, and must not take that for the end of the song.
    fn perform(&mut self, event: Event<W::Input>) -> Result<Next, StageError> {
        let since = Instant::now();
        // Sinks wait for the listener, so their time does not count as work.
        let gives = matches!(W::STAGE, Stage::SpeakerSink | Stage::SubscriberSink);
        let _turn = self.song.engine.turns.take(W::STAGE);
        let _at_work = (!gives).then(|| self.song.meter.working.begin());
        if let Event::Input(_) = event {
            self.taken += 1;
        }
        let (work, outputs, song, item) = (&mut self.work, &mut self.outputs, &self.song, self.taken);
        let once = AssertUnwindSafe(|| {
            let _in_song = song.span.enter(); // here, for the work is done on threads of the pool
            if W::STAGE != Stage::FlowWorker {
                song.faults.strike(W::STAGE, item); // the flow worker's strike in its attempts
            }
            work.step(event, outputs)
        });
        let EngineContext { turns, on_gpus, .. } = &self.song.engine;
        let yields = || turns.is_behind(W::STAGE);
        let awake = (!on_gpus.contains(&W::STAGE)).then_some(&yields as &(dyn Fn() -> bool + Sync));
        let result = match catch_unwind(AssertUnwindSafe(|| self.pool.run_awake(awake, once))) {
            Ok(result) => result.map_err(|failure| failed(W::STAGE, failure)),
            Err(panic) => Err(StageError::new(W::STAGE, FailureKind::Panic, panic_message(&*panic), None)),
        };
        self.song.meter.stage(W::STAGE).worked(since.elapsed());
        if result.is_err() {
            self.song.stop.set();
        }
        result
    }
}

/// Ends when a stage has waited for an input as long as it asked to; else never.
async fn elapsed(asked: Next) {
    match asked {
        Next::InputWithin(timeout) => tokio::time::sleep(timeout).await,
        _ => std::future::pending().await,
    }
}

pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_owned()
}
