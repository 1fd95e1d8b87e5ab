//! Tonal artefact of a vocoder: a comb of steady tones that belong to no note.

use realfft::RealFftPlanner;

/// Samples of a window at 48 kHz, 0.34 s: lines 2.9 Hz apart.
const WINDOW: usize = 16_384;
/// Tones of the comb in hertz: 48 kHz by the 384 samples after which the vocoder's transposed convolutions behind the
/// first are in the same phase again (4 · 4 · 4 · 3 · 2).
const TONE: f64 = 125.0;
/// Hertz beside a tone that belong to it: a window's own width.
const NEAR: f64 = 5.0;
/// Where it is looked for, in hertz: songs have little of their own there. White noise has 9 % there.
const BAND: std::ops::Range<f64> = 4000.0..12_000.0;

/// What is found of the comb.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Comb {
    /// Share of the energy from 4 to 12 kHz that lies on its tones; not a number where there is none.
    pub share: f64,
    /// Energy from 4 to 12 kHz over that of the whole song, in decibels.
    pub band: f64,
}

/// Measures one channel.
pub fn comb(sound: &[f32]) -> Comb {
    let transform = RealFftPlanner::<f32>::new().plan_fft_forward(WINDOW);
    let mut spectrum = transform.make_output_vec();
    let turn = std::f64::consts::TAU / WINDOW as f64;
    let hann: Vec<f32> = (0..WINDOW).map(|n| (0.5 - 0.5 * (turn * n as f64).cos()) as f32).collect();
    let (mut tones, mut band, mut all) = (0.0, 0.0, 0.0);
    for window in sound.windows(WINDOW).step_by(WINDOW / 2) {
        let mut window: Vec<f32> = window.iter().zip(&hann).map(|(x, hann)| x * hann).collect();
        // Both have the lengths that the transform asks for, which is all that it can refuse.
        if transform.process(&mut window, &mut spectrum).is_err() {
            continue;
        }
        for (line, value) in spectrum.iter().enumerate() {
            let hertz = line as f64 * 48_000.0 / WINDOW as f64;
            let power = f64::from(value.norm_sqr());
            all += power;
            if BAND.contains(&hertz) {
                band += power;
                let off = (hertz / TONE - (hertz / TONE).round()).abs() * TONE;
                tones += if off < NEAR { power } else { 0.0 };
            }
        }
    }
    Comb { share: tones / band, band: 10.0 * (band / all).log10() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn noise_has_its_even_share_and_a_comb_is_found_in_it() {
        let noise = Rng::new(&[1]).normal(96_000);
        let found = comb(&noise);
        assert!((found.share - 0.085).abs() < 0.02, "{found:?}");
        assert!((found.band + 4.8).abs() < 0.3, "a third of all frequencies: {found:?}");
        // A pulse every 384 samples has a tone at every multiple of 125 Hz.
        let pulses = |n: usize| if n.is_multiple_of(384) { 40.0 } else { 0.0 };
        let whistling: Vec<f32> = noise.iter().enumerate().map(|(n, x)| x + pulses(n)).collect();
        assert!(comb(&whistling).share > 0.7, "{:?}", comb(&whistling));
        assert!(comb(&[]).share.is_nan());
    }
}
