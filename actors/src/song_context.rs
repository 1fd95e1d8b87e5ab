//! Shared state of one song's stages: counters, the stop flag, and faults planted by tests.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use heartstream_messages::{Flow, Outcome, SongReport};
use heartstream_models::signal::Rates;

mod engine_context;
mod facts;
mod faults;
mod meter;

pub use engine_context::{CodecRates, EngineContext};
pub use facts::{FrameRate, SongClock, SongFacts};
pub use faults::{Faults, Hold, PlantedPanic};
pub use meter::{SongMeter, StageMeter};

/// The next song's id.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Shared state of one song's stages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SongContext {
    /// Time since its request.
    pub clock: SongClock,
    /// Its counters.
    pub meter: Arc<SongMeter>,
    /// What one stage finds out and another one decides by.
    pub facts: Arc<SongFacts>,
    /// Set when the song is to stop.
    pub stop: StopFlag,
    /// Set while the song is paused.
    pub pause: Pause,
    /// Faults planted by tests; none in a real song.
    pub faults: Faults,
    /// Errors that do not end the song.
    pub mishaps: Mishaps,
    /// State that it shares with the engine's other songs.
    pub engine: EngineContext,
    /// Tells the songs of this process apart.
    pub id: u64,
    /// What is logged of the song is logged in it.
    pub span: tracing::Span,
}

impl SongContext {
    /// A song of an engine of its own that begins now, with `sinks` sinks.
    pub fn new(sinks: usize, faults: Faults) -> Self {
        Self::of(EngineContext::default(), sinks, faults)
    }

    /// A song of `engine` that begins now, with `sinks` sinks.
    pub fn of(engine: EngineContext, sinks: usize, faults: Faults) -> Self {
        let engine = EngineContext { turns: engine.turns.of_a_song(), ..engine };
        let pause = Pause::default();
        let facts = Arc::<SongFacts>::default();
        let clock = SongClock::start();
        let meter = Arc::new(SongMeter::new(sinks, clock, pause.clone(), Arc::clone(&facts)));
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let span = tracing::info_span!("song", id, seed = tracing::field::Empty);
        let (stop, mishaps) = (StopFlag::default(), Mishaps::default());
        Self { clock, meter, facts, stop, pause, faults, mishaps, engine, id, span }
    }

    /// The report of the song as it is now: what its meter counted, and its facts. The stages are not in it.
    pub fn report(&self, outcome: Outcome, notes: Vec<String>) -> SongReport {
        let progress = self.meter.progress();
        let mut report = SongReport::new(outcome);
        report.frames = progress.frames_written;
        report.redraws = self.meter.redraws.load(Ordering::Relaxed);
        report.audio = progress.delivered.seconds();
        (report.wall, report.working) = (progress.elapsed, progress.working);
        report.first_audio = progress.first_audio;
        report.milestones = self.meter.milestones();
        report.first_window = self.facts.first_window();
        (report.underrun_samples, report.xruns) = (progress.underrun_samples, progress.xruns);
        report.buffer_depth = self.meter.buffer_depth();
        report.notes = notes;
        report.speculation = self.meter.speculation_report();
        report
    }

    /// Measured rates of the stages, flow matching's with the options `flow`; `None` before all have been measured.
    pub fn rates(&self, flow: Flow) -> Option<Rates> {
        let (FrameRate { first, each }, rates) = (self.facts.frame_rate()?, &self.engine.rates);
        Some(Rates { prompt: first.0, frame: each.0, flow: rates.flow(flow)?, sound: rates.sound()? })
    }
}

/// Errors that do not end the song, in sentences: each is logged at once, and is in the report.
#[derive(Debug, Clone, Default)]
pub struct Mishaps(Arc<Mutex<Vec<String>>>);

impl Mishaps {
    /// Notes a sentence, once.
    pub fn note(&self, sentence: String) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&sentence) {
            tracing::warn!("{sentence}");
            notes.push(sentence);
        }
    }

    /// All sentences.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Stop flag. Work under way checks it: the prefill before each layer, flow matching before each block (on a GPU: step),
/// sinks while they wait.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Sets the flag, for good.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Pauses a song. The samples do not depend on it.
///
/// A paused speaker plays silence, and backpressure then stops the other stages. Without a speaker the language model
/// waits before its next frame.
#[derive(Debug, Clone, Default)]
pub struct Pause(Arc<PauseFlags>);

#[derive(Debug, Default)]
struct PauseFlags {
    on: AtomicBool,
    has_speaker: AtomicBool,
}

impl Pause {
    /// Pauses, or goes on.
    pub fn set(&self, on: bool) {
        self.0.on.store(on, Ordering::Release);
    }

    /// Whether the song is paused. One atomic load, so the audio callback may ask.
    pub fn is_on(&self) -> bool {
        self.0.on.load(Ordering::Acquire)
    }

    /// The song has a speaker, which does the pausing.
    pub fn leave_to_speaker(&self) {
        self.0.has_speaker.store(true, Ordering::Release);
    }

    /// Whether the language model is to wait.
    pub fn holds_model(&self) -> bool {
        self.is_on() && !self.0.has_speaker.load(Ordering::Acquire)
    }
}
