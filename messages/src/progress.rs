//! How far is a song? A snapshot of counters.

use serde::{Deserialize, Serialize};

use crate::units::{Frames, SampleIndex, Seconds};

/// A snapshot of a running song.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Time since the request.
    pub elapsed: Seconds,
    /// Frames that the language model has written.
    pub frames_written: Frames,
    /// Segments that have been decoded to latents.
    pub segments_decoded: u64,
    /// Up to here the song has been handed to the slowest sink.
    pub delivered: SampleIndex,
    /// Time from the request to the first sample handed to a sink.
    pub first_audio: Option<Seconds>,
    /// Samples of silence that a speaker had to play because no music was there.
    pub underrun_samples: u64,
    /// The song is over, however it ended.
    pub ended: bool,
}

impl Progress {
    /// Wall time over audio time: below 1 is faster than real time. `None` before there is audio.
    pub fn real_time_factor(&self) -> Option<f64> {
        let audio = self.delivered.seconds().0;
        (audio > 0.0).then(|| self.elapsed.0 / audio)
    }
}
