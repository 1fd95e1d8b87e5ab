//! Counters of a song, and the progress and report that follow from them.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use heartstream_messages::{
    Milestones, Progress, SpeakerProgress, SpeakerState, SpeculationReport, Stage, StageReport,
    units::{Frames, SampleIndex, Seconds},
};
use tokio::sync::watch;

use super::{Pause, SongClock, SongFacts};
use crate::working_time::WorkingTime;

/// The counters of one song. Each is written by one stage. No stage decides by one, but for planted delays.
#[derive(Debug)]
pub struct SongMeter {
    clock: SongClock,
    /// Frames that the language model has written.
    pub frames: AtomicU64,
    /// Rejected draws of the first frame, each of which would have ended the song.
    pub redraws: AtomicU32,
    /// Segments decoded to latents.
    pub segments: AtomicU64,
    /// Samples of silence that a speaker had to play.
    pub underruns: AtomicU64,
    milestones: Mutex<Milestones>,
    /// How often a speaker's own buffer ran dry.
    pub xruns: AtomicU64,
    /// For each sink, the place up to which it has the song.
    delivered: Vec<AtomicU64>,
    /// Nanoseconds from the request to the first sample, 0 before.
    first_audio: AtomicU64,
    /// What the speaker does; written by its stage, never by the audio callback.
    speaker: Mutex<Option<SpeakerProgress>>,
    /// Buffer depth while the speaker played: the sum in seconds, and the count of observations.
    buffered: Mutex<(f64, u32)>,
    /// The report of drafting; written by the language model's stage.
    speculation: Mutex<Option<SpeculationReport>>,
    stages: [StageMeter; Stage::ALL.len()],
    /// Runs while the song is being made.
    pub working: WorkingTime,
    ended: AtomicBool,
    pause: Pause,
    facts: Arc<SongFacts>,
    watched: watch::Sender<Progress>,
}

/// The counters of one stage, all its workers together.
#[derive(Debug, Default)]
pub struct StageMeter {
    busy: AtomicU64,
    wait: AtomicU64,
    items: AtomicU64,
}

impl SongMeter {
    pub(super) fn new(sinks: usize, clock: SongClock, pause: Pause, facts: Arc<SongFacts>) -> Self {
        Self {
            clock,
            frames: AtomicU64::new(0),
            redraws: AtomicU32::new(0),
            segments: AtomicU64::new(0),
            underruns: AtomicU64::new(0),
            milestones: Mutex::default(),
            xruns: AtomicU64::new(0),
            delivered: (0..sinks).map(|_| AtomicU64::new(0)).collect(),
            first_audio: AtomicU64::new(0),
            speaker: Mutex::new(None),
            buffered: Mutex::default(),
            speculation: Mutex::new(None),
            stages: Default::default(),
            working: WorkingTime::default(),
            ended: AtomicBool::new(false),
            pause,
            facts,
            watched: watch::Sender::new(Progress::default()),
        }
    }

    /// The counters of `stage`.
    pub fn stage(&self, stage: Stage) -> &StageMeter {
        &self.stages[stage as usize]
    }

    /// The first frame is drawn.
    pub fn first_frame_is_there(&self) {
        self.reach(|milestones| &mut milestones.first_frame);
    }

    /// The first window is cut.
    pub fn first_window_is_there(&self) {
        self.reach(|milestones| &mut milestones.first_window);
    }

    /// Latents of a window are there.
    pub fn latents_are_there(&self) {
        self.reach(|milestones| &mut milestones.first_latents);
    }

    /// Sets a milestone, the first time that it is reached.
    fn reach(&self, milestone: impl Fn(&mut Milestones) -> &mut Option<Seconds>) {
        let mut milestones = self.milestones.lock().unwrap_or_else(PoisonError::into_inner);
        milestone(&mut milestones).get_or_insert(Seconds(self.clock.seconds()));
    }

    /// The milestones so far.
    pub fn milestones(&self) -> Milestones {
        *self.milestones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records the time to first audio, at the first call.
    pub fn audio_arrives(&self) {
        let now = nanoseconds(self.clock.elapsed()).max(1);
        let _ = self.first_audio.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Sink number `sink` has the song up to `end`.
    pub fn delivered(&self, sink: usize, end: SampleIndex) {
        if let Some(place) = self.delivered.get(sink) {
            place.store(end.0, Ordering::Relaxed);
        }
        self.publish();
    }

    /// Publishes a snapshot to the watchers.
    pub fn publish(&self) {
        if self.watched.receiver_count() > 0 {
            // Taken under the watch's lock, so that no older snapshot follows a newer one.
            self.watched.send_modify(|progress| *progress = self.progress());
        }
    }

    /// The song is over.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.publish();
    }

    /// Watches the progress: changes with each frame, segment and block.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        let receiver = self.watched.subscribe();
        self.publish();
        receiver
    }

    /// The speaker does this now.
    pub fn speaker_does(&self, progress: SpeakerProgress) {
        if progress.state == SpeakerState::Plays {
            let mut buffered = self.buffered.lock().unwrap_or_else(PoisonError::into_inner);
            *buffered = (buffered.0 + progress.buffered.0, buffered.1.saturating_add(1));
        }
        *self.speaker.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// A snapshot.
    pub fn progress(&self) -> Progress {
        let first = self.first_audio.load(Ordering::Relaxed);
        let delivered = self.delivered.iter().map(|place| place.load(Ordering::Relaxed)).min().unwrap_or(0);
        let mut progress = Progress::default();
        progress.elapsed = Seconds(self.clock.seconds());
        progress.working = Seconds(self.working.so_far().as_secs_f64());
        // Read before the frames: once it is set, they grow no more.
        progress.all_written = self.facts.length().is_some();
        progress.frames_written = Frames(self.frames.load(Ordering::Relaxed));
        progress.segments_decoded = self.segments.load(Ordering::Relaxed);
        progress.delivered = SampleIndex(delivered);
        progress.first_audio = (first > 0).then_some(Seconds(first as f64 * 1e-9));
        progress.underrun_samples = self.underruns.load(Ordering::Relaxed);
        progress.ended = self.ended.load(Ordering::Acquire);
        progress.xruns = self.xruns.load(Ordering::Relaxed);
        progress.speaker = *self.speaker.lock().unwrap_or_else(PoisonError::into_inner);
        progress.frames_per_verify = self.speculation().as_ref().and_then(|report| report.frames_per_verify);
        progress.paused = self.pause.is_on();
        progress
    }

    /// Sets the report of drafting.
    pub fn speculated(&self, report: SpeculationReport) {
        *self.speculation() = Some(report);
    }

    /// The report of drafting, with the codec's time.
    pub fn speculation_report(&self) -> Option<SpeculationReport> {
        let mut report = self.speculation().clone()?;
        let busy = |stage| self.stage(stage).busy.load(Ordering::Relaxed);
        report.time.codec = Seconds((busy(Stage::FlowWorker) + busy(Stage::Vocoder)) as f64 * 1e-9);
        Some(report)
    }

    /// Mean of the music in the speaker's buffer; `None` without a speaker that played.
    pub fn buffer_depth(&self) -> Option<Seconds> {
        let (sum, samples) = *self.buffered.lock().unwrap_or_else(PoisonError::into_inner);
        (samples > 0).then(|| Seconds(sum / f64::from(samples)))
    }

    fn speculation(&self) -> MutexGuard<'_, Option<SpeculationReport>> {
        self.speculation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each stage that took part has done.
    pub fn stage_reports(&self, took_part: impl Fn(Stage) -> bool) -> Vec<StageReport> {
        let report = |stage: Stage| {
            let StageMeter { busy, wait, items } = self.stage(stage);
            let seconds = |counter: &AtomicU64| Seconds(counter.load(Ordering::Relaxed) as f64 * 1e-9);
            StageReport::new(stage, seconds(busy), seconds(wait), items.load(Ordering::Relaxed))
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
