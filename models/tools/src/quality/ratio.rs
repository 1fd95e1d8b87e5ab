//! Signal-to-noise ratio of two waveforms.

/// The energy of `golden` over the energy of the difference, dB; infinite when nothing differs, not a number when the
/// lengths do or there is nothing to compare.
pub fn signal_to_noise(ours: &[f32], golden: &[f32]) -> f64 {
    if ours.len() != golden.len() || golden.is_empty() {
        return f64::NAN;
    }
    let square = |x: f64| x * x;
    let noise: f64 = ours.iter().zip(golden).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let signal: f64 = golden.iter().map(|b| square(f64::from(*b))).sum();
    if noise == 0.0 { f64::INFINITY } else { 10.0 * (signal / noise).log10() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_amplitude_is_20_db() {
        assert!((signal_to_noise(&[1.1, -1.1], &[1.0, -1.0]) - 20.0).abs() < 1e-4);
    }

    #[test]
    fn equal_is_infinite_and_incomparable_is_not_a_number() {
        assert_eq!(signal_to_noise(&[0.5], &[0.5]), f64::INFINITY);
        assert!(signal_to_noise(&[0.5], &[0.5, 0.5]).is_nan());
        assert!(signal_to_noise(&[], &[]).is_nan());
    }
}
