//! Sample formats of a file: as the vocoder made it, or rounded to 24 or 16 bits.

use std::fmt;

use heartstream_messages::{
    PcmBlock,
    units::{CHANNELS, SampleIndex},
};
use heartstream_models::signal::KeyedNoise;

/// The form of samples in a WAV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SampleFormat {
    /// 32-bit floats: what the vocoder makes, untouched.
    #[default]
    F32,
    /// 24-bit integers: rounded to the nearest. A step is 138 dB below full scale.
    S24,
    /// 16-bit integers: rounded with dither, so that quiet music fades into noise and not into distortion.
    S16,
}

impl SampleFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::F32, Self::S24, Self::S16];

    /// Its name on the command line and in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::S24 => "s24",
            Self::S16 => "s16",
        }
    }

    /// Bits of a sample; always whole bytes.
    pub const fn bits(self) -> u16 {
        match self {
            Self::F32 => 32,
            Self::S24 => 24,
            Self::S16 => 16,
        }
    }

    /// Bytes of one sample frame: a sample of each channel.
    pub const fn bytes_per_sample_frame(self) -> u64 {
        (self.bits() / 8) as u64 * CHANNELS as u64
    }

    /// Appends the bytes of `block` to `bytes`.
    ///
    /// `noise` gives the dither. It is keyed by a sample's place in the song, so the same song has the same bytes
    /// however it is cut into blocks.
    pub fn encode(self, block: &PcmBlock, noise: &KeyedNoise, bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => bytes.extend(block.samples.iter().flat_map(|sample| sample.to_le_bytes())),
            Self::S24 => {
                let rounded = block.samples.iter().map(|sample| rounded(*sample, 24, 0.0));
                bytes.extend(rounded.flat_map(|step| {
                    let [low, middle, high, _] = step.to_le_bytes();
                    [low, middle, high]
                }));
            }
            Self::S16 => {
                let SampleIndex(start) = block.start;
                let mut dither = [0.0; CHANNELS];
                for (frame, samples) in (start..).zip(block.samples.chunks(CHANNELS)) {
                    noise.fill_dither(frame, &mut dither);
                    for (sample, dither) in samples.iter().zip(dither) {
                        // Within 16 bits, because that is where `rounded` clamps.
                        bytes.extend((rounded(*sample, 16, dither) as i16).to_le_bytes());
                    }
                }
            }
        }
    }
}

/// The step of `bits`-bit integers that is nearest to `sample` plus `dither` steps.
///
/// Full scale is 2^(bits-1) steps, by which players divide; +1.0 itself is one step more than there is and becomes the
/// highest step, like everything above it. What is not a number is silence.
fn rounded(sample: f32, bits: u32, dither: f64) -> i32 {
    let full_scale = f64::from(1u32 << (bits - 1));
    // Exact: a double has room for a float's 24 bits and the scale is a power of two.
    let step = (f64::from(sample) * full_scale + dither).round();
    step.clamp(-full_scale, full_scale - 1.0) as i32
}

impl fmt::Display for SampleFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn encoded(format: SampleFormat, seed: u64, start: u64, samples: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let block = PcmBlock { start: SampleIndex(start), samples: samples.to_vec() };
        format.encode(&block, &KeyedNoise::new(seed), &mut bytes);
        bytes
    }

    fn s16(seed: u64, samples: &[f32]) -> Vec<i16> {
        let bytes = encoded(SampleFormat::S16, seed, 0, samples);
        bytes.chunks(2).map(|two| i16::from_le_bytes([two[0], two[1]])).collect()
    }

    #[test]
    fn floats_keep_every_bit_and_integers_have_the_length_they_say() {
        let samples = [0.1, -0.0, f32::MIN_POSITIVE, 1.5, f32::NAN, -1e-40];
        let bytes = encoded(SampleFormat::F32, 1, 0, &samples);
        let back: Vec<u32> = bytes.chunks(4).map(|x| u32::from_le_bytes([x[0], x[1], x[2], x[3]])).collect();
        assert_eq!(back, samples.map(f32::to_bits));
        for format in SampleFormat::ALL {
            assert_eq!(encoded(format, 1, 0, &samples).len() as u64, 3 * format.bytes_per_sample_frame());
        }
    }

    #[test]
    fn twenty_four_bits_are_rounded_to_the_nearest_and_clamped() {
        let step = 1.0 / 8_388_608.0;
        let cases: [(f32, i32); 9] = [
            (0.0, 0),
            (0.4 * step, 0),
            (0.6 * step, 1),
            (-0.6 * step, -1),
            (1.0, 8_388_607),
            (-1.0, -8_388_608),
            (7.0, 8_388_607),
            (f32::NEG_INFINITY, -8_388_608),
            (f32::NAN, 0),
        ];
        for (sample, step) in cases {
            assert_eq!(rounded(sample, 24, 0.0), step, "{sample}");
            assert_eq!(encoded(SampleFormat::S24, 1, 0, &[sample]), step.to_le_bytes()[..3]);
        }
    }

    #[test]
    fn dithered_silence_is_at_most_one_step_loud_and_full_scale_does_not_overflow() {
        assert!(s16(3, &[0.0; 20_000]).iter().all(|step| step.abs() <= 1));
        assert!(s16(3, &[1.0; 20_000]).iter().all(|step| *step >= 32_766), "+1.0 stays at the top");
        assert!(s16(3, &[-1.0; 20_000]).iter().all(|step| *step <= -32_767), "-1.0 stays at the bottom");
        assert!(s16(3, &[f32::INFINITY, 1e30]).iter().all(|step| *step == i16::MAX));
        assert!(s16(3, &[f32::NAN; 100]).iter().all(|step| *step == 0));
    }

    #[test]
    fn dither_keeps_the_mean_of_levels_between_two_steps_and_its_power_does_not_follow_them() {
        for tenths in 0..10 {
            let level = 100.0 + f64::from(tenths) / 10.0;
            let steps = s16(5, &vec![(level / 32_768.0) as f32; 40_000]);
            let errors: Vec<f64> = steps.iter().map(|step| f64::from(*step) - level).collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let power = errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64;
            assert!(mean.abs() < 0.012, "level {level}: mean error {mean}");
            // A quarter of a step squared, whatever the level: 1/12 of the rounding and 1/6 of the dither.
            assert!((power - 0.25).abs() < 0.01, "level {level}: error power {power}");
        }
    }

    /// The amplitude of `signal` at `cycles` whole cycles over its length.
    fn amplitude(signal: &[f64], cycles: f64) -> f64 {
        let turn = TAU * cycles / signal.len() as f64;
        let (sine, cosine) = signal.iter().enumerate().fold((0.0, 0.0), |(sine, cosine), (place, x)| {
            let angle = turn * place as f64;
            (sine + x * angle.sin(), cosine + x * angle.cos())
        });
        2.0 * f64::hypot(sine, cosine) / signal.len() as f64
    }

    #[test]
    fn a_tone_of_a_few_steps_keeps_its_level_and_gets_no_harmonics() {
        const LENGTH: usize = 48_000;
        const CYCLES: f64 = 331.0;
        for level in [0.4, 1.3] {
            let tone = |place: usize| level * (TAU * CYCLES * place as f64 / LENGTH as f64).sin();
            let stereo: Vec<f32> = (0..LENGTH).flat_map(|place| [(tone(place) / 32_768.0) as f32; 2]).collect();
            let left: Vec<f64> = s16(9, &stereo).chunks(2).map(|pair| f64::from(pair[0])).collect();
            assert!((amplitude(&left, CYCLES) - level).abs() < 0.02, "the tone itself at {level} steps");
            // White noise of power 1/4 has amplitude 2 sqrt(1/4 / 48,000) = 0.005 at each frequency, on average.
            let harmonics =
                |signal: &[f64]| (2..12).map(|order| amplitude(signal, CYCLES * f64::from(order))).fold(0.0, f64::max);
            assert!(harmonics(&left) < 0.02, "harmonics {} of {level} steps", harmonics(&left));
            // The measure does see what dither is there to prevent.
            let plain: Vec<f64> = (0..LENGTH).map(|place| tone(place).round()).collect();
            let lost = amplitude(&plain, CYCLES) == 0.0;
            assert!(lost || harmonics(&plain) > 0.1, "plain rounding of {level} steps should distort");
        }
    }

    #[test]
    fn the_error_of_dithered_rounding_is_white() {
        let ramp: Vec<f32> = (0..80_000).map(|place| (place / 2) as f32 / 40_000.0 * 0.01).collect();
        let steps = s16(2, &ramp);
        let errors: Vec<f64> =
            steps.iter().zip(&ramp).map(|(step, x)| f64::from(*step) - f64::from(*x) * 32_768.0).collect();
        let power = errors.iter().map(|error| error * error).sum::<f64>();
        for lag in 1..20 {
            let product: f64 = errors.iter().zip(&errors[lag..]).map(|(now, later)| now * later).sum();
            // Four deviations of the estimate, 1 / sqrt(80,000) each.
            assert!((product / power).abs() < 0.015, "lag {lag}: correlation {}", product / power);
        }
    }

    #[test]
    fn bytes_do_not_depend_on_how_the_song_is_cut_but_on_its_seed() {
        let samples: Vec<f32> = (0..4_000).map(|place| (place as f32 * 0.01).sin() * 0.3).collect();
        for format in SampleFormat::ALL {
            let whole = encoded(format, 8, 0, &samples);
            let (first, rest) = samples.split_at(2 * 701);
            let pieces = [encoded(format, 8, 0, first), encoded(format, 8, 701, rest)].concat();
            assert_eq!(whole, pieces, "{format}");
        }
        assert_ne!(encoded(SampleFormat::S16, 8, 0, &samples), encoded(SampleFormat::S16, 9, 0, &samples));
    }
}
