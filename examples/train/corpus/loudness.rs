//! Loudness of a song by ITU-R BS.1770-4.

use ebur128::{EbuR128, Mode};

use super::render::SAMPLE_RATE;

/// Integrated loudness of both channels in LUFS; minus infinity for silence.
pub fn loudness([left, right]: [&[f32]; 2]) -> f64 {
    let measured = EbuR128::new(2, SAMPLE_RATE, Mode::I).and_then(|mut meter| {
        meter.add_frames_planar_f32(&[left, right])?;
        meter.loudness_global()
    });
    // Two channels at 48 kHz are what every meter takes.
    measured.unwrap_or(f64::NEG_INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_of_full_scale_on_one_channel_is_at_minus_3_lufs() {
        // BS.1770-4, annex 1: 997 Hz, 0 dBFS, left alone.
        let wave = |n: usize| (std::f64::consts::TAU * 997.0 * n as f64 / 48_000.0).sin() as f32;
        let (sine, silence): (Vec<f32>, Vec<f32>) = (0..240_000).map(|n| (wave(n), 0.0)).unzip();
        let found = loudness([&sine, &silence]);
        assert!((found + 3.01).abs() < 0.05, "{found} LUFS");
        assert_eq!(loudness([&silence, &silence]), f64::NEG_INFINITY);
    }
}
