//! Flow worker: segments to latents, one of several workers on one queue.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use flume::{Receiver, Sender};
use heartstream_messages::{CodeSegment, LatentSegment, Stage};
use heartstream_models::{
    heartcodec::{Flow, FlowJob, HeartCodec, LATENTS_PER_FRAME},
    signal::{KeyedNoise, SHORTEST_FIRST_WINDOW},
};

use crate::{
    channel::{Inlet, Outlet},
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork, panic_message},
};

/// A segment to be decoded, and where its result and the end of its latents go.
pub struct FlowTask {
    /// The segment.
    pub segment: CodeSegment,
    /// Receives the latents that it shares with the segment before; `None` when it shares none.
    pub previous: Option<Receiver<Vec<f32>>>,
    /// The last played latents of the segment before; at least those that this one shares with it.
    pub known: Vec<f32>,
    /// To the worker of the next segment.
    pub hand_on: Sender<Vec<f32>>,
    /// The reserved place of the result.
    pub place: Sender<LatentSegment>,
}

/// Frames of the window that the speed is measured on: as many as the shortest window of a deadline, and its lead-in. A
/// frame of a longer window takes no more time.
const CALIBRATION_FRAMES: usize = 2 * SHORTEST_FIRST_WINDOW;

/// Makes the latents of one segment after another; a pure function of the segment, so one is retried once after a
/// panic.
pub struct FlowWorkerStage {
    codec: Arc<HeartCodec>,
    options: Flow,
    noise: KeyedNoise,
    /// Latents that the next segment may need.
    handed_on: usize,
    /// Whether this worker still has to measure its speed.
    calibrate: bool,
    /// Segments this worker has taken.
    taken: u64,
    song: SongContext,
}

impl FlowWorkerStage {
    /// A worker around the shared weights, which hands on the last `handed_on` frames that each segment plays. In a
    /// song with a deadline one worker should `calibrate`: measure its speed before the first segment comes.
    pub fn new(
        codec: Arc<HeartCodec>,
        options: Flow,
        noise: KeyedNoise,
        handed_on: usize,
        calibrate: bool,
        song: SongContext,
    ) -> Self {
        Self { codec, options, noise, handed_on: handed_on * LATENTS_PER_FRAME, calibrate, taken: 0, song }
    }
}

impl FlowWorkerStage {
    /// Waits while a later stage computes on the same cores; true when the song was ended.
    fn gives_way_or_stops(&self) -> bool {
        self.song.engine.turns.give_way(Stage::FlowWorker, &self.song.stop);
        self.song.stop.is_set()
    }

    /// Waits where a test has planted a delay, for other workers to be faster.
    fn wait_if_held(&self) {
        let Some(segments) = self.song.faults.hold(self.taken) else { return };
        self.song.engine.turns.wait_outside(Stage::FlowWorker, || {
            while self.song.meter.segments.load(Ordering::Relaxed) < segments && !self.song.stop.is_set() {
                std::thread::yield_now();
            }
        });
    }
}

/// A result and its place.
pub struct Placed {
    latents: LatentSegment,
    place: Sender<LatentSegment>,
}

impl StageWork for FlowWorkerStage {
    const STAGE: Stage = Stage::FlowWorker;
    type Input = FlowTask;
    type Output = Placed;

    fn step(&mut self, event: Event<FlowTask>, outputs: &mut VecDeque<Placed>) -> Result<Next, Failure> {
        match event {
            Event::Begin if self.calibrate => self.measure()?,
            Event::Input(task) => {
                self.taken += 1;
                self.wait_if_held();
                outputs.extend(self.solve_with_retry(&task)?);
            }
            _ => (),
        }
        Ok(Next::Input)
    }
}

impl FlowWorkerStage {
    fn measure(&self) -> Result<(), Failure> {
        let flow = &self.codec.flow;
        let codes = vec![0; CALIBRATION_FRAMES * flow.quantizer.codebooks()];
        let noise = vec![0.0; CALIBRATION_FRAMES * LATENTS_PER_FRAME * flow.channels()];
        let options = Flow { steps: 1, ..self.options };
        let one_step = |frames: usize| {
            let codes = &codes[..frames * flow.quantizer.codebooks()];
            let noise = &noise[..frames * LATENTS_PER_FRAME * flow.channels()];
            flow.solve(FlowJob { codes, noise, in_context: &[], options }, &|| self.gives_way_or_stops())
        };
        // The first step pays for memory that was never touched. One frame touches all of the weights.
        let touched = one_step(1)?;
        let since = Instant::now();
        let measured = one_step(CALIBRATION_FRAMES)?;
        // A song that was ended meanwhile has measured nothing.
        if touched.and(measured).is_some() {
            let seconds = since.elapsed().as_secs_f64();
            self.song.engine.rates.flow_step_measured(self.options, seconds / CALIBRATION_FRAMES as f64);
        }
        Ok(())
    }

    /// Makes the latents of a segment, and once more after a panic: they are a pure function of it.
    fn solve_with_retry(&self, task: &FlowTask) -> Result<Option<Placed>, Failure> {
        let attempt = || {
            self.song.faults.strike(Self::STAGE, self.taken);
            self.solve(task)
        };
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
            tracing::warn!(stage = %Self::STAGE, "panicked and does its work again: {}", panic_message(&*panic));
            attempt()
        })
    }

    /// `None` when the song was ended.
    fn solve(&self, task: &FlowTask) -> Result<Option<Placed>, Failure> {
        let FlowTask { segment, known, hand_on, place, .. } = task;
        let flow = &self.codec.flow;
        let shared = segment.known.0 as usize * LATENTS_PER_FRAME * flow.channels();
        let in_context = &known[known.len().saturating_sub(shared)..];
        let length = segment.codes.len() / flow.quantizer.codebooks() * LATENTS_PER_FRAME;
        let mut noise = vec![0f32; length * flow.channels()];
        // Keyed by the place in the song: windows that overlap start from the same noise where they do.
        let lead_in = segment.lead_in.0 * LATENTS_PER_FRAME as u64;
        let first = segment.first_frame.first_latent().0.wrapping_sub(lead_in);
        self.noise.fill_latents(first, flow.channels(), &mut noise);
        let job = FlowJob { codes: &segment.codes, noise: &noise, in_context, options: self.options };
        let Some(latents) = flow.solve(job, &|| self.gives_way_or_stops())? else {
            return Ok(None); // the song was ended: its place is given up
        };
        // The next segment computes the look-ahead again, so that is not handed on.
        let played = latents.len() - segment.look_ahead.0 as usize * LATENTS_PER_FRAME * flow.channels();
        let end = latents[played.saturating_sub(self.handed_on * flow.channels())..played].to_vec();
        // The receiver is gone after the last segment; and a retried segment may have sent already.
        let _ = hand_on.try_send(end);
        self.song.meter.latents_are_there();
        self.song.meter.segments.fetch_add(1, Ordering::Relaxed);
        self.song.meter.publish();
        self.song.meter.stage(Self::STAGE).did_one();
        let CodeSegment { index, first_frame, lead_in, known, look_ahead, fade_out, song_end, .. } = *segment;
        let latents = LatentSegment { index, first_frame, latents, lead_in, known, look_ahead, fade_out, song_end };
        Ok(Some(Placed { latents, place: place.clone() }))
    }
}

/// Takes tasks from the queue of all workers, and waits for what each needs of the segment before.
///
/// The worker of that segment took it from the queue earlier, so this wait always ends.
pub struct FlowInlet {
    tasks: Receiver<FlowTask>,
    /// A task that waits; kept here so that waiting is cancellation-safe.
    waiting: Option<FlowTask>,
}

impl FlowInlet {
    /// One of several inlets of the queue `tasks`.
    pub fn new(tasks: Receiver<FlowTask>) -> Self {
        Self { tasks, waiting: None }
    }
}

impl Inlet for FlowInlet {
    type Item = FlowTask;

    async fn take(&mut self) -> Option<FlowTask> {
        let task = match &mut self.waiting {
            Some(task) => task,
            none => none.insert(self.tasks.recv_async().await.ok()?),
        };
        if let Some(previous) = &task.previous {
            // The segment before was given up: so is the song.
            task.known = previous.recv_async().await.ok()?;
            task.previous = None;
        }
        self.waiting.take()
    }
}

/// Puts each result into its place, which always has room.
pub struct ToPlaces;

impl Outlet for ToPlaces {
    type Item = Placed;

    async fn give(&mut self, Placed { latents, place }: Placed) -> bool {
        place.send_async(latents).await.is_ok()
    }
}
