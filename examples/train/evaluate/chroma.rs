//! Chromagrams: the energy of each pitch class over time, and how well it keeps to a scale.

use candle_core::{Device, Tensor};

use crate::error::Result;

/// Samples of a window at 48 kHz, 85 ms: two lines 12 Hz apart can be told from each other.
pub const WINDOW: usize = 4096;
/// Samples from one window to the next, 40 ms: half a frame, so that codes that come again give the same windows again.
pub const HOP: usize = 1920;
/// Windows a second.
pub const RATE: f64 = 48_000.0 / HOP as f64;
/// Lines between these are counted, in hertz: higher ones are overtones, lower ones are not told apart.
const NOTES: std::ops::Range<f64> = 250.0..2000.0;

/// The energies of the pitch classes in one window, C first.
pub type Classes = [f64; 12];

/// The lines of the transform that are counted, and the pitch class of each.
fn lines() -> impl Iterator<Item = (usize, usize)> {
    (0..=WINDOW / 2).filter_map(|line| {
        let hertz = line as f64 * 48_000.0 / WINDOW as f64;
        let pitch = (69.0 + 12.0 * (hertz / 440.0).log2()).round() as i64;
        NOTES.contains(&hertz).then_some((line, pitch.rem_euclid(12) as usize))
    })
}

/// The chromagram of one channel; none of a sound that is shorter than a window.
///
/// # Errors
/// When there is no memory for it.
pub fn chroma(sound: &[f32]) -> Result<Vec<Classes>> {
    let Some(windows) = sound.len().checked_sub(WINDOW).map(|behind| behind / HOP + 1) else {
        return Ok(Vec::new());
    };
    let lines: Vec<(usize, usize)> = lines().collect();
    let turn = std::f64::consts::TAU / WINDOW as f64;
    let table = |wave: fn(f64) -> f64| {
        let mut numbers = Vec::with_capacity(WINDOW * lines.len());
        for n in 0..WINDOW {
            // Periodic Hann; a sine of full scale has magnitude 1.
            let hann = (0.5 - 0.5 * (turn * n as f64).cos()) * 4.0 / WINDOW as f64;
            numbers.extend(lines.iter().map(|(line, _)| (hann * wave(turn * ((line * n) % WINDOW) as f64)) as f32));
        }
        Tensor::from_vec(numbers, (WINDOW, lines.len()), &Device::Cpu)
    };
    let [cosines, sines] = [table(f64::cos)?, table(f64::sin)?];
    let mut all = Vec::with_capacity(windows);
    // Some at a time: windows overlap, and laid side by side they are twice the sound.
    for first in (0..windows).step_by(512) {
        let some = first..windows.min(first + 512);
        let laid: Vec<f32> = some.clone().flat_map(|place| sound[place * HOP..][..WINDOW].iter().copied()).collect();
        let laid = Tensor::from_vec(laid, (some.len(), WINDOW), &Device::Cpu)?;
        let power = (laid.matmul(&cosines)?.sqr()? + laid.matmul(&sines)?.sqr()?)?;
        all.extend(power.to_vec2::<f32>()?.iter().map(|power| {
            let mut classes = Classes::default();
            for (power, (_, class)) in power.iter().zip(&lines) {
                classes[*class] += f64::from(*power);
            }
            classes
        }));
    }
    Ok(all)
}

/// The share of the energy on the notes of the best-fitting major scale, which are those of a minor scale, too.
///
/// # Errors
/// As [`chroma`].
pub fn share_in_scale(sound: &[f32]) -> Result<f64> {
    let mut sum = Classes::default();
    for classes in chroma(sound)? {
        sum.iter_mut().zip(classes).for_each(|(sum, energy)| *sum += energy);
    }
    let total: f64 = sum.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let in_scale = |tonic: usize| [0, 2, 4, 5, 7, 9, 11].iter().map(|step| sum[(tonic + step) % 12]).sum::<f64>();
    Ok((0..12).map(in_scale).fold(0.0, f64::max) / total)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Notes one after the other, each a decaying tone with overtones: MIDI pitch and seconds; 0 is silence.
    pub fn played(notes: &[(u8, f64)]) -> Vec<f32> {
        let mut sound = Vec::new();
        for (pitch, seconds) in notes {
            let hertz = 440.0 * 2f64.powf((f64::from(*pitch) - 69.0) / 12.0);
            let level = if *pitch == 0 { 0.0 } else { 0.2 };
            sound.extend((0..(seconds * 48_000.0) as usize).map(|n| {
                let time = n as f64 / 48_000.0;
                let wave = |harmonic: f64| (std::f64::consts::TAU * hertz * harmonic * time).sin() / harmonic.powi(2);
                let begin = (time / 0.005).min(1.0);
                (level * begin * (-1.5 * time).exp() * (wave(1.0) + wave(2.0) + wave(3.0))) as f32
            }));
        }
        sound
    }

    #[test]
    fn a_note_has_its_energy_on_its_pitch_class_and_a_scale_on_its_notes() {
        // A line of the transform is 12 Hz wide, and a semitone is 17 Hz at the first of these pitches.
        for (pitch, least) in [(62, 0.6), (69, 0.8), (81, 0.8)] {
            let classes = chroma(&played(&[(pitch, 1.0)])).expect("memory")[5];
            let share = classes[usize::from(pitch % 12)] / classes.iter().sum::<f64>();
            assert!(share > least, "pitch {pitch}: {classes:?}");
        }
        let scale: Vec<(u8, f64)> = [60, 62, 64, 65, 67, 69, 71, 72].map(|pitch| (pitch + 12, 0.4)).to_vec();
        assert!(share_in_scale(&played(&scale)).expect("memory") > 0.9);
        let every: Vec<(u8, f64)> = (60..72).map(|pitch| (pitch + 12, 0.4)).collect();
        assert!(share_in_scale(&played(&every)).expect("memory") < 0.75);
        assert!(chroma(&[0.0; WINDOW - 1]).expect("memory").is_empty());
    }
}
