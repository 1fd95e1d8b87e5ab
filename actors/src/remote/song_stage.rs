//! Remote song: a song that another machine makes, as the frames and blocks that come from there.
//!
//! The stage stands in the place of all stages before the sinks. It asks for part after part; a sink that takes nothing
//! keeps it from asking, and so holds back the other machine. A machine that is late, gone or wrong ends the song with a
//! [`LostMachine`]: what is there of its codes is enough to go on elsewhere, to the same song.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use flume::RecvTimeoutError;
use heartstream_messages::{
    CodeFrame, PcmBlock, SongAnswer, SongCall, SongOrder, SongRefusal, Stage,
    units::{FrameIndex, Frames},
};
use tokio::runtime::Handle;

use super::{
    song_part::{SongShape, SongSoFar},
    song_workers::SongLease,
    workers::Fault,
};
use crate::{
    channel::{Outlet, ToAll},
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
};

/// How often a stage that waits for an answer looks whether its song was ended.
const REST: Duration = Duration::from_millis(20);
/// Time of an answer: a worker says within a second what there is, if only that there is nothing.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// A worker whose places are all taken is asked again for so long, so often: a song that was ended there takes its time
/// to end.
const FULL_TIME: Duration = Duration::from_secs(5);
const FULL_REST: Duration = Duration::from_millis(100);
/// A worker's time is that of its measured rate, and this often as much, …
const TIME_FACTOR: f64 = 4.0;
/// … and this beside, …
const TIME_FLOOR: f64 = 15.0;
/// … for the frames that are there, and those of a window, of which nothing is there before all of it is.
const FRAMES_AHEAD: f64 = 372.0;

/// A machine that does not go on with a song.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the worker {name} makes no more of the song, which goes on elsewhere: {fault}")]
pub struct LostMachine {
    /// The machine.
    pub name: Arc<str>,
    /// Why.
    #[source]
    pub fault: Fault,
}

/// What the stage makes.
#[derive(Debug)]
pub enum Made {
    /// The next frame.
    Frame(CodeFrame),
    /// The next block.
    Block(Arc<PcmBlock>),
}

/// Takes the parts of a song from the machine that makes it.
pub struct RemoteSongStage {
    lease: SongLease,
    /// There until the song has begun.
    order: Option<(SongOrder, SongShape)>,
    /// There while the machine makes the song.
    so_far: Option<SongSoFar>,
    budget: TimeBudget,
    /// Seconds of all answers, while the song was not paused, and the frames that were there before.
    asked: (f64, u64),
    runtime: Handle,
    song: SongContext,
}

impl RemoteSongStage {
    /// A stage that has `lease` make the song of `order`, whose prompt takes `positions` of the model. Answers are waited
    /// for in `runtime`.
    pub fn new(
        lease: SongLease,
        order: SongOrder,
        shape: SongShape,
        positions: usize,
        runtime: Handle,
        song: SongContext,
    ) -> Self {
        let frames = order.codes.len() / shape.codebooks.max(1);
        // A position of the prompt is read sooner than a frame is written, and so is a frame that is written already; but
        // its sound is made again.
        let budget = TimeBudget::new(lease.frame_seconds(), (positions + frames) as f64);
        Self { lease, order: Some((order, shape)), so_far: None, budget, asked: (0.0, frames as u64), runtime, song }
    }

    /// Asks the machine and waits for its answer; `None` when the song was ended.
    fn ask(&self, call: SongCall) -> Option<Result<SongAnswer, Fault>> {
        let (asking, (give, answer)) = (self.lease.ask(call, ANSWER_TIME), flume::bounded(1));
        self.runtime.spawn(async move {
            let _ = give.send(asking.await); // the song may have been ended
        });
        loop {
            match answer.recv_timeout(REST) {
                Err(RecvTimeoutError::Timeout) if self.song.stop.is_set() => return None,
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Err(Fault::Gone("the connections of this machine have ended".to_owned())));
                }
                Ok(answer) => return Some(answer),
            }
        }
    }

    /// Has the machine begin, and hands out the frames that are written already.
    fn begin(&mut self, outputs: &mut VecDeque<Made>) -> Result<Next, Fault> {
        let Some((order, shape)) = self.order.take() else { return Ok(Next::Nothing) };
        let frames = (0..).map(FrameIndex).zip(order.codes.chunks_exact(shape.codebooks.max(1)));
        outputs.extend(frames.map(|(index, codes)| Made::Frame(CodeFrame { index, codes: codes.to_vec() })));
        let (written, played) = (outputs.len() as u64, order.played);
        let (call, since) = (SongCall::Begin(Box::new(order)), Instant::now());
        loop {
            match self.ask(call.clone()) {
                None => return Ok(Next::Nothing),
                Some(Ok(SongAnswer::Begun(number))) => {
                    self.so_far = Some(SongSoFar::new(shape, number, written, played));
                    self.count_frames(written);
                    return Ok(Next::Continue);
                }
                Some(Err(Fault::SongRefused(SongRefusal::Full))) if since.elapsed() < FULL_TIME => sleep(FULL_REST),
                Some(answer) => return Err(answer.map_or_else(|fault| fault, |_| unasked())),
            }
        }
    }

    /// The next part.
    fn next(&mut self, outputs: &mut VecDeque<Made>) -> Result<Next, Fault> {
        let Some(song) = self.so_far.as_ref().map(SongSoFar::song) else { return Ok(Next::Nothing) };
        let (paused, since) = (self.song.pause.is_on(), Instant::now());
        let Some(answer) = self.ask(SongCall::Next { song, paused }) else { return Ok(Next::Nothing) };
        let SongAnswer::Part(part) = answer? else { return Err(unasked()) };
        let Some(so_far) = &mut self.so_far else { return Ok(Next::Nothing) };
        let (is_last, before) = (part.is_last, so_far.progress());
        let (frames, blocks) = so_far.take(part)?;
        let (written, progress) = (so_far.frames(), so_far.progress() - before);
        outputs.extend(frames.into_iter().map(Made::Frame));
        outputs.extend(blocks.into_iter().map(Made::Block));
        self.count_frames(written);
        if !paused {
            let seconds = since.elapsed().as_secs_f64();
            self.asked.0 += seconds;
            if !self.budget.spend(seconds, progress) && !is_last {
                return Err(Fault::Behind);
            }
        }
        if !is_last {
            return Ok(Next::Continue);
        }
        self.so_far = None;
        if let (seconds, 0) = self.asked {
            self.lease.measured(seconds / written.max(1) as f64);
        }
        self.song.facts.length_is(Frames(written));
        Ok(Next::Nothing)
    }

    fn count_frames(&self, frames: u64) {
        let meter = &self.song.meter;
        if frames > 0 {
            meter.first_frame_is_there();
        }
        meter.frames.fetch_max(frames, Ordering::Relaxed);
        meter.publish();
    }
}

/// A worker that answers something else.
fn unasked() -> Fault {
    Fault::Gone("it answers what it was not asked".to_owned())
}

impl StageWork for RemoteSongStage {
    const STAGE: Stage = Stage::RemoteSong;
    type Input = Infallible;
    type Output = Made;

    fn step(&mut self, event: Event<Infallible>, outputs: &mut VecDeque<Made>) -> Result<Next, Failure> {
        let next = match event {
            Event::Begin => self.begin(outputs),
            Event::Continue => self.next(outputs),
            Event::End | Event::Input(_) => Ok(Next::Nothing),
        };
        self.song.meter.stage(Self::STAGE).did_one();
        next.map_err(|fault| {
            self.lease.fault(fault.clone());
            LostMachine { name: self.lease.name(), fault }.into()
        })
    }
}

impl Drop for RemoteSongStage {
    /// A song that ends here before its end ends there, too.
    fn drop(&mut self) {
        if let Some(so_far) = self.so_far.take() {
            self.runtime.spawn(self.lease.ask(SongCall::End { song: so_far.song() }, ANSWER_TIME));
        }
    }
}

/// Time that a worker may take before it is left out: spent while it is waited for, and earned by what comes.
#[derive(Debug, Clone, Copy)]
struct TimeBudget {
    seconds: f64,
    most: f64,
    /// Seconds for each frame of progress.
    earned: f64,
}

impl TimeBudget {
    /// For a worker that takes `rate` seconds for a frame, and begins with `before` frames that earn nothing.
    fn new(rate: f64, before: f64) -> Self {
        let seconds = TIME_FLOOR + TIME_FACTOR * rate.max(0.0) * (FRAMES_AHEAD + before);
        // A frame is two steps of progress: its codes, and its sound.
        Self { seconds, most: seconds, earned: TIME_FACTOR * rate.max(0.0) / 2.0 }
    }

    /// Spends `seconds`, in which there was `progress`; false when nothing is left.
    fn spend(&mut self, seconds: f64, progress: f64) -> bool {
        self.seconds = (self.seconds - seconds + self.earned * progress).min(self.most);
        self.seconds > 0.0
    }
}

/// Frames to those who keep them, blocks to the sinks.
pub struct ToCodesAndSinks {
    /// Who keeps codes.
    pub codes: ToAll<CodeFrame>,
    /// The sinks of the sound.
    pub sinks: ToAll<Arc<PcmBlock>>,
}

impl Outlet for ToCodesAndSinks {
    type Item = Made;

    async fn give(&mut self, made: Made) -> bool {
        match made {
            Made::Frame(frame) => self.codes.give(frame).await,
            Made::Block(block) => self.sinks.give(block).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_time_for_a_window_without_news_and_earns_no_more_than_that() {
        let mut budget = TimeBudget::new(0.1, 28.0); // 15 + 4 * 0.1 * 400 seconds
        assert!(budget.spend(174.0, 0.0) && !budget.spend(1.1, 0.0));
        let mut budget = TimeBudget::new(0.1, 28.0);
        assert!(budget.spend(1.0, 1e6));
        assert!(!budget.spend(176.0, 0.0), "what was fast before is no credit for ever");
    }

    #[test]
    fn a_worker_that_trickles_is_left_out_and_one_at_half_its_rate_is_not() {
        let mut slow = TimeBudget::new(0.1, 0.0);
        assert!((0..10_000).all(|_| slow.spend(0.2, 2.0)), "a frame with its sound in 0.2 s");
        let mut trickling = TimeBudget::new(0.1, 0.0);
        assert!((0..10_000).any(|_| !trickling.spend(0.5, 2.0)), "a frame with its sound in 0.5 s");
    }

    #[test]
    fn rates_that_are_no_numbers_leave_the_floor() {
        assert_eq!(TimeBudget::new(f64::NAN, 0.0).seconds, TIME_FLOOR);
        assert_eq!(TimeBudget::new(-1.0, 0.0).seconds, TIME_FLOOR);
    }
}
