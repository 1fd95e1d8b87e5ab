//! Spectral convergence: how far the magnitudes of a sound's spectra are from another's.

use super::spectrum::Spectrum;

/// The norm of the difference of both magnitude spectra over the norm of the golden one's, all spectra together; 0 where
/// nothing differs, not a number where the golden sound is silent or one of both has no sample.
pub fn spectral_convergence(ours: &[f32], golden: &[f32]) -> f64 {
    let (mut ours_at, mut golden_at) = (Spectrum::new(), Spectrum::new());
    let (mut difference, mut whole) = (0.0, 0.0);
    for place in Spectrum::places(ours.len().min(golden.len())) {
        let pairs = ours_at.magnitudes(&ours[place..]).iter().zip(golden_at.magnitudes(&golden[place..]));
        for (ours, golden) in pairs {
            difference += f64::from(ours - golden).powi(2);
            whole += f64::from(*golden).powi(2);
        }
    }
    (difference / whole).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_louder_is_a_tenth_away_and_the_same_is_nowhere() {
        let golden: Vec<f32> = (0..8192).map(|i| (i as f32 * 0.05).sin()).collect();
        let louder: Vec<f32> = golden.iter().map(|sample| 1.1 * sample).collect();
        assert!((spectral_convergence(&louder, &golden) - 0.1).abs() < 1e-4);
        assert_eq!(spectral_convergence(&golden, &golden), 0.0);
        assert!(spectral_convergence(&golden, &[0.0; 8192]).is_infinite());
        assert!(spectral_convergence(&[], &golden).is_nan());
    }
}
