//! A song in the lockstep: its writer, the frames on their way out, and whether it can take part in the next pass.

use std::{
    collections::VecDeque,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use flume::Sender;
use heartstream_messages::{CodeFrame, PromptTokens, Stage};
use heartstream_models::{
    heartmula::HeartMula,
    speculation::{Frame, SpeculatedSong},
};

use super::handle::{Joining, WritingEnd};
use crate::{
    channel::{Outlet, ToAll},
    prompt_cores::CODEC,
    song_context::{EngineContext, SongContext},
    song_writer::SongWriter,
    stage::{Failure, panic_message},
};

/// Number of the first frame among the stage's inputs; the prompt is number 1.
const FIRST_FRAME: u64 = 2;

/// Sends frames, and gives back where they went; `None` when nothing takes them any more.
type Giving = Pin<Box<dyn Future<Output = Option<ToAll<CodeFrame>>> + Send>>;

/// Where the frames of a song go.
enum Takers {
    /// They have room, or will be asked whether they have.
    Free(ToAll<CodeFrame>),
    /// They are waited for since then (backpressure).
    Waited(Giving, Instant),
    Gone,
}

/// What came of a song's own work.
pub(super) type Work<T> = Result<T, Ended>;

/// Why a song's own work came to no end of its own.
pub(super) enum Ended {
    Failed(Failure),
    Panicked(String),
}

/// A song.
pub(super) struct LockstepSong {
    writer: SongWriter,
    /// There until it was read.
    prompt: Option<PromptTokens>,
    takers: Takers,
    pub song: SongContext,
    end: Sender<WritingEnd>,
    /// Dropped with the member, after all else of it.
    _alive: Sender<Infallible>,
}

impl LockstepSong {
    pub fn new(joining: Joining) -> Self {
        let Joining { writer, prompt, takers, song, end, alive } = joining;
        Self { writer, prompt: Some(prompt), takers: Takers::Free(takers), song, end, _alive: alive }
    }

    /// Prefill; `between` is called before each layer. Where no `others` are written meanwhile it has all cores that no
    /// codec computes on.
    pub fn begin(&mut self, model: &HeartMula, others: bool, between: &(dyn Fn() + Sync)) -> Work<()> {
        let Some(prompt) = self.prompt.take() else { return Ok(()) };
        let (since, song) = (Instant::now(), self.song.clone());
        let _at_work = song.meter.working.begin();
        let EngineContext { turns, prompt_cores, .. } = &song.engine;
        let (writer, stop) = (&mut self.writer, &song.stop);
        let read = |on_all_cores: bool| {
            writer.read(model, prompt, &|| {
                between();
                match on_all_cores {
                    true => turns.give_way_to(&CODEC, stop),
                    false => turns.give_way(Stage::LanguageModel, stop),
                }
                stop.is_set()
            })
        };
        let read = caught(|| if others { read(false) } else { prompt_cores.run(turns, read) });
        song.meter.stage(Stage::LanguageModel).worked(since.elapsed());
        read
    }

    /// Whether it can take part in the next pass.
    pub fn is_ready(&self) -> bool {
        self.goes_on() && !self.is_paused() && !self.gives_way() && matches!(self.takers, Takers::Free(_))
    }

    /// Whether it is paused, and nothing tells when it no longer is.
    pub fn is_paused(&self) -> bool {
        self.song.pause.holds_model()
    }

    /// Whether a later stage of it is at work on the cores of the lockstep.
    pub fn gives_way(&self) -> bool {
        self.song.engine.turns.is_behind(Stage::LanguageModel)
    }

    fn goes_on(&self) -> bool {
        !self.song.stop.is_set() && self.writer.has_more()
    }

    /// Whether nothing more will come of it: it was stopped, or all its frames are taken, or nothing takes them.
    pub fn is_over(&self) -> bool {
        match self.takers {
            Takers::Gone => true,
            _ if self.song.stop.is_set() => true,
            Takers::Free(_) => !self.writer.has_more(),
            Takers::Waited(..) => false,
        }
    }

    /// Writes a frame that needs no pass, if there is one.
    pub fn write_alone(&mut self, model: &HeartMula) -> Work<bool> {
        let (mut outputs, song) = (VecDeque::new(), self.song.clone());
        let _in_song = song.span.enter();
        let writer = &mut self.writer;
        let wrote = caught(|| writer.write_alone(model, &mut outputs));
        self.give(outputs);
        wrote
    }

    /// Strikes the fault that a test planted for the next frame.
    pub fn strike(&self) -> Work<()> {
        caught(|| {
            self.song.faults.strike(Stage::LanguageModel, self.writer.next_frame() + FIRST_FRAME);
            Ok(())
        })
    }

    /// The song as a pass needs it; `None` when it is over.
    pub fn in_pass(&mut self) -> Option<SpeculatedSong<'_>> {
        self.writer.in_pass()
    }

    /// Takes the frames that a pass wrote.
    pub fn wrote(&mut self, model: &HeartMula, frames: Vec<Frame>) -> Work<()> {
        let mut outputs = VecDeque::with_capacity(frames.len());
        let song = self.song.clone();
        let _in_song = song.span.enter();
        let writer = &mut self.writer;
        caught(|| {
            writer.wrote(model, frames, &mut outputs);
            Ok(())
        })?;
        self.give(outputs);
        Ok(())
    }

    /// Counts time at work.
    pub fn worked(&self, time: Duration) {
        self.song.meter.stage(Stage::LanguageModel).worked(time);
    }

    /// Counts time in which it could not go on.
    pub fn waited(&self, time: Duration) {
        if !matches!(self.takers, Takers::Waited(..)) {
            self.song.meter.stage(Stage::LanguageModel).waited(time); // `poll_taken` counts the wait for takers
        }
    }

    /// Sends frames as far as there is room; the rest waits.
    fn give(&mut self, mut frames: VecDeque<CodeFrame>) {
        if frames.is_empty() {
            return;
        }
        if let Takers::Free(mut takers) = std::mem::replace(&mut self.takers, Takers::Gone) {
            let giving: Giving = Box::pin(async move {
                while let Some(frame) = frames.pop_front() {
                    if !takers.give(frame).await {
                        return None;
                    }
                }
                Some(takers)
            });
            self.takers = Takers::Waited(giving, Instant::now());
            let _ = self.poll_taken(&mut Context::from_waker(std::task::Waker::noop()));
        }
    }

    /// Whether the takers have taken all frames so far, or are gone.
    pub fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Takers::Waited(giving, since) = &mut self.takers else { return Poll::Ready(()) };
        let Poll::Ready(takers) = giving.as_mut().poll(context) else { return Poll::Pending };
        self.song.meter.stage(Stage::LanguageModel).waited(since.elapsed());
        self.takers = takers.map_or(Takers::Gone, Takers::Free);
        Poll::Ready(())
    }

    /// Whether its takers are waited for.
    pub fn waits_for_takers(&self) -> bool {
        matches!(self.takers, Takers::Waited(..))
    }

    /// Lets go of the song. Of one that did not come to its end the stop flag is set first: the stages behind it see
    /// their input end, and must not take that for the end of the song.
    pub fn finish(self, end: WritingEnd) {
        let Self { mut writer, takers, song, end: told, _alive, .. } = self;
        if !matches!(end, WritingEnd::Over) {
            song.stop.set();
        }
        writer.end();
        drop((writer, takers));
        let _ = told.try_send(end); // it has a place; the stage may be gone
    }
}

/// Does a song's own work; a panic in it is the song's.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Failure>) -> Work<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(Ended::Failed),
        Err(panic) => Err(Ended::Panicked(panic_message(&*panic))),
    }
}

impl From<Ended> for WritingEnd {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Failed(failure) => Self::Failed(failure),
            Ended::Panicked(message) => Self::Panicked(message),
        }
    }
}
