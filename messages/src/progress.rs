//! Progress of a song: a snapshot of counters.

use serde::{Deserialize, Serialize};

use crate::units::{Frames, SampleIndex, Seconds};

/// A snapshot of a running song.
///
/// ```
/// use heartstream_messages::{Progress, units::{SampleIndex, Seconds}};
///
/// // Two seconds of audio after one second of time.
/// let mut progress = Progress::default();
/// (progress.elapsed, progress.delivered) = (Seconds(1.0), SampleIndex(96_000));
/// assert_eq!(progress.real_time_factor(), Some(0.5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Progress {
    /// Time since the request.
    pub elapsed: Seconds,
    /// Time in which the song was being made: at least one stage was at work. What waits for a listener does not count.
    pub working: Seconds,
    /// Frames that the language model has written.
    pub frames_written: Frames,
    /// Whether it has written its last one, so that they are the length of the song.
    pub all_written: bool,
    /// Segments that have been decoded to latents.
    pub segments_decoded: u64,
    /// Up to here the song has been handed to the slowest sink.
    pub delivered: SampleIndex,
    /// Time from the request to the first sample handed to a sink.
    pub first_audio: Option<Seconds>,
    /// Samples of silence that a speaker had to play because no music was there.
    pub underrun_samples: u64,
    /// How often the speaker's own buffer ran dry because the system let the audio callback run too late.
    pub xruns: u64,
    /// What the speaker does; `None` for a song without one, and before its first audio.
    pub speaker: Option<SpeakerProgress>,
    /// Frames for each pass of the backbone; `None` while nothing is drafted.
    pub frames_per_verify: Option<f64>,
    /// Whether the song is paused.
    pub paused: bool,
    /// The song is over, however it ended.
    pub ended: bool,
}

/// A snapshot of a song that is played.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SpeakerProgress {
    /// What it does.
    pub state: SpeakerState,
    /// Up to here the song has been handed to the device.
    pub played: Seconds,
    /// Audio that is there and not played yet.
    pub buffered: Seconds,
    /// Real-time factor from which the start delay was chosen: seconds of work for a second of audio.
    pub real_time_factor: f64,
    /// Start delay that avoids under-runs, from the decision on.
    pub wait: Seconds,
}

/// What a speaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SpeakerState {
    /// It waits, so that playing will not stop once it has started.
    Waits,
    /// It plays, or would if the song were not paused.
    Plays,
    /// Its device is gone, and it looks for it.
    DeviceLost,
}

impl Progress {
    /// Time over audio: below 1 is faster than real time. `None` before there is audio. Of a song that is played, only the
    /// time counts in which it was being made.
    pub fn real_time_factor(&self) -> Option<f64> {
        let audio = self.delivered.seconds().0;
        let time = if self.speaker.is_some() { self.working } else { self.elapsed };
        (audio > 0.0).then(|| time.0 / audio)
    }
}
