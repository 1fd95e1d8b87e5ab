//! Initial weights of the autoencoder: a lapped transform that carries the lowest tones with their phases.
//!
//! A vocoder that repeats itself each latent frame can only make multiples of the frame rate, so a tone of any other
//! pitch needs latents that turn from frame to frame. No gradient finds that from random weights in an hour: spectra
//! tell it that a tone is too high or too low only once it is nearly right. But the vocoder's way from one transposed
//! convolution to the next is linear; only its residual units are not. So it can begin as a modified discrete cosine
//! transform (J. Princen and A. Bradley, 1986) with a sine window over two latent frames, and training goes on from
//! a sound whose lowest lines are right already.
//!
//! Some channels of each level, the carriers, hold samples of that sound at 4, 4, 4, 8, 24 and 48 kHz; what the other
//! channels add begins small.

use heartstream_models::heartcodec::HeartCodecConfig;

/// Latents of a channel that are no lines: for what is above the lines and the encoder finds by itself.
const FREE: usize = 16;
/// The first line that is carried, at 62.5 Hz: what is lower is no note.
const LOWEST: usize = 5;
/// Samples of a latent frame on the first three levels, at 4 kHz, and lines that there are.
const SLOW: usize = 160;
/// Output samples of one at 4 kHz.
const STEP: f64 = 12.0;
/// Samples at 4 kHz that the first two levels keep of the past, and those that the third has.
const PAST: usize = 8;
const SEEN: usize = 10;
/// Samples at 8 kHz that the last interpolation sees.
const FAST: usize = 4;
/// Where the two interpolations look, in their samples before now.
const SLOW_DELAY: f64 = 3.5;
const FAST_DELAY: f64 = 1.5;
/// The highest line, as shares of half of both rates.
const SLOW_BAND: f64 = 0.55;
const FAST_BAND: f64 = 0.3;
/// Taps of the box that smooths repeated samples at 48 kHz.
const BOX: usize = 4;
/// The slope of all activations while learning.
const SLOPE: f32 = 0.25;
/// Gain of the lowest and of the highest line into its latent. In songs of the corpus one line in a hundred is above
/// 0.55 (0.35 above 800 Hz), and half are below 0.007: loud ones shall use the nine steps that a latent has to either
/// side.
const GAINS: [f64; 2] = [2.0, 3.5];
/// What the lines begin with of the learnt encoder, and what channels beside the carriers add to them.
const SMALL: f32 = 0.0003;

/// The sizes that matter.
pub struct Lapped {
    lines: usize,
    latent: usize,
}

impl Lapped {
    /// For a codec that has the rates and enough channels for it.
    pub fn of(config: &HeartCodecConfig) -> Option<Self> {
        let channels: Vec<usize> =
            (0..=config.upsample_factors.len()).map(|level| config.vocoder_channels(level)).collect();
        let lines = config.latent_hidden_dim.checked_sub(FREE)?.min(SLOW / 2);
        let needed = [2 * lines, 32 + PAST, 8 + PAST, SEEN, FAST, 2];
        let fits = config.upsample_factors == [5, 4, 4, 4, 3]
            && config.num_samples == 2
            && (config.delay_kernel_size, config.default_kernel_size) == (5, 7)
            && channels.iter().zip(needed).all(|(channels, needed)| *channels >= needed);
        fits.then_some(Self { lines, latent: config.latent_hidden_dim })
    }

    /// How often a latent of a line becomes what the line is.
    fn gain(&self, line: usize) -> f64 {
        GAINS[0] * (GAINS[1] / GAINS[0]).powf(line as f64 / (self.lines - 1).max(1) as f64)
    }

    /// Line [`LOWEST`]` + line` at a place in samples at 4 kHz behind the beginning of its latent frame.
    fn wave(line: usize, place: f64) -> f64 {
        let window = (std::f64::consts::PI * (place + 0.5) / (2 * SLOW) as f64).sin().max(0.0);
        if !(-0.5..(2 * SLOW) as f64 - 0.5).contains(&place) {
            return 0.0;
        }
        let middle = (SLOW + 1) as f64 / 2.0;
        let turn = std::f64::consts::PI / SLOW as f64 * (place + middle) * ((LOWEST + line) as f64 + 0.5);
        window * turn.cos() * (2.0 / SLOW as f64).sqrt()
    }

    /// Gives the named tensor its first values where the transform says what they are.
    pub fn begin(&self, name: &str, shape: &[usize], numbers: &mut [f32]) {
        let decoder = name.strip_prefix("scalar_model.decoder.");
        let decoder = decoder.map(|name| name.strip_suffix(".parametrizations.weight.original1").unwrap_or(name));
        match (name, decoder) {
            ("encoder.lines.weight", _) => self.analysis(shape[1], numbers),
            ("encoder.leave.weight", _) => {
                let row = numbers.len() / self.latent;
                numbers[..self.lines * row].iter_mut().for_each(|number| *number *= SMALL);
            }
            (_, Some("0")) => self.first(shape, numbers),
            (_, Some("6.conv.weight")) => Self::smoothing(shape, numbers),
            (_, Some("7")) => Self::last(shape, numbers),
            (_, Some(decoder)) => match decoder.split_once('.') {
                Some((level, "up_conv.layer")) => self.up(level.parse().unwrap_or(0), shape, numbers),
                Some((level, unit)) if unit.ends_with("conv2") => {
                    let carriers = self.carriers(level.parse().unwrap_or(0));
                    let row = numbers.len() / shape[0];
                    numbers[..carriers * row].iter_mut().for_each(|number| *number *= SMALL);
                }
                _ => {}
            },
            _ => {}
        }
    }

    /// Carriers behind the first convolution and behind each of the five levels.
    fn carriers(&self, level: usize) -> usize {
        [2 * self.lines, 32 + PAST, 8 + PAST, SEEN, FAST, 1][level]
    }

    /// \[latent, 2 latent frames of samples\]: windowed cosines.
    fn analysis(&self, samples: usize, numbers: &mut [f32]) {
        // Interpolation and smoothing delay by this number of samples.
        let late = SLOW_DELAY * STEP + FAST_DELAY * 6.0 + (BOX as f64 - 1.0) / 2.0 + 0.5;
        for (line, row) in numbers.chunks_mut(samples).enumerate() {
            for (sample, number) in row.iter_mut().enumerate() {
                let place = (sample as f64 - late) / STEP;
                let free = *number * SMALL;
                *number =
                    if line < self.lines { (self.gain(line) * Self::wave(line, place) / STEP) as f32 } else { free };
            }
        }
    }

    /// \[channels, latent, 5\]: the lines of this latent frame and of the one before.
    fn first(&self, shape: &[usize], numbers: &mut [f32]) {
        let taps = shape[2];
        let row = shape[1] * taps;
        numbers[..2 * self.lines * row].fill(0.0);
        for line in 0..self.lines {
            let back = (1.0 / self.gain(line)) as f32;
            numbers[line * row + line * taps + taps / 2] = back;
            numbers[(self.lines + line) * row + line * taps + taps / 2 - 1] = back;
        }
    }

    /// \[in, out, 2 · stride\]: from one level's carriers to the next one's. The first half of the taps belongs to the
    /// input of the place, the second to the input before it.
    fn up(&self, level: usize, shape: &[usize], numbers: &mut [f32]) {
        let (outputs, taps) = (shape[1], shape[2]);
        let (from, to) = (self.carriers(level - 1), self.carriers(level));
        // What is no carrier hardly speaks to carriers; carriers speak to all others.
        for (input, filters) in numbers.chunks_mut(outputs * taps).enumerate() {
            let share = if input < from { 0.0 } else { SMALL };
            filters[..to * taps].iter_mut().for_each(|number| *number *= share);
        }
        let mut set = |input: usize, output: usize, tap: usize, value: f64| {
            numbers[(input * outputs + output) * taps + tap] = value as f32;
        };
        let factor = taps / 2;
        for place in 0..factor {
            for output in 0..to {
                match level {
                    // Samples of the lines of this frame, the one before and the one before that.
                    1 => {
                        let sample = (32 * place + output) as f64 - PAST as f64;
                        for line in 0..self.lines {
                            set(line, output, place, Self::wave(line, sample));
                            set(self.lines + line, output, place, Self::wave(line, sample + SLOW as f64));
                            let before_last = Self::wave(line, sample + (2 * SLOW) as f64);
                            set(self.lines + line, output, factor + place, before_last);
                        }
                    }
                    2 => set(8 * place + output, output, place, 1.0),
                    // From here on the newest is the first.
                    3 => set(PAST + 2 * place + 1 - output, output, place, 1.0),
                    4 => {
                        let late = SLOW_DELAY + 1.0 - (place as f64 - output as f64) / 2.0;
                        let filter = between(SEEN, late, SLOW_BAND).into_iter().enumerate();
                        filter.for_each(|(input, share)| set(input, output, place, share));
                    }
                    _ => {
                        let late = FAST_DELAY - place as f64 / 3.0;
                        let filter = between(FAST, late, FAST_BAND).into_iter().enumerate();
                        filter.for_each(|(input, share)| set(input, output, place, share));
                    }
                }
            }
        }
    }

    /// \[channels, channels, 7\]: the sound and its negative, smoothed, for an activation follows.
    fn smoothing(shape: &[usize], numbers: &mut [f32]) {
        let (inputs, taps) = (shape[1], shape[2]);
        for (output, sign) in [(0, 1.0), (1, -1.0)] {
            let row = &mut numbers[output * inputs * taps..][..inputs * taps];
            row.iter_mut().for_each(|number| *number *= SMALL);
            row[..taps].fill(0.0);
            row[taps - BOX..taps].fill(sign / BOX as f32);
        }
    }

    /// \[1, channels, 7\]: both halves of the sound together again.
    fn last(shape: &[usize], numbers: &mut [f32]) {
        let taps = shape[2];
        numbers.iter_mut().for_each(|number| *number *= SMALL);
        numbers[..2 * taps].fill(0.0);
        numbers[taps - 1] = 1.0 / (1.0 + SLOPE);
        numbers[2 * taps - 1] = -1.0 / (1.0 + SLOPE);
    }
}

/// The filter of `taps` samples, newest first, that gives the value `late` samples before the newest with the least
/// error for signals up to `band` of half the sample rate.
fn between(taps: usize, late: f64, band: f64) -> Vec<f64> {
    let sinc =
        |x: f64| if x.abs() < 1e-9 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
    let row = |j: usize| {
        let mut row: Vec<f64> = (0..taps).map(|k| sinc(band * (j as f64 - k as f64))).collect();
        row[j] += 1e-7;
        row.push(sinc(band * (j as f64 - late)));
        row
    };
    solved((0..taps).map(row).collect())
}

/// The solution of linear equations \[matrix | right side\] that are positive definite.
fn solved(mut rows: Vec<Vec<f64>>) -> Vec<f64> {
    let count = rows.len();
    for pivot in 0..count {
        let (done, rest) = rows.split_at_mut(pivot + 1);
        let lead = &done[pivot];
        for row in rest {
            let share = row[pivot] / lead[pivot];
            row.iter_mut().zip(lead).for_each(|(number, lead)| *number -= share * lead);
        }
    }
    let mut solution = vec![0.0; count];
    for place in (0..count).rev() {
        let known: f64 = (place + 1..count).map(|other| rows[place][other] * solution[other]).sum();
        solution[place] = (rows[place][count] - known) / rows[place][place];
    }
    solution
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};
    use heartstream_models::heartcodec::{Vocoder, expected_tensors_of_vocoder};

    use super::*;
    use crate::{
        encoder::{Encoder, expected, rounded},
        parameters::Parameters,
        sizes::Size,
    };

    #[test]
    fn an_autoencoder_that_has_learnt_nothing_gives_back_low_tones() {
        let config = Size::Demo.codec();
        let mut tensors = expected_tensors_of_vocoder(&config);
        tensors.extend(expected(&config, config.init_channel));
        let lapped = Lapped::of(&config).expect("channels enough");
        let device = Device::Cpu;
        let parameters = Parameters::beginning(&tensors, 7, &device, |name, shape, numbers| {
            lapped.begin(name, shape, numbers);
        })
        .expect("tensors");
        let store = parameters.frozen_shards();
        let encoder = Encoder::load(&config, &store, &device).expect("an encoder");
        let vocoder = Vocoder::load(&config, &store, &device).expect("a vocoder");
        let tones = [110.0, 261.63, 440.0, 622.25, 880.0];
        let samples = 12 * config.samples_per_latent();
        let sound: Vec<f32> = tones
            .iter()
            .flat_map(|tone| {
                (0..samples)
                    .map(move |n| 0.03 * (std::f64::consts::TAU * tone * f64::from(n as u32) / 48_000.0).sin() as f32)
            })
            .collect();
        let sound = Tensor::from_vec(sound, (tones.len(), samples), &device).expect("sound");
        let latents = encoder.forward(&sound).expect("latents");
        let ours = vocoder
            .forward_whole(&rounded(&latents).expect("ninths"))
            .expect("sound")
            .to_vec2::<f32>()
            .expect("numbers");
        let real = sound.to_vec2::<f32>().expect("numbers");
        for ((ours, real), tone) in ours.iter().zip(&real).zip(tones) {
            let middle = 3 * 1920..9 * 1920;
            let power = |values: &mut dyn Iterator<Item = f32>| values.map(|x| f64::from(x).powi(2)).sum::<f64>();
            let wrong = power(&mut ours[middle.clone()].iter().zip(&real[middle.clone()]).map(|(a, b)| a - b));
            let decibels = 10.0 * (power(&mut real[middle].iter().copied()) / wrong).log10();
            println!("{tone} Hz: {decibels:.1} dB");
            assert!(decibels > 10.0, "{tone} Hz: {decibels:.1} dB over what is wrong");
        }
    }
}
