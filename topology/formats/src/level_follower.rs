//! Level follower: a gain that goes slowly to what a song needs, by its loudness so far.
//!
//! One gain for all songs of a model leaves them as far apart as they are: 24 of the demo model were from -22.5 to
//! -16.6 LUFS, and no gain brings more than 19 of them within 2 LUFS of -16 (`docs/demo-model.md`). So the gain begins with
//! that of the model's card and follows the loudness of what was heard.

use ebur128::{EbuR128, Mode};
use heartstream_messages::units::{CHANNELS, SAMPLE_RATE};

use crate::FormatError;

/// Samples of one channel between two looks at the loudness: 100 ms, the step of EBU R128's gating blocks.
const STEP: usize = SAMPLE_RATE as usize / 10;
/// Seconds of music that the card's gain counts for. With 2 s, 24 songs of the demo model came within 1.1 LUFS of -16, with
/// 8 s within 1.6.
const CARD_SECONDS: f64 = 2.0;
/// Decibels by which the gain changes in a second at most: ten seconds for what a piano's next chord changes at once.
const RATE: f64 = 0.5;

pub(crate) struct LevelFollower {
    meter: EbuR128,
    /// Loudness to go to, in LUFS.
    target: f64,
    /// Loudness that the card promises without a gain.
    promised: f64,
    /// Gain at the start of the current step and at its end, in decibels.
    decibels: [f64; 2],
    /// The same as factors.
    gains: [f32; 2],
    /// Samples of the current step.
    step: Vec<f32>,
    steps: u64,
}

impl LevelFollower {
    /// Begins with the gain of the model's card.
    pub fn new(card_gain: f64, target: f64) -> Result<Self, FormatError> {
        let meter = EbuR128::new(CHANNELS as u32, SAMPLE_RATE, Mode::I | Mode::HISTOGRAM)?;
        let promised = target - card_gain;
        let (decibels, gains) = ([card_gain; 2], [factor(card_gain); 2]);
        Ok(Self { meter, target, promised, decibels, gains, step: Vec::with_capacity(STEP * CHANNELS), steps: 0 })
    }

    /// The gain of the next sample. It depends on the samples before it and on their number alone.
    pub fn gain(&mut self, frame: [f32; CHANNELS]) -> f32 {
        let [from, to] = self.gains;
        let gain = from + (to - from) * ((self.step.len() / CHANNELS) as f32 / STEP as f32);
        self.step.extend(frame);
        if self.step.len() == STEP * CHANNELS {
            self.look();
        }
        gain
    }

    fn look(&mut self) {
        // It can only refuse another count of channels; then the gain stays.
        let measured = self.meter.add_frames_f32(&self.step).and_then(|()| self.meter.loudness_global());
        self.step.clear();
        self.steps += 1;
        let reached = self.decibels[1];
        let next = match measured {
            Ok(loudness) if loudness.is_finite() => {
                let seconds = self.steps as f64 * STEP as f64 / f64::from(SAMPLE_RATE);
                let loudness = (self.promised * CARD_SECONDS + loudness * seconds) / (CARD_SECONDS + seconds);
                let most = RATE * STEP as f64 / f64::from(SAMPLE_RATE);
                reached + (self.target - loudness - reached).clamp(-most, most)
            }
            _ => reached,
        };
        self.decibels = [reached, next];
        self.gains = [self.gains[1], factor(next)];
    }
}

/// Decibels as a factor.
pub(crate) fn factor(decibels: f64) -> f32 {
    10f64.powf(decibels / 20.0) as f32
}
