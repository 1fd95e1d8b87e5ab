//! Log-mel distance: the mean absolute difference of two sounds' log-mel spectra.
//!
//! Definition: magnitudes of a Hann window of 2048 samples every 512 ([`Spectrum`], full-scale sine = 1); 128
//! triangular bands, their corners spaced evenly on the mel scale `2595 · log10(1 + f / 700 Hz)` from 0 Hz to half the
//! sample rate, each of height 1 at its middle; the natural logarithm of a band's sum, which below `1e-5` (100 dB under
//! full scale) counts as `1e-5`. A distance of 0.1 is 0.87 dB in the mean of all bands.

use super::spectrum::Spectrum;

/// Bands of a log-mel spectrum.
pub const MEL_BANDS: usize = 128;
/// What is softer counts as being so soft: 100 dB under a full-scale sine.
const FLOOR: f32 = 1e-5;

/// The log-mel spectra of one channel, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct LogMel {
    values: Vec<f32>,
}

impl LogMel {
    /// The spectra, [`MEL_BANDS`] numbers each; the n-th is of the samples from n · 512 on.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(MEL_BANDS)
    }
}

/// Makes log-mel spectra.
pub struct MelAnalyser {
    spectrum: Spectrum,
    bands: Vec<MelBand>,
}

/// A triangular band: the weights of the bins from `first` on. All others have none.
pub struct MelBand {
    /// The first bin.
    pub first: usize,
    /// The weights, from 0 to 1.
    pub weights: Vec<f32>,
}

/// The mel filter: `count` bands over the `bins` bins of a spectrum, the last of which is at half of `sample_rate`, Hz.
pub fn mel_bands(count: usize, bins: usize, sample_rate: u32) -> Vec<MelBand> {
    let top = f64::from(sample_rate) / 2.0;
    let corner = |index: usize| hertz(mel(top) * index as f64 / (count + 1) as f64);
    let width = top / (bins - 1) as f64;
    let band = |index: usize| {
        let (low, middle, high) = (corner(index), corner(index + 1), corner(index + 2));
        let first = (low / width) as usize;
        let last = ((high / width) as usize).min(bins - 1);
        let weight = |bin| {
            let frequency = bin as f64 * width;
            ((frequency - low) / (middle - low)).min((high - frequency) / (high - middle)).max(0.0) as f32
        };
        MelBand { first, weights: (first..=last).map(weight).collect() }
    };
    (0..count).map(band).collect()
}

impl MelAnalyser {
    /// For sound of `sample_rate` samples per second.
    pub fn new(sample_rate: u32) -> Self {
        Self { spectrum: Spectrum::new(), bands: mel_bands(MEL_BANDS, Spectrum::BINS, sample_rate) }
    }

    /// The log-mel spectra of one channel.
    pub fn log_mel(&mut self, samples: &[f32]) -> LogMel {
        let mut values = Vec::new();
        for place in Spectrum::places(samples.len()) {
            self.extend_with(&samples[place..], &mut values);
        }
        LogMel { values }
    }

    /// The log-mel spectrum of the first samples of `samples`, [`MEL_BANDS`] numbers.
    pub fn moment(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut values = Vec::with_capacity(MEL_BANDS);
        self.extend_with(samples, &mut values);
        values
    }

    fn extend_with(&mut self, samples: &[f32], values: &mut Vec<f32>) {
        let magnitudes = self.spectrum.magnitudes(samples);
        values.extend(self.bands.iter().map(|MelBand { first, weights }| {
            let sum: f32 =
                weights.iter().zip(&magnitudes[*first..]).map(|(weight, magnitude)| weight * magnitude).sum();
            sum.max(FLOOR).ln()
        }));
    }
}

/// How different two sounds are at each spectrum; as many numbers as the shorter has spectra.
pub fn mel_distances(ours: &LogMel, golden: &LogMel) -> Vec<f64> {
    ours.frames().zip(golden.frames()).map(|(ours, golden)| distance(ours, golden)).collect()
}

/// The mean absolute difference of two log-mel spectra.
pub(super) fn distance(ours: &[f32], golden: &[f32]) -> f64 {
    let sum: f64 = ours.iter().zip(golden).map(|(a, b)| f64::from((a - b).abs())).sum();
    sum / golden.len().max(1) as f64
}

fn mel(hertz: f64) -> f64 {
    2595.0 * (1.0 + hertz / 700.0).log10()
}

fn hertz(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const RATE: u32 = 48_000;

    fn sine(frequency: f64, amplitude: f64) -> Vec<f32> {
        let sample = |i| amplitude * (TAU * frequency * f64::from(i) / f64::from(RATE)).sin();
        (0..8192).map(|i| sample(i) as f32).collect()
    }

    /// Sound in every band.
    fn noise(amplitude: f32) -> Vec<f32> {
        let mut samples = vec![0f32; 16_384];
        heartstream_models::signal::KeyedNoise::new(5).fill_latent(0, &mut samples);
        samples.iter().map(|sample| amplitude * sample).collect()
    }

    #[test]
    fn every_band_hears_something_and_every_frequency_is_heard() {
        let analyser = MelAnalyser::new(RATE);
        let mut heard = vec![0f32; Spectrum::BINS];
        for MelBand { first, weights } in &analyser.bands {
            assert!(weights.iter().sum::<f32>() > 0.0);
            for (bin, weight) in weights.iter().enumerate() {
                heard[first + bin] += weight;
            }
        }
        // Neighbouring triangles add up to 1, but for the outer halves of the first and the last.
        let width = f64::from(RATE) / 2.0 / (Spectrum::BINS - 1) as f64;
        let top = mel(f64::from(RATE) / 2.0);
        for (bin, heard) in heard.iter().enumerate() {
            let place = mel(bin as f64 * width) / top * (MEL_BANDS + 1) as f64;
            if (1.0..MEL_BANDS as f64).contains(&place) {
                assert!((heard - 1.0).abs() < 1e-4, "bin {bin}: {heard}");
            }
        }
    }

    #[test]
    fn a_sine_is_loudest_in_the_band_around_its_frequency() {
        let mut analyser = MelAnalyser::new(RATE);
        for frequency in [220.0, 1000.0, 9000.0] {
            let spectrum = analyser.moment(&sine(frequency, 0.5));
            let loudest = (0..MEL_BANDS).max_by(|a, b| spectrum[*a].total_cmp(&spectrum[*b])).expect("bands");
            let band = mel(frequency) / mel(f64::from(RATE) / 2.0) * (MEL_BANDS + 1) as f64 - 1.0;
            assert!((loudest as f64 - band).abs() <= 1.0, "{frequency} Hz in band {loudest}, expected {band}");
        }
    }

    #[test]
    fn twice_the_amplitude_is_a_distance_of_the_logarithm_of_2() {
        let mut analyser = MelAnalyser::new(RATE);
        let (soft, loud) = (analyser.log_mel(&noise(0.1)), analyser.log_mel(&noise(0.2)));
        let distances = mel_distances(&loud, &soft);
        assert_eq!(distances.len(), Spectrum::places(16_384).count());
        assert!(distances.iter().all(|distance| (distance - 2f64.ln()).abs() < 1e-3), "{distances:?}");
        assert!(mel_distances(&soft, &soft).iter().all(|distance| *distance == 0.0));
    }

    #[test]
    fn what_nobody_can_hear_makes_no_distance() {
        let mut analyser = MelAnalyser::new(RATE);
        let (silence, whisper) = (analyser.log_mel(&[0.0; 4096]), analyser.log_mel(&noise(1e-8)[..4096]));
        assert_eq!(mel_distances(&whisper, &silence), [0.0; 5]);
    }
}
