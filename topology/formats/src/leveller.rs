//! Gain with a look-ahead limiter.
//!
//! The gain is one number for the whole song, or follows its loudness so slowly that quiet stays quiet. The limiter only
//! acts where the gain would clip: the gain of a sample is the least that any peak within the look-ahead asks for, averaged
//! over the look-ahead. All of it depends on the samples alone, never on how the song is cut into blocks.

use std::collections::VecDeque;

use heartstream_messages::{
    PcmBlock,
    units::{CHANNELS, SampleIndex},
};

use crate::{
    FormatError,
    level_follower::{LevelFollower, factor},
};

/// Loudness that songs are brought to, in LUFS: what large music services play at is from -16 to -14.
pub const TARGET: f64 = -16.0;
/// Samples of one channel that the limiter looks ahead: 5 ms, in which a gain can change without being heard as a step.
const LOOK_AHEAD: usize = 240;
/// No sample is larger: 1 dB below full scale, so that what a lossy format or a converter adds between two samples does
/// not clip (EBU R128 asks for a true peak of at most -1 dBTP).
const CEILING: f32 = 0.891;

/// Sets the level of one song.
pub struct Leveller {
    gain: Gain,
    /// Samples that wait until all within their look-ahead is known.
    waiting: VecDeque<[f32; CHANNELS]>,
    /// What each of the last samples allows, as (place, gain), only those that are less than all behind them.
    allowed: VecDeque<(u64, f32)>,
    /// The least allowed gains over the last look-ahead, whose mean is the gain of the next sample.
    least: VecDeque<f32>,
    /// How many of them are below 1.
    limiting: usize,
    read: u64,
    given: u64,
}

enum Gain {
    Fixed(f32),
    Following(Box<LevelFollower>),
}

impl Leveller {
    /// A fixed gain of `decibels` for a song.
    pub fn fixed(decibels: f64) -> Self {
        Self::with(Gain::Fixed(factor(decibels)))
    }

    /// A gain that begins with that of the model's card, in decibels, and goes to what brings the song to `target` LUFS, by
    /// half a decibel a second at most.
    ///
    /// # Errors
    /// When the meter takes no song of 48 kHz stereo, which it does.
    pub fn following(card_gain: f64, target: f64) -> Result<Self, FormatError> {
        Ok(Self::with(Gain::Following(Box::new(LevelFollower::new(card_gain, target)?))))
    }

    fn with(gain: Gain) -> Self {
        Self {
            gain,
            waiting: VecDeque::new(),
            allowed: VecDeque::new(),
            least: VecDeque::new(),
            limiting: 0,
            read: 0,
            given: 0,
        }
    }

    /// The levelled samples that are known now: those of `block` come later by the look-ahead.
    pub fn level(&mut self, block: &PcmBlock) -> PcmBlock {
        let mut samples = Vec::with_capacity(block.samples.len());
        let start = SampleIndex(self.given);
        for frame in block.samples.as_chunks::<CHANNELS>().0 {
            self.take(*frame, &mut samples);
        }
        PcmBlock { start, samples }
    }

    /// The last samples of the song.
    pub fn finish(&mut self) -> PcmBlock {
        let mut samples = Vec::new();
        let start = SampleIndex(self.given);
        while !self.waiting.is_empty() {
            self.look(1.0);
            self.give(&mut samples);
        }
        PcmBlock { start, samples }
    }

    fn take(&mut self, frame: [f32; CHANNELS], samples: &mut Vec<f32>) {
        let gain = match &mut self.gain {
            Gain::Fixed(gain) => *gain,
            Gain::Following(follower) => follower.gain(frame),
        };
        let louder = frame.map(|sample| sample * gain);
        let peak = louder.iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
        self.waiting.push_back(louder);
        self.look(if peak > CEILING { CEILING / peak } else { 1.0 });
        if self.waiting.len() == LOOK_AHEAD {
            self.give(samples);
        }
    }

    /// Notes what the next sample allows.
    fn look(&mut self, allows: f32) {
        while self.allowed.back().is_some_and(|(_, other)| *other >= allows) {
            self.allowed.pop_back();
        }
        self.allowed.push_back((self.read, allows));
        while self.allowed.front().is_some_and(|(place, _)| place + LOOK_AHEAD as u64 <= self.read) {
            self.allowed.pop_front();
        }
        let least = self.allowed.front().map_or(1.0, |(_, least)| *least);
        self.least.push_back(least);
        self.limiting += usize::from(least < 1.0);
        if self.least.len() > LOOK_AHEAD {
            let oldest = self.least.pop_front().unwrap_or(1.0);
            self.limiting -= usize::from(oldest < 1.0);
        }
        self.read += 1;
    }

    fn give(&mut self, samples: &mut Vec<f32>) {
        let Some(frame) = self.waiting.pop_front() else { return };
        let gain = match self.limiting {
            0 => 1.0,
            _ => self.least.iter().sum::<f32>() / self.least.len() as f32,
        };
        samples.extend(frame.map(|sample| (sample * gain).clamp(-CEILING, CEILING)));
        self.given += 1;
    }
}
