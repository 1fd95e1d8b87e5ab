//! Flow worker: segments to latents, one of several workers on one queue.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use heartstream_messages::Stage;
use heartstream_models::{
    heartcodec::{Flow, FlowJob, HeartCodec, LATENTS_PER_FRAME},
    signal::{KeyedNoise, SHORTEST_FIRST_WINDOW},
};

use crate::{
    flow_task::{DecodedWindow, FlowTask, solve_window},
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork, panic_message},
};

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

impl StageWork for FlowWorkerStage {
    const STAGE: Stage = Stage::FlowWorker;
    type Input = FlowTask;
    type Output = DecodedWindow;

    fn step(&mut self, event: Event<FlowTask>, outputs: &mut VecDeque<DecodedWindow>) -> Result<Next, Failure> {
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
    fn solve_with_retry(&self, task: &FlowTask) -> Result<Option<DecodedWindow>, Failure> {
        let attempt = || {
            self.song.faults.strike(Self::STAGE, self.taken);
            self.solve(task)
        };
        catch_unwind(AssertUnwindSafe(attempt)).unwrap_or_else(|panic| {
            tracing::warn!(stage = %Self::STAGE, "panicked and does its work again: {}", panic_message(&*panic));
            attempt()
        })
    }

    /// `None` when the song was ended: the place of the segment is given up.
    fn solve(&self, task: &FlowTask) -> Result<Option<DecodedWindow>, Failure> {
        let (flow, channels) = (&self.codec.flow, self.codec.flow.channels());
        let (in_context, noise) = (task.in_context(channels), (self.noise, task.first_latent()));
        let stop = || self.gives_way_or_stops();
        let latents = solve_window(flow, &task.segment.codes, noise, in_context, self.options, &stop)?;
        let sizes = (channels, self.handed_on * channels);
        Ok(latents.map(|latents| task.complete(latents, sizes, (&self.song, Self::STAGE))))
    }
}
