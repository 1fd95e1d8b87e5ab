//! Report of a finished song: outcome, lengths, latencies and times.

use serde::{Deserialize, Serialize};

use crate::{
    speculation_report::SpeculationReport,
    stage::{Stage, StageError},
    units::{Frames, Seconds},
};

/// How a song ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The model ended it, or its longest allowed length was reached.
    Finished,
    /// It was cancelled.
    Cancelled,
    /// The reader of the song, such as `head` on standard output, closed it before its end. Nothing is wrong.
    ReaderLeft,
    /// A stage failed; the first one that did. What was decoded before is good.
    Failed(StageError),
}

/// What is known about a song when it has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SongReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Frames that the language model wrote.
    pub frames: Frames,
    /// Draws of the first frame that would have ended the song, before the one that it begins with.
    pub redraws: u32,
    /// Length of the audio that every sink received.
    pub audio: Seconds,
    /// From the request to the end.
    pub wall: Seconds,
    /// Latency: from the request to the first sample handed to a sink.
    pub first_audio: Option<Seconds>,
    /// Length of the first window, once it was known: with it the song can be cut the same way again.
    pub first_window: Option<Frames>,
    /// Samples of silence that a speaker had to play because no music was there.
    pub underrun_samples: u64,
    /// How often the speaker's own buffer ran dry because the system let the audio callback run too late.
    pub xruns: u64,
    /// How much music waited in the speaker's buffer while it played, on the average; `None` without a speaker.
    pub buffer_depth: Option<Seconds>,
    /// What was changed in the request to fit the model, in sentences.
    pub notes: Vec<String>,
    /// The stages that took part, in the order of the pipeline.
    pub stages: Vec<StageReport>,
    /// What drafting came to; `None` for a song that was written plainly or decoded only.
    pub speculation: Option<SpeculationReport>,
}

/// What one stage (all its workers together) did for a song.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// The stage.
    pub stage: Stage,
    /// Time at work.
    pub busy: Seconds,
    /// Time waiting for input or for room at its output.
    pub wait: Seconds,
    /// Inputs worked on; for the language model, frames written.
    pub items: u64,
}
