//! Energy of a song in a band of frequencies, from any sample to any other.

use std::ops::Range;

use realfft::{RealFftPlanner, num_complex::Complex};

use super::SECOND;

/// Width of a band's slopes, as a share of its corner frequencies: below the lower and above the upper corner the gain
/// falls linearly to nothing.
const SLOPE: f64 = 0.2;

/// The energy of one sound in one band, summed from its beginning, so that the mean over any stretch is a difference.
#[derive(Debug, Clone)]
pub(super) struct BandEnergy {
    sums: Vec<f64>,
}

impl BandEnergy {
    /// The energy between `low` and `high` Hz of a sound of 48 kHz.
    pub fn new(sound: &[f64], [low, high]: [f64; 2]) -> Self {
        // Silence behind the end keeps the end out of the beginning, and a power of two is transformed soonest.
        let length = (sound.len() + SECOND).next_power_of_two();
        let mut planner = RealFftPlanner::<f64>::new();
        let (forward, backward) = (planner.plan_fft_forward(length), planner.plan_fft_inverse(length));
        let mut samples = forward.make_input_vec();
        samples[..sound.len()].copy_from_slice(sound);
        let mut spectrum = forward.make_output_vec();
        let resolution = SECOND as f64 / length as f64;
        let failed = forward.process(&mut samples, &mut spectrum).is_err();
        for (bin, value) in spectrum.iter_mut().enumerate() {
            *value *= gain(bin as f64 * resolution, low, high);
        }
        // The first and the last number of a real sound's spectrum are real; both lie outside of every band.
        for edge in [0, length / 2] {
            spectrum[edge] = Complex::new(0.0, 0.0);
        }
        let failed = backward.process(&mut spectrum, &mut samples).is_err() || failed;
        debug_assert!(!failed, "the buffers were made for these transforms");
        let mut sum = 0.0;
        let energies = samples[..sound.len()].iter().map(|sample| {
            sum += (sample / length as f64).powi(2);
            sum
        });
        Self { sums: std::iter::once(0.0).chain(energies).collect() }
    }

    /// The sum over these samples.
    pub fn of(&self, samples: Range<usize>) -> f64 {
        (self.sums[samples.end] - self.sums[samples.start]).max(0.0)
    }
}

fn gain(hertz: f64, low: f64, high: f64) -> f64 {
    let rising = (hertz - low * (1.0 - SLOPE)) / (low * SLOPE);
    let falling = (high * (1.0 + SLOPE) - hertz) / (high * SLOPE);
    rising.clamp(0.0, 1.0) * falling.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn sine(hertz: f64) -> Vec<f64> {
        (0..SECOND).map(|i| (TAU * hertz * i as f64 / SECOND as f64).sin()).collect()
    }

    #[test]
    fn a_band_has_the_energy_of_what_lies_in_it_and_none_of_what_does_not() {
        let middle = SECOND / 4..SECOND / 2;
        let mean = |hertz| BandEnergy::new(&sine(hertz), [100.0, 1500.0]).of(middle.clone()) / middle.len() as f64;
        for hertz in [110.0, 440.0, 1480.0] {
            assert!((mean(hertz) - 0.5).abs() < 0.01, "{hertz} Hz: {}", mean(hertz));
        }
        for hertz in [40.0, 2500.0, 12_000.0] {
            assert!(mean(hertz) < 1e-4, "{hertz} Hz: {}", mean(hertz));
        }
    }

    #[test]
    fn an_end_is_not_heard_at_the_beginning() {
        let mut sound = vec![0.0; SECOND];
        sound[SECOND - 480..].fill(1.0);
        let band = BandEnergy::new(&sound, [50.0, 350.0]);
        assert!(band.of(0..SECOND / 4) < 1e-6 * band.of(SECOND - 960..SECOND));
    }
}
