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
    song_context::SongContext,
};

/// Why a stage cannot go on; the sentence in it reaches the user.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Poll interval of a stage that waits.
const REST: Duration = Duration::from_millis(10);

/// The work of a stage, without the loop around it.
pub trait StageWork: Send + 'static {
    /// Which stage it is.
    const STAGE: Stage;
    /// How often an input is worked on again after a panic. Only for work that is a pure function of its input.
    const RETRIES: u32 = 0;
    /// What it takes.
    type Input: Send + Sync + 'static;
    /// What it makes.
    type Output: Send + 'static;

    /// Works on one input and appends what it makes.
    ///
    /// # Errors
    /// Ends the song.
    fn work(&mut self, input: &Self::Input, outputs: &mut VecDeque<Self::Output>) -> Result<(), Failure>;

    /// Whether there is more to make before the next input is taken.
    fn has_more(&self) -> bool {
        false
    }

    /// Whether it waits although it has more to make, as while paused: it is asked again soon.
    fn is_waiting(&self) -> bool {
        false
    }

    /// How long it may wait for its next input before [`StageWork::continue_work`] is called in between; `None` for ever.
    fn input_timeout(&self) -> Option<Duration> {
        None
    }

    /// Makes the next piece of what [`StageWork::has_more`] promised, or does what cannot wait for an input.
    ///
    /// # Errors
    /// Ends the song.
    fn continue_work(&mut self, _outputs: &mut VecDeque<Self::Output>) -> Result<(), Failure> {
        Ok(())
    }

    /// Whether the stage has ended early. Its actor then drops its receiver, which ends the stages before it.
    fn is_done(&self) -> bool {
        false
    }

    /// Makes what is left when there is no more input.
    ///
    /// # Errors
    /// Ends the song.
    fn finish(&mut self, _outputs: &mut VecDeque<Self::Output>) -> Result<(), Failure> {
        Ok(())
    }
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
    pool: ComputePool,
    song: SongContext,
    taken: u64,
}

/// A piece of a stage's work.
enum Task<'a, I> {
    Input(&'a I),
    Continue,
    Finish,
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
        Ok(Self { work, ends: Some((inlet, outlet)), outputs: VecDeque::new(), pool, song, taken: 0 })
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
            if self.work.has_more() {
                if let Ok(signal) = mailbox.try_recv() {
                    return Ok(Some(signal));
                }
                if self.work.is_waiting() {
                    sleep(REST); // the thread is the stage's own
                    self.song.meter.stage(W::STAGE).waited(REST);
                } else {
                    self.perform(Task::Continue)?;
                }
                tokio::task::yield_now().await; // a point at which the actor can be killed
                continue;
            }
            let Some((inlet, _)) = &mut self.ends else { return Ok(None) };
            let since = Instant::now();
            let input = tokio::select! {
                biased;
                signal = mailbox.recv() => return Ok(signal),
                input = inlet.take() => Some(input),
                () = elapsed(self.work.input_timeout()) => None,
            };
            self.song.meter.stage(W::STAGE).waited(since.elapsed());
            match input {
                None => self.perform(Task::Continue)?,
                Some(Some(input)) => {
                    self.perform(Task::Input(&input))?;
                    if self.work.is_done() {
                        self.ends = None;
                        return Ok(None);
                    }
                }
                Some(None) => {
                    self.perform(Task::Finish)?;
                    self.give_all().await;
                    self.ends = None;
                    return Ok(None);
                }
            }
            tokio::task::yield_now().await;
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

    /// Does a piece of work on the stage's cores; a panic becomes an error, after the retries that the stage allows.
    ///
    /// On an error the stop flag is set while this stage still holds its ends of the channels: later stages see their
    /// input end soon after, and must not take that for the end of the song.
    fn perform(&mut self, task: Task<'_, W::Input>) -> Result<(), StageError> {
        let since = Instant::now();
        // Sinks wait for the listener, so their time does not count as work.
        let gives = matches!(W::STAGE, Stage::SpeakerSink | Stage::SubscriberSink);
        let _at_work = (!gives).then(|| self.song.meter.working.begin());
        if let Task::Input(_) = task {
            self.taken += 1;
        }
        let mut tries = 0;
        let result = loop {
            let (work, outputs, song, item) = (&mut self.work, &mut self.outputs, &self.song, self.taken);
            let once = AssertUnwindSafe(|| {
                let _in_song = song.span.enter(); // here, for the work is done on threads of the pool
                song.faults.strike(W::STAGE, item);
                match task {
                    Task::Input(input) => work.work(input, outputs),
                    Task::Continue => work.continue_work(outputs),
                    Task::Finish => work.finish(outputs),
                }
            });
            match catch_unwind(AssertUnwindSafe(|| self.pool.run(once))) {
                Ok(result) => break result.map_err(|failure| failed(W::STAGE, failure)),
                Err(panic) if tries < W::RETRIES => {
                    tries += 1;
                    self.outputs.clear();
                    let _in_song = self.song.span.enter();
                    tracing::warn!(stage = %W::STAGE, "panicked and does its work again: {}", panic_message(&*panic));
                }
                Err(panic) => {
                    let (stage, kind, message) = (W::STAGE, FailureKind::Panic, panic_message(&*panic));
                    break Err(StageError { stage, kind, message, source: None });
                }
            }
        };
        self.song.meter.stage(W::STAGE).worked(since.elapsed());
        if result.is_err() {
            self.song.stop.set();
        }
        result
    }
}

/// Ends after `timeout`; never without one.
async fn elapsed(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_owned()
}
