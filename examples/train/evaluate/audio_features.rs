//! Audio features of a song: jumps of the waveform, and the correlation of two rows of numbers.

use heartstream_tools::quality::{MelAnalyser, Seam, measure_seams};

/// Samples of a latent: what a vocoder does at each of them is no click.
const LATENT: usize = 1920;
/// How much the waveform jumps at every latent, in dB ([`measure_seams`]); and at `seams`.
pub fn jumps(sound: [&[f32]; 2], seams: &[Seam]) -> (Vec<f64>, Vec<f64>) {
    let jump = measure_seams(sound, seams, LATENT, &mut MelAnalyser::new(48_000)).jump;
    (jump.elsewhere, jump.at_seams.into_iter().map(|(_, value)| value).collect())
}

/// Pearson's correlation.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    let (ma, mb) = (mean(a), mean(b));
    let products =
        |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 { x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum() };
    products(a, ma, b, mb) / (products(a, ma, a, ma) * products(b, mb, b, mb)).sqrt().max(f64::MIN_POSITIVE)
}
