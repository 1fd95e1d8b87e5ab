//! Loudness meter: EBU R128 and true peak, while a song streams.

use ebur128::{EbuR128, Mode};
use heartstream_messages::{
    PcmBlock,
    units::{CHANNELS, SAMPLE_RATE},
};

use crate::FormatError;

/// How loud a song is; by default silence.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loudness {
    /// Integrated loudness in LUFS; `None` for silence.
    pub integrated: Option<f64>,
    /// True peak in dBTP, oversampled; `None` for silence.
    pub true_peak: Option<f64>,
}

/// Measures the blocks of one song. Its memory does not grow with the song: loudness comes from a histogram.
pub struct LoudnessMeter(EbuR128);

impl LoudnessMeter {
    /// A meter that has heard nothing.
    ///
    /// # Errors
    /// When the library takes no song of 48 kHz stereo, which it does.
    pub fn new() -> Result<Self, FormatError> {
        let mode = Mode::I | Mode::TRUE_PEAK | Mode::HISTOGRAM;
        Ok(Self(EbuR128::new(CHANNELS as u32, SAMPLE_RATE, mode)?))
    }

    /// Measures the next block.
    ///
    /// # Errors
    /// When the library refuses it.
    pub fn measure(&mut self, block: &PcmBlock) -> Result<(), FormatError> {
        Ok(self.0.add_frames_f32(&block.samples)?)
    }

    /// The loudness so far.
    pub fn loudness(&self) -> Loudness {
        let peaks = (0..CHANNELS as u32).filter_map(|channel| self.0.true_peak(channel).ok());
        let peak = peaks.fold(0.0, f64::max);
        Loudness {
            integrated: self.0.loudness_global().ok().filter(|lufs| lufs.is_finite()),
            true_peak: (peak > 0.0).then(|| 20.0 * peak.log10()),
        }
    }
}

#[cfg(test)]
mod tests {
    use heartstream_messages::units::SampleIndex;

    use super::*;

    #[test]
    fn a_tone_is_as_loud_as_the_recommendation_says_and_silence_has_no_loudness() {
        // EBU Tech 3341, test 1: a stereo sine of 1 kHz at -23 dBFS is -23 LUFS.
        let amplitude = 10f64.powf(-23.0 / 20.0);
        let tone = |place: usize| (amplitude * (std::f64::consts::TAU * 1000.0 * place as f64 / 48_000.0).sin()) as f32;
        let samples = (0..20 * 48_000).flat_map(|place| [tone(place); CHANNELS]).collect();
        let mut meter = LoudnessMeter::new().unwrap();
        meter.measure(&PcmBlock { start: SampleIndex(0), samples }).unwrap();
        let Loudness { integrated, true_peak } = meter.loudness();
        assert!((integrated.unwrap() + 23.0).abs() < 0.1, "{integrated:?}");
        assert!((true_peak.unwrap() + 23.0).abs() < 0.1, "{true_peak:?}");

        let mut silent = LoudnessMeter::new().unwrap();
        silent.measure(&PcmBlock { start: SampleIndex(0), samples: vec![0.0; 96_000] }).unwrap();
        assert_eq!(silent.loudness(), Loudness { integrated: None, true_peak: None });
    }
}
