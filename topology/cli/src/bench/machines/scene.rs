//! Scenes of the simulation, and their outcomes.

/// Frames in a second.
pub(super) const FRAMES_PER_SECOND: f64 = 12.5;
/// Bytes of a TCP segment, and the constant of the throughput that loss leaves to a connection: MSS / RTT · C / √p with
/// C = √(3/2) (Mathis, Semke, Mahdavi and Ott, CCR 27 (3), 1997).
const SEGMENT_BYTES: f64 = 1448.0;
const MATHIS: f64 = 1.225;

/// What is simulated. Times are seconds, and those of stages are for a second of music.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene {
    pub lm: f64,
    pub flow: f64,
    pub vocoder: f64,
    /// Songs that are written at once, and the share of a frame's time that each further song adds.
    pub songs: usize,
    pub further_song: f64,
    /// Length of each song, and frames of its first window.
    pub seconds: f64,
    pub first_window: usize,
    /// How often a worker is as fast as this machine's.
    pub worker_speed: f64,
    /// From the engine to a worker and back.
    pub round_trip: f64,
    /// Of the engine's line, in bytes a second.
    pub bandwidth: f64,
    /// Of the packets, how many are lost.
    pub loss: f64,
    /// Mean time between two deaths of a worker, and how long it is gone then.
    pub lifetime: f64,
    pub restart: f64,
}

/// A part that can be the bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    LanguageModel,
    HomeFlow,
    Workers,
    Line,
    Vocoder,
}

impl Part {
    pub fn name(self) -> &'static str {
        match self {
            Self::LanguageModel => "language model",
            Self::HomeFlow => "flow at home",
            Self::Workers => "workers",
            Self::Line => "the engine's line",
            Self::Vocoder => "vocoder",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct SceneResult {
    /// Mean over the songs, and the last, in seconds.
    pub first_sound: f64,
    pub last_first_sound: f64,
    /// Seconds of music for each second.
    pub speed: f64,
    /// Share of flow matching that was thrown away.
    pub wasted: f64,
    /// Share of the time in which each part was at work.
    pub loads: [(Part, f64); 5],
}

impl SceneResult {
    /// The part that was at work for most of the time.
    pub fn bottleneck(&self) -> (Part, f64) {
        self.loads.into_iter().fold(self.loads[0], |most, load| if load.1 > most.1 { load } else { most })
    }
}

impl Scene {
    /// Seconds for a frame on a worker.
    pub fn frame_elsewhere(&self) -> f64 {
        self.flow / FRAMES_PER_SECOND / self.worker_speed
    }

    /// Bytes a second of one connection: those of the line, or what loss leaves of them.
    pub fn connection_rate(&self) -> f64 {
        if self.loss <= 0.0 || self.round_trip <= 0.0 {
            return self.bandwidth;
        }
        self.bandwidth.min(MATHIS * SEGMENT_BYTES / (self.round_trip * self.loss.sqrt()))
    }
}
