//! Audio features of a song: its scale, its clicks, its level.

use candle_core::{Device, Tensor};
use heartstream_tools::quality::{MelAnalyser, Seam, measure_seams};

use crate::{error::Result, spectral::Analyser};

/// Samples of a latent: what a vocoder does at each of them is no click.
const LATENT: usize = 1920;
/// Window of the chroma, in samples, and looks into it.
pub const CHROMA_WINDOW: usize = 4096;
/// Notes between these are counted, in hertz: higher ones are overtones, lower ones are not told apart.
const NOTES: std::ops::Range<f64> = 250.0..2000.0;

/// The energy of each pitch class in each look, C first.
pub fn chroma(sound: &[f32]) -> Result<Vec<[f64; 12]>> {
    let analyser = Analyser::new(CHROMA_WINDOW, CHROMA_WINDOW / 2, 1, &Device::Cpu)?;
    if sound.len() < CHROMA_WINDOW {
        return Ok(Vec::new());
    }
    let magnitudes = analyser.magnitudes(&Tensor::from_slice(sound, (1, sound.len()), &Device::Cpu)?)?;
    let looks = magnitudes.squeeze(0)?.to_vec2::<f32>()?;
    let of = |magnitudes: &Vec<f32>| {
        let mut chroma = [0f64; 12];
        for (bin, magnitude) in magnitudes.iter().enumerate() {
            let hertz = bin as f64 * 48_000.0 / CHROMA_WINDOW as f64;
            if NOTES.contains(&hertz) {
                let pitch = (69.0 + 12.0 * (hertz / 440.0).log2()).round() as i64;
                chroma[pitch.rem_euclid(12) as usize] += f64::from(*magnitude).powi(2);
            }
        }
        chroma
    };
    Ok(looks.iter().map(of).collect())
}

/// The share of the energy that lies on the notes of the best-fitting major scale (which has the notes of a minor one).
pub fn share_in_scale(sound: &[f32]) -> Result<f64> {
    let mut sum = [0f64; 12];
    for look in chroma(sound)? {
        sum.iter_mut().zip(look).for_each(|(sum, energy)| *sum += energy);
    }
    let total: f64 = sum.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let in_scale = |tonic: usize| [0, 2, 4, 5, 7, 9, 11].iter().map(|step| sum[(tonic + step) % 12]).sum::<f64>();
    Ok((0..12).map(in_scale).fold(0.0, f64::max) / total)
}

/// How much the waveform jumps at every latent, in dB ([`measure_seams`]); and at `seams`.
pub fn jumps(sound: [&[f32]; 2], seams: &[Seam]) -> (Vec<f64>, Vec<f64>) {
    let jump = measure_seams(sound, seams, LATENT, &mut MelAnalyser::new(48_000)).jump;
    (jump.elsewhere, jump.at_seams.into_iter().map(|(_, value)| value).collect())
}

/// The largest sample and the mean of both channels.
pub fn level(sound: [&[f32]; 2]) -> (f32, f64) {
    let all = || sound.into_iter().flatten();
    let loudest = all().fold(0f32, |loudest, x| loudest.max(x.abs()));
    (loudest, all().map(|x| f64::from(*x)).sum::<f64>() / all().count().max(1) as f64)
}

/// Pearson's correlation.
pub fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    let (ma, mb) = (mean(a), mean(b));
    let products =
        |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 { x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum() };
    products(a, ma, b, mb) / (products(a, ma, a, ma) * products(b, mb, b, mb)).sqrt().max(f64::MIN_POSITIVE)
}
