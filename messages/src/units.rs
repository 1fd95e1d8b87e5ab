//! Units of a song: frames, latents and samples, each a type of its own.
//!
//! | unit | rate | what it is |
//! |---|---|---|
//! | frame | 12.5 Hz | one code of each codebook: a step of the language model |
//! | latent | 25 Hz | what flow matching makes, two for each frame |
//! | sample | 48 kHz | one number for each of two channels |
//!
//! An index counts from the start of the song, a count says how many.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Samples of one channel per second (the only rate of HeartCodec).
pub const SAMPLE_RATE: u32 = 48_000;
/// Channels of all audio.
pub const CHANNELS: usize = 2;
/// Samples of one channel in a latent: 48 kHz / 25 Hz.
pub const SAMPLES_PER_LATENT: u64 = 1920;
/// Latents of a frame: 25 Hz / 12.5 Hz.
pub const LATENTS_PER_FRAME: u64 = 2;
/// Samples of one channel in a frame.
pub const SAMPLES_PER_FRAME: u64 = SAMPLES_PER_LATENT * LATENTS_PER_FRAME;

/// A place among a song's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct FrameIndex(pub u64);

/// A place among a song's latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LatentIndex(pub u64);

/// A place among a song's samples; both channels of a sample frame have the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct SampleIndex(pub u64);

/// A place among a song's segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct SegmentIndex(pub u32);

/// A count of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Frames(pub u64);

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
pub struct Seconds(pub f64);

impl FrameIndex {
    /// The first latent of the frame.
    pub fn first_latent(self) -> LatentIndex {
        LatentIndex(self.0.saturating_mul(LATENTS_PER_FRAME))
    }
}

impl Frames {
    /// How long they sound.
    pub fn seconds(self) -> Seconds {
        Seconds(self.0 as f64 * SAMPLES_PER_FRAME as f64 / f64::from(SAMPLE_RATE))
    }
}

impl SampleIndex {
    /// When the sample sounds, from the start of the song.
    pub fn seconds(self) -> Seconds {
        Seconds(self.0 as f64 / f64::from(SAMPLE_RATE))
    }
}

impl Seconds {
    /// The whole frames in the span; a span that is negative or not a number has none.
    pub fn frames(self) -> Frames {
        // A hair more, so that 0.56 s, which no double is, has its 7 frames.
        Frames((self.0 * f64::from(SAMPLE_RATE) / SAMPLES_PER_FRAME as f64 + 1e-9) as u64)
    }

    /// The whole samples of one channel in the span.
    pub fn samples(self) -> u64 {
        (self.0 * f64::from(SAMPLE_RATE) + 1e-6) as u64
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_80_ms_and_two_latents() {
        assert_eq!(FrameIndex(3).first_latent(), LatentIndex(6));
        assert!((Frames(372).seconds().0 - 29.76).abs() < 1e-12);
    }

    #[test]
    fn seconds_and_frames_agree_for_every_length_of_a_song() {
        for frames in 0..10_000 {
            assert_eq!(Frames(frames).seconds().frames(), Frames(frames));
        }
        assert_eq!(Seconds(f64::NAN).frames(), Frames(0));
        assert_eq!(Seconds(-3.0).frames(), Frames(0));
    }
}
