//! Spectral distance with a gradient: spectra as matrix products, at several resolutions.

use candle_core::{D, Device, Result, Tensor};
use heartstream_tools::quality::mel_bands;

/// Magnitudes below this count as this: 100 dB under a full-scale sine, as in `heartstream_tools::quality`.
pub const FLOOR: f64 = 1e-5;

/// Samples that are summed first: they divide those of a latent, 1920.
const STRETCH: usize = 64;

/// Log-mel and magnitude spectra at one resolution.
pub struct Analyser {
    window: usize,
    hop: usize,
    bins: usize,
    /// \[window, bins\] each: windowed cosines and sines.
    transforms: [Tensor; 2],
    /// \[bins, bands\]
    mel: Tensor,
}

impl Analyser {
    /// For windows of `window` samples at 48 kHz every `hop`, which divides it, in `bands` mel bands.
    pub fn new(window: usize, hop: usize, bands: usize, device: &Device) -> Result<Self> {
        let bins = window / 2 + 1;
        let turn = std::f64::consts::TAU / window as f64;
        let transform = |wave: fn(f64) -> f64| {
            let mut numbers = vec![0f32; window * bins];
            for (n, row) in numbers.chunks_mut(bins).enumerate() {
                // A sine of full scale has magnitude 1.
                let hann = (0.5 - 0.5 * (turn * n as f64).cos()) * 4.0 / window as f64;
                for (bin, number) in row.iter_mut().enumerate() {
                    *number = (hann * wave(turn * ((bin * n) % window) as f64)) as f32;
                }
            }
            Tensor::from_vec(numbers, (window, bins), device)
        };
        let mut weights = vec![0f32; bins * bands];
        for (place, band) in mel_bands(bands, bins, 48_000).into_iter().enumerate() {
            for (bin, weight) in (band.first..).zip(band.weights) {
                weights[bin * bands + place] = weight;
            }
        }
        Ok(Self {
            window,
            hop,
            bins,
            transforms: [transform(f64::cos)?, transform(f64::sin)?],
            mel: Tensor::from_vec(weights, (bins, bands), device)?,
        })
    }

    /// Windows that fit into `samples`.
    pub fn spectra(&self, samples: usize) -> usize {
        if samples < self.window { 0 } else { (samples - self.window) / self.hop + 1 }
    }

    /// # Shapes
    /// - `sound` \[B, S\], result \[B, spectra, bins\]
    pub fn magnitudes(&self, sound: &Tensor) -> Result<Tensor> {
        let (batch, samples) = sound.dims2()?;
        let (spectra, pieces) = (self.spectra(samples), self.window / self.hop);
        let used = (spectra + pieces - 1) * self.hop;
        let hops = sound.narrow(1, 0, used)?.contiguous()?.reshape((batch, spectra + pieces - 1, self.hop))?;
        let shifted = (0..pieces).map(|piece| hops.narrow(1, piece, spectra)).collect::<Result<Vec<_>>>()?;
        let windows = Tensor::cat(&shifted, 2)?.contiguous()?.reshape((batch * spectra, self.window))?;
        // Two products, not one of twice the width: their halves would not lie behind each other.
        let [cosines, sines] = &self.transforms;
        let power = (windows.matmul(cosines)?.sqr()? + windows.matmul(sines)?.sqr()?)?;
        (power + 1e-13)?.sqrt()?.reshape((batch, spectra, self.bins))
    }

    /// The natural logarithm of mel bands of `magnitudes`.
    pub fn log_mel(&self, magnitudes: &Tensor) -> Result<Tensor> {
        let (batch, spectra, bins) = magnitudes.dims3()?;
        let bands = magnitudes.reshape((batch * spectra, bins))?.matmul(&self.mel)?;
        // Not `maximum`: where a band is under the floor there must be no gradient.
        let bands = ((bands - FLOOR)?.relu()? + FLOOR)?.log()?;
        bands.reshape((batch, spectra, ()))
    }
}

/// The mean, row by row first: a GPU sums each row on its own, and would sum all numbers at once on a single unit.
pub fn mean(numbers: &Tensor) -> Result<Tensor> {
    numbers.mean(D::Minus1)?.mean_all()
}

/// The loss of a vocoder: log-mel and log-magnitude differences at several resolutions, and that of the waves.
pub struct SoundLoss {
    analysers: Vec<Analyser>,
    /// How often the log-mel difference counts that quality is measured with.
    emphasis: f64,
}

/// Window, hop and bands of each resolution; the first is the one that quality is measured with.
const RESOLUTIONS: [(usize, usize, usize); 4] = [(2048, 512, 128), (4096, 1024, 128), (512, 128, 64), (128, 32, 16)];

impl SoundLoss {
    /// The tables; the log-mel difference that quality is measured with counts `emphasis` times.
    pub fn new(device: &Device, emphasis: f64) -> Result<Self> {
        let analysers = RESOLUTIONS.iter().map(|(window, hop, bands)| Analyser::new(*window, *hop, *bands, device));
        Ok(Self { analysers: analysers.collect::<Result<_>>()?, emphasis })
    }

    /// The loss, and as its first part the log-mel distance that quality is measured with.
    ///
    /// # Shapes
    /// - `ours`, `real` \[B, S\], whole latents
    pub fn of(&self, ours: &Tensor, real: &Tensor) -> Result<(Tensor, Tensor)> {
        let mut total = (mean(&(ours - real)?.abs()?.reshape(((), STRETCH))?)? * 8.0)?;
        let mut distance = None;
        for analyser in &self.analysers {
            let (a, b) = (analyser.magnitudes(ours)?, analyser.magnitudes(real)?);
            let mels = mean(&(analyser.log_mel(&a)? - analyser.log_mel(&b)?)?.abs()?)?;
            let lines = mean(&((&a + 1e-4)?.log()? - (&b + 1e-4)?.log()?)?.abs()?)?;
            // How much of the spectrum is missing: tones rather than noise.
            let energy = |of: Tensor| of.sqr()?.sum(D::Minus1)?.sum_all();
            let missing = (energy((a - &b)?)? / (energy(b)? + 1e-6)?)?.sqrt()?;
            let emphasis = if distance.is_none() { self.emphasis } else { 1.0 };
            total = (total + (&mels * emphasis)?)?;
            total = (total + (lines * 0.5)?)?;
            total = (total + (missing * 0.5)?)?;
            distance.get_or_insert(mels.detach());
        }
        let distance = distance.unwrap_or(total.detach());
        Ok((total, distance))
    }
}

#[cfg(test)]
mod tests {
    use heartstream_tools::quality::{MelAnalyser, mel_distances};

    use super::*;

    #[test]
    fn the_log_mel_spectrum_with_a_gradient_is_the_one_that_quality_is_measured_with() {
        let noise = |seed| crate::rng::Rng::new(&[seed]).normal(8192).iter().map(|x| 0.1 * x).collect::<Vec<f32>>();
        let (a, b) = (noise(1), noise(2));
        let mut quality = MelAnalyser::new(48_000);
        let measured = mel_distances(&quality.log_mel(&a), &quality.log_mel(&b));
        let measured = measured.iter().sum::<f64>() / measured.len() as f64;
        let tensor = |numbers: &[f32]| Tensor::from_slice(numbers, (1, 8192), &Device::Cpu).expect("numbers");
        let loss = SoundLoss::new(&Device::Cpu, 1.0).expect("tables");
        let (_, distance) = loss.of(&tensor(&a), &tensor(&b)).expect("sounds");
        let distance = f64::from(distance.to_scalar::<f32>().expect("a number"));
        assert!((distance - measured).abs() < 1e-3, "{distance} and {measured}");
    }
}
