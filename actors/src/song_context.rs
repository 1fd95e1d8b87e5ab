//! What do the stages of one song share? Counters, the word to stop, and faults planted by tests.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use heartstream_messages::{
    Progress, SpeakerProgress, Stage, StageReport,
    units::{Frames, SampleIndex, Seconds},
};

/// What the stages of one song share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SongContext {
    /// Its counters.
    pub meter: Arc<SongMeter>,
    /// The word to stop.
    pub interrupt: Interrupt,
    /// The word to pause.
    pub pause: Pause,
    /// Faults planted by tests; none in a real song.
    pub faults: Faults,
}

impl SongContext {
    /// A song that begins now, with `sinks` sinks.
    pub fn new(sinks: usize, faults: Faults) -> Self {
        let meter = Arc::new(SongMeter::new(sinks));
        Self { meter, interrupt: Interrupt::default(), pause: Pause::default(), faults }
    }
}

/// Tells work under way to stop at its next point of rest: a flow step, a chunk of the vocoder.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Says so. Cannot be taken back.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it was said.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Tells a song to make no sound for a while. What it sounds like afterwards does not depend on it.
///
/// A speaker obeys by playing silence, and full queues then hold the song back; without a speaker the language model
/// obeys before its next frame.
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

    /// A speaker takes part in the song and will obey.
    pub fn leave_to_speaker(&self) {
        self.0.has_speaker.store(true, Ordering::Release);
    }

    /// Whether the language model writes no frame for now.
    pub fn holds_model(&self) -> bool {
        self.is_on() && !self.0.has_speaker.load(Ordering::Acquire)
    }
}

/// The counters of one song. Each is written by one stage and read by anybody.
#[derive(Debug)]
pub struct SongMeter {
    since: Instant,
    /// Frames that the language model has written.
    pub frames: AtomicU64,
    /// Whether the language model has written its last frame.
    pub all_written: AtomicBool,
    /// Segments decoded to latents.
    pub segments: AtomicU64,
    /// Samples of silence that a speaker had to play.
    pub underruns: AtomicU64,
    /// How often a speaker's own buffer ran dry.
    pub xruns: AtomicU64,
    /// For each sink, the place up to which it has the song.
    delivered: Vec<AtomicU64>,
    /// Nanoseconds from the request to the first sample, 0 before.
    first_audio: AtomicU64,
    /// What the speaker does; written by its stage, never by the audio callback.
    speaker: Mutex<Option<SpeakerProgress>>,
    stages: [StageMeter; Stage::ALL.len()],
}

/// The counters of one stage, all its workers together.
#[derive(Debug, Default)]
pub struct StageMeter {
    busy: AtomicU64,
    wait: AtomicU64,
    items: AtomicU64,
}

impl SongMeter {
    fn new(sinks: usize) -> Self {
        Self {
            since: Instant::now(),
            frames: AtomicU64::new(0),
            all_written: AtomicBool::new(false),
            segments: AtomicU64::new(0),
            underruns: AtomicU64::new(0),
            xruns: AtomicU64::new(0),
            delivered: (0..sinks).map(|_| AtomicU64::new(0)).collect(),
            first_audio: AtomicU64::new(0),
            speaker: Mutex::new(None),
            stages: Default::default(),
        }
    }

    /// The counters of `stage`.
    pub fn stage(&self, stage: Stage) -> &StageMeter {
        &self.stages[stage as usize]
    }

    /// Sink number `sink` begins to take audio. The first to do so ends the time to first audio.
    pub fn audio_arrives(&self) {
        let now = nanoseconds(self.since.elapsed()).max(1);
        let _ = self.first_audio.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sink number `sink` has the song up to `end`.
    pub fn delivered(&self, sink: usize, end: SampleIndex) {
        if let Some(place) = self.delivered.get(sink) {
            place.store(end.0, Ordering::Relaxed);
        }
    }

    /// Time since the request.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// The speaker does this now.
    pub fn speaker_does(&self, progress: SpeakerProgress) {
        *self.speaker.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// A snapshot; whether the song is paused is not known here.
    pub fn progress(&self) -> Progress {
        let first = self.first_audio.load(Ordering::Relaxed);
        let delivered = self.delivered.iter().map(|place| place.load(Ordering::Relaxed)).min().unwrap_or(0);
        Progress {
            elapsed: Seconds(self.since.elapsed().as_secs_f64()),
            frames_written: Frames(self.frames.load(Ordering::Relaxed)),
            segments_decoded: self.segments.load(Ordering::Relaxed),
            delivered: SampleIndex(delivered),
            first_audio: (first > 0).then_some(Seconds(first as f64 * 1e-9)),
            underrun_samples: self.underruns.load(Ordering::Relaxed),
            xruns: self.xruns.load(Ordering::Relaxed),
            speaker: *self.speaker.lock().unwrap_or_else(PoisonError::into_inner),
            paused: false,
        }
    }

    /// What each stage that took part has done.
    pub fn stage_reports(&self, took_part: impl Fn(Stage) -> bool) -> Vec<StageReport> {
        let report = |stage: Stage| {
            let StageMeter { busy, wait, items } = self.stage(stage);
            let seconds = |counter: &AtomicU64| Seconds(counter.load(Ordering::Relaxed) as f64 * 1e-9);
            StageReport { stage, busy: seconds(busy), wait: seconds(wait), items: items.load(Ordering::Relaxed) }
        };
        Stage::ALL.into_iter().filter(|stage| took_part(*stage)).map(report).collect()
    }
}

impl StageMeter {
    /// Adds time at work.
    pub fn worked(&self, time: Duration) {
        self.busy.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// Adds time spent waiting.
    pub fn waited(&self, time: Duration) {
        self.wait.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// Adds one item done.
    pub fn did_one(&self) {
        self.items.fetch_add(1, Ordering::Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Panics to be had, for tests of what a panic does to a song.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Fault>>>);

/// One planted panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The stage that panics.
    pub stage: Stage,
    /// While it works on its input number `item`, counted from 1.
    pub item: u64,
    /// So many times.
    pub times: u32,
}

impl Faults {
    /// Plants panics.
    pub fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(Arc::new(Mutex::new(faults.into_iter().collect())))
    }

    /// Panics if a fault was planted here.
    pub(crate) fn strike(&self, stage: Stage, item: u64) {
        let struck = {
            let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let fault = faults.iter_mut().find(|fault| fault.stage == stage && fault.item == item && fault.times > 0);
            fault.map(|fault| fault.times -= 1).is_some()
        };
        assert!(!struck, "planted in item {item} of the {stage}");
    }
}
