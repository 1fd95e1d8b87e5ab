//! Pitch spectrum: a line for each semitone.
//!
//! From 412 Hz on a line's window is so long that its neighbours lie behind its first zero, 30 cents away:
//! a tone in tune shows on its own line alone, and one between two lines hardly at all. Songs here are in tune, so that
//! was preferred to lines that overlap their neighbours. Below, where such windows would blur fast notes, neighbours
//! show, too: those of the lowest line 5 dB less.

use candle_core::{DType, Device, Tensor};

use crate::error::Result;

/// Semitones from the G on the bass clef's lowest line, 98 Hz, to 3.7 kHz: all melodies, and overtones.
pub const PITCHES: usize = 64;
/// The MIDI number of the first.
const LOWEST: f64 = 43.0;
/// Samples of the longest window: 160 ms. Lower notes than 412 Hz would need longer ones, in which fast notes blur.
const WINDOW: usize = 7680;
/// Periods that a window holds, if it is not longer than that: a Hann window has a zero at 2 / 66 from a frequency.
const PERIODS: f64 = 66.0;
/// Nepers below the loudest note of a song that are still told apart: 40 dB.
const DEPTH: f64 = 4.605;
/// The natural logarithm of the loudest that a song is taken to be at least, 80 dB below full scale: silence has no
/// notes.
const SILENT: f64 = -9.21;
/// Samples of a frame.
const FRAME: usize = 3840;

/// The tables.
pub struct Pitches {
    /// Samples from spectrum to spectrum.
    hop: usize,
    /// \[WINDOW, PITCHES\] each: windowed cosines and sines.
    transforms: [Tensor; 2],
}

impl Pitches {
    /// For `spectra` in each frame.
    pub fn new(spectra: usize, device: &Device) -> Result<Self> {
        let transform = |wave: fn(f64) -> f64| {
            let mut numbers = vec![0f32; WINDOW * PITCHES];
            for pitch in 0..PITCHES {
                let hertz = 440.0 * 2f64.powf((LOWEST + pitch as f64 - 69.0) / 12.0);
                let length = (PERIODS * 48_000.0 / hertz).min(WINDOW as f64);
                for n in 0..WINDOW {
                    let time = n as f64 + 0.5 - WINDOW as f64 / 2.0;
                    if time.abs() < length / 2.0 {
                        // A sine of full scale has magnitude 1.
                        let hann = (0.5 + 0.5 * (std::f64::consts::TAU * time / length).cos()) * 4.0 / length;
                        numbers[n * PITCHES + pitch] =
                            (hann * wave(std::f64::consts::TAU * hertz * time / 48_000.0)) as f32;
                    }
                }
            }
            Tensor::from_vec(numbers, (WINDOW, PITCHES), device)
        };
        Ok(Self { hop: FRAME / spectra, transforms: [transform(f64::cos)?, transform(f64::sin)?] })
    }

    /// How loud each semitone is: 1 is the loudest of the song, 0 is 40 dB less and below.
    ///
    /// # Shapes
    /// - `sound` \[channels, S\], whole frames; result \[spectra, PITCHES\]
    pub fn of(&self, sound: &Tensor) -> Result<Tensor> {
        let (channels, samples) = sound.dims2()?;
        let (spectra, pieces) = (samples / self.hop, WINDOW / self.hop);
        let edge = Tensor::zeros((channels, (WINDOW - self.hop) / 2), DType::F32, sound.device())?;
        let hops = Tensor::cat(&[&edge, sound, &edge], 1)?.reshape((channels, spectra + pieces - 1, self.hop))?;
        let shifted =
            (0..pieces).map(|piece| hops.narrow(1, piece, spectra)).collect::<candle_core::Result<Vec<_>>>()?;
        let windows = Tensor::cat(&shifted, 2)?.contiguous()?.reshape((channels * spectra, WINDOW))?;
        let [cosines, sines] = &self.transforms;
        let power = (windows.matmul(cosines)?.sqr()? + windows.matmul(sines)?.sqr()?)?;
        let level = ((power.reshape((channels, spectra, PITCHES))?.mean(0)? + 1e-13)?.log()? * 0.5)?;
        let loudest = level.flatten_all()?.max(0)?.maximum(SILENT)?;
        let below = level.broadcast_sub(&loudest)?;
        Ok(((below / DEPTH)? + 1.0)?.relu()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(hertz: f64) -> Vec<f32> {
        let samples = 8 * FRAME;
        let tone = (0..samples).map(|n| (0.3 * (std::f64::consts::TAU * hertz * n as f64 / 48_000.0).sin()) as f32);
        let sound = Tensor::from_vec(tone.collect(), (1, samples), &Device::Cpu).expect("a sound");
        let pitches = Pitches::new(2, &Device::Cpu).expect("tables").of(&sound).expect("spectra");
        assert_eq!(pitches.dims(), [16, PITCHES]);
        pitches.get(8).and_then(|spectrum| spectrum.to_vec1()).expect("a spectrum")
    }

    #[test]
    fn a_tone_sounds_at_its_own_semitone_most_and_hardly_two_further() {
        for midi in [55, 62, 69, 81, 93] {
            let spectrum = heard(440.0 * 2f64.powf((f64::from(midi) - 69.0) / 12.0));
            let place = midi as usize - LOWEST as usize;
            assert!((spectrum[place] - 1.0).abs() < 0.02, "{midi}: {spectrum:?}");
            // Where windows are too short for a semitone, a neighbour shows, too.
            let far = if midi < 67 { 4 } else { 2 };
            let elsewhere = spectrum.iter().enumerate().filter(|(other, _)| other.abs_diff(place) >= far);
            assert!(elsewhere.clone().all(|(_, level)| *level < 0.35), "{midi}: {spectrum:?}");
        }
    }

    #[test]
    fn a_tone_a_little_out_of_tune_is_heard_and_not_on_another_line() {
        for midi in [69.0, 81.0, 93.0] {
            for cents in [-20.0, 20.0] {
                let spectrum = heard(440.0 * 2f64.powf((midi + cents / 100.0 - 69.0) / 12.0));
                let loudest = spectrum
                    .iter()
                    .enumerate()
                    .fold(0, |best, (line, level)| if *level > spectrum[best] { line } else { best });
                assert_eq!(loudest, (midi - LOWEST) as usize, "{midi} and {cents} cents: {spectrum:?}");
            }
        }
    }

    #[test]
    fn silence_has_no_notes() {
        let sound = Tensor::zeros((2, 4 * FRAME), DType::F32, &Device::Cpu).expect("a sound");
        let pitches = Pitches::new(2, &Device::Cpu).expect("tables").of(&sound).expect("spectra");
        let numbers = pitches.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
        assert!(numbers.iter().all(|number| *number == 0.0));
    }
}
