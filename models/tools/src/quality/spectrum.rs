//! Spectrum of a short moment: the magnitudes of a windowed Fourier transform.

use std::{f64::consts::TAU, sync::Arc};

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex};

/// Samples that are looked at together: 43 ms at 48 kHz.
pub const SPECTRUM_WINDOW: usize = 2048;
/// Samples from one spectrum to the next: 10.7 ms at 48 kHz.
pub const SPECTRUM_HOP: usize = 512;

/// Transforms [`SPECTRUM_WINDOW`] samples at a time, with a periodic Hann window.
pub struct Spectrum {
    transform: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    input: Vec<f32>,
    output: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    magnitudes: Vec<f32>,
}

impl Default for Spectrum {
    fn default() -> Self {
        Self::new()
    }
}

impl Spectrum {
    /// Numbers of a spectrum: from 0 Hz to half the sample rate, both included.
    pub const BINS: usize = SPECTRUM_WINDOW / 2 + 1;

    /// Makes the tables of the transform.
    pub fn new() -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(SPECTRUM_WINDOW);
        let hann = |place| 0.5 - 0.5 * (TAU * place as f64 / SPECTRUM_WINDOW as f64).cos();
        Self {
            window: (0..SPECTRUM_WINDOW).map(|place| hann(place) as f32).collect(),
            input: transform.make_input_vec(),
            output: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            magnitudes: vec![0.0; Self::BINS],
            transform,
        }
    }

    /// The magnitudes at the first [`SPECTRUM_WINDOW`] of `samples`, with silence behind where there are fewer. A sine
    /// of full scale has magnitude 1 at its own frequency.
    pub fn magnitudes(&mut self, samples: &[f32]) -> &[f32] {
        let samples = samples.iter().copied().chain(std::iter::repeat(0.0));
        for ((input, window), sample) in self.input.iter_mut().zip(&self.window).zip(samples) {
            *input = window * sample;
        }
        self.transform
            .process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch)
            .expect("the buffers were made for this transform");
        // Half of a real wave is at the negative frequency, and a Hann window lets half of it through.
        let scale = 4.0 / SPECTRUM_WINDOW as f32;
        for (magnitude, bin) in self.magnitudes.iter_mut().zip(&self.output) {
            *magnitude = scale * bin.norm();
        }
        &self.magnitudes
    }

    /// The places at which a signal of `length` samples is looked at, so that each of its samples is seen.
    pub fn places(length: usize) -> impl Iterator<Item = usize> {
        let spectra = if length == 0 { 0 } else { length.saturating_sub(SPECTRUM_WINDOW).div_ceil(SPECTRUM_HOP) + 1 };
        (0..spectra).map(|spectrum| spectrum * SPECTRUM_HOP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_sine_has_magnitude_one_at_its_frequency_and_nothing_far_from_it() {
        for bin in [3, 100, 900] {
            let sine: Vec<f32> =
                (0..SPECTRUM_WINDOW).map(|i| (TAU * (bin * i) as f64 / SPECTRUM_WINDOW as f64).sin() as f32).collect();
            let mut spectrum = Spectrum::new();
            let magnitudes = spectrum.magnitudes(&sine);
            assert!((magnitudes[bin] - 1.0).abs() < 1e-4, "bin {bin}: {}", magnitudes[bin]);
            let far = magnitudes.iter().enumerate().filter(|(other, _)| other.abs_diff(bin) > 1);
            assert!(far.into_iter().all(|(_, magnitude)| *magnitude < 1e-4), "bin {bin}");
        }
    }

    #[test]
    fn every_sample_is_looked_at_and_nothing_behind_the_last() {
        assert_eq!(Spectrum::places(0).count(), 0);
        for length in [1, 2047, 2048, 2049, 2560, 2561, 48_000] {
            let last = Spectrum::places(length).last().expect("a place");
            assert!(last < length && last + SPECTRUM_WINDOW >= length, "{length}: {last}");
        }
    }
}
