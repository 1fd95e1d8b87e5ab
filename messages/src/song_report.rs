//! Report of a finished song: outcome, lengths, latencies and times.

use serde::{Deserialize, Serialize};

use crate::{
    speculation_report::SpeculationReport,
    stage::Stage,
    stage_error::StageError,
    units::{Frames, Seconds},
};

/// How a song ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
#[non_exhaustive]
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
    /// Time in which the song was being made: at least one stage was at work. What waits for a listener does not count.
    pub working: Seconds,
    /// Latency: from the request to the first sample handed to a sink.
    pub first_audio: Option<Seconds>,
    /// What that latency is made of.
    pub milestones: Milestones,
    /// Length of the first window, once it was known: with it the song can be cut the same way again. A song that ended
    /// within its first window has the longest one.
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

/// Milestones on the way to the first sound, in time since the request. `None` where the song never came so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Milestones {
    /// The prompt was read and the first frame drawn.
    pub first_frame: Option<Seconds>,
    /// The last frame of the first window was there.
    pub first_window: Option<Seconds>,
    /// Flow matching had decoded the first window.
    pub first_latents: Option<Seconds>,
}

impl SongReport {
    /// A report that knows the outcome alone: all counts and times are 0.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            frames: Frames(0),
            redraws: 0,
            audio: Seconds(0.0),
            wall: Seconds(0.0),
            working: Seconds(0.0),
            first_audio: None,
            milestones: Milestones::default(),
            first_window: None,
            underrun_samples: 0,
            xruns: 0,
            buffer_depth: None,
            notes: Vec::new(),
            stages: Vec::new(),
            speculation: None,
        }
    }

    /// Time over audio: below 1 is faster than real time. `None` without audio. Of a song that was played, only the time
    /// counts in which it was being made.
    pub fn real_time_factor(&self) -> Option<f64> {
        let played = self.stages.iter().any(|report| report.stage == Stage::SpeakerSink);
        let time = if played { self.working } else { self.wall };
        (self.audio.0 > 0.0).then(|| time.0 / self.audio.0)
    }
}

/// What one stage (all its workers together) did for a song.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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

impl StageReport {
    /// What `stage` did: time at work, time waiting, and inputs worked on.
    pub fn new(stage: Stage, busy: Seconds, wait: Seconds, items: u64) -> Self {
        Self { stage, busy, wait, items }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_time_factor_of_a_song_that_is_played_counts_only_the_time_in_which_it_was_made() {
        let stage = |stage| StageReport::new(stage, Seconds(0.0), Seconds(0.0), 0);
        let written = SongReport {
            frames: Frames(125),
            audio: Seconds(10.0),
            wall: Seconds(12.0),
            working: Seconds(3.0),
            stages: vec![stage(Stage::WavSink)],
            ..SongReport::new(Outcome::Finished)
        };
        assert_eq!(written.real_time_factor(), Some(1.2));
        let played = SongReport { stages: vec![stage(Stage::SpeakerSink)], ..written.clone() };
        assert_eq!(played.real_time_factor(), Some(0.3));
        assert_eq!(SongReport { audio: Seconds(0.0), ..written }.real_time_factor(), None);
    }
}
