//! Keyed noise: every random number is a function of a key and a place, never of a stream.
//!
//! Every random number of a song is a pure function of the seed and of the place it is used at. So a song does not
//! depend on threads, on the order of work, on a segment done twice, or on whether its codes were drafted first.
//! The generator is Philox4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! SC 2011, <https://doi.org/10.1145/2063384.2063405>.

use std::f64::consts::TAU;

/// Multipliers of a Philox4x32 round (the paper's table 2).
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What the key grows by each round: the golden ratio and the square root of 3, less 1 (the paper's section 3).
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
/// Rounds; the paper's recommended count.
const ROUNDS: u32 = 10;

/// What a random number is for. Numbers of different domains at the same place are independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Domain {
    /// Sampling of codes, by the language model and by drafters.
    Codes = 0,
    /// The noise that flow matching starts from.
    Flow = 4,
    /// Dither of samples that are rounded to 16 bits: the first number behind those that drafting (1 to 3) and flow
    /// matching use.
    Dither = 5,
    /// Keys of further attempts at a song.
    Attempt = 6,
}

/// The random numbers of one song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedNoise {
    key: [u32; 2],
}

impl KeyedNoise {
    /// The random numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { key: [seed as u32, (seed >> 32) as u32] }
    }

    /// The noise of attempt `attempt` at the same song: it has a key of its own, drawn with the song's. Attempt 0 is
    /// the song itself.
    #[must_use]
    pub fn attempt(&self, attempt: u32) -> Self {
        if attempt == 0 {
            return *self;
        }
        let [low, high, ..] = self.block(u64::from(attempt), 0, 0, Domain::Attempt);
        Self { key: [low, high] }
    }

    /// The key of the generator, for one on another device.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// A number in (0, 1), never 0 and never 1; the same place as of [`KeyedNoise::gumbel`].
    pub fn uniform(&self, frame: u64, codebook: u32, token: u32) -> f64 {
        open_unit(self.block(frame, codebook, token >> 2, Domain::Codes)[(token & 3) as usize])
    }

    /// Numbers of `place` that are drawn one after the other.
    pub fn draws(self, place: u64) -> Draws {
        Draws { noise: self, place, drawn: 0 }
    }

    /// A Gumbel variate for sampling `token` as code `codebook` of `frame`: the token with the largest
    /// `logit + gumbel` is a sample of the softmax of the logits.
    pub fn gumbel(&self, frame: u64, codebook: u32, token: u32) -> f64 {
        // ln_1p keeps precision where the winners are, at small numbers.
        -(-(-self.uniform(frame, codebook, token)).ln_1p()).ln()
    }

    /// The standard normal noise of one latent frame: `out[c]` belongs to channel `c`.
    ///
    /// `latent` is the absolute index in the song, so windows that overlap start from the same noise there.
    pub fn fill_latent(&self, latent: u64, out: &mut [f32]) {
        for (block, four) in out.chunks_mut(4).enumerate() {
            let lanes = self.block(latent, 0, block as u32, Domain::Flow);
            // Box-Muller: two uniform numbers make two normal ones.
            for (pair, two) in four.chunks_mut(2).enumerate() {
                let radius = (-2.0 * open_unit(lanes[2 * pair]).ln()).sqrt();
                let angle = TAU * open_unit(lanes[2 * pair + 1]);
                two[0] = (radius * angle.cos()) as f32;
                if let Some(second) = two.get_mut(1) {
                    *second = (radius * angle.sin()) as f32;
                }
            }
        }
    }

    /// The standard normal noise of latent frames in a row, from `first` on, `channels` numbers each. Latents before
    /// the song have the places below 0, which are counted down from the largest.
    pub fn fill_latents(&self, first: u64, channels: usize, out: &mut [f32]) {
        for (offset, row) in out.chunks_mut(channels.max(1)).enumerate() {
            self.fill_latent(first.wrapping_add(offset as u64), row);
        }
    }

    /// The dither of one sample frame of sound: `out[c]` belongs to channel `c`, and is between -1 and 1 steps of the
    /// rounding it is added before.
    ///
    /// Each is the difference of two uniform numbers, so its density is a triangle. Such dither leaves neither the mean
    /// nor the power of the rounding error dependent on the signal: Lipshitz, Wannamaker and Vanderkooy, "Quantization
    /// and Dither: A Theoretical Survey", JAES 40 (5), 1992.
    pub fn fill_dither(&self, sample: u64, out: &mut [f64]) {
        for (pair, two) in out.chunks_mut(2).enumerate() {
            let lanes = self.block(sample, 0, pair as u32, Domain::Dither);
            for (channel, lanes) in two.iter_mut().zip(lanes.chunks(2)) {
                *channel = open_unit(lanes[0]) - open_unit(lanes[1]);
            }
        }
    }

    /// Four random words for a place. The frame's high half shares a word with the domain: a song has less than
    /// 2^32 frames (ten years), so nothing is lost. Of samples there are at most 2^56, for which the word has room too.
    fn block(&self, frame: u64, codebook: u32, group: u32, domain: Domain) -> [u32; 4] {
        philox4x32_10([frame as u32, codebook, group, domain as u32 ^ ((frame >> 32) as u32) << 8], self.key)
    }
}

/// Numbers of one place of a [`KeyedNoise`], drawn one after the other, for choices that no song depends on.
#[derive(Debug, Clone)]
pub struct Draws {
    noise: KeyedNoise,
    place: u64,
    drawn: u32,
}

impl Draws {
    /// A number in (0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.drawn += 1;
        1.0 - self.noise.uniform(self.place, 0, self.drawn)
    }

    /// A whole number below `count`, which is at least 1.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.uniform() * count as f64) as usize).min(count - 1)
    }
}

/// A number in (0, 1), never 0 and never 1.
fn open_unit(word: u32) -> f64 {
    (f64::from(word) + 0.5) * (1.0 / 4_294_967_296.0)
}

/// Philox4x32 with ten rounds.
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..ROUNDS {
        if round > 0 {
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        let left = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let right = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_known_answers_of_its_authors() {
        // The three vectors of kat_vectors in the authors' Random123 distribution.
        assert_eq!(philox4x32_10([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32_10([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32_10([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn gumbel_noise_is_finite_and_has_the_mean_and_spread_of_its_distribution() {
        let noise = KeyedNoise::new(7);
        let draws: Vec<f64> = (0..40_000).map(|i| noise.gumbel(i / 8, (i % 8) as u32, i as u32 % 8197)).collect();
        assert!(draws.iter().all(|g| g.is_finite()));
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!((mean - 0.5772).abs() < 0.03, "mean {mean}, expected Euler's constant");
        assert!((variance - 1.6449).abs() < 0.08, "variance {variance}, expected pi^2 / 6");
    }

    #[test]
    fn latent_noise_is_normal_and_belongs_to_its_place() {
        let noise = KeyedNoise::new(u64::MAX);
        let mut rows = vec![[0f32; 254]; 200];
        for (latent, row) in rows.iter_mut().enumerate() {
            noise.fill_latent(latent as u64, row);
        }
        let all: Vec<f64> = rows.iter().flatten().map(|x| f64::from(*x)).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "mean {mean}, variance {variance}");
        let mut again = [0f32; 254];
        noise.fill_latent(150, &mut again);
        assert_eq!(again, rows[150]);
        assert_ne!(rows[149], rows[150]);
    }

    #[test]
    fn dither_is_triangular_independent_between_channels_and_belongs_to_its_place() {
        let noise = KeyedNoise::new(11);
        let pairs: Vec<[f64; 2]> = (0..40_000)
            .map(|sample| {
                let mut pair = [0.0; 2];
                noise.fill_dither(sample, &mut pair);
                pair
            })
            .collect();
        assert!(pairs.iter().flatten().all(|d| d.abs() < 1.0));
        let mean = |of: &dyn Fn(&[f64; 2]) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
        for channel in 0..2 {
            assert!(mean(&|pair| pair[channel]).abs() < 0.01);
            // A triangle from -1 to 1 has variance 1/6, and a quarter of it lies beyond one half.
            assert!((mean(&|pair| pair[channel].powi(2)) - 1.0 / 6.0).abs() < 0.005);
            assert!((mean(&|pair| f64::from(pair[channel].abs() > 0.5)) - 0.25).abs() < 0.01);
        }
        assert!(mean(&|pair| pair[0] * pair[1]).abs() < 0.005);
        let (mut again, mut high) = ([0.0; 2], [0.0; 2]);
        noise.fill_dither(123, &mut again);
        noise.fill_dither(123 + (1 << 32), &mut high);
        assert_eq!(again, pairs[123]);
        assert_ne!(again, high, "a place is more than its low half");
    }

    #[test]
    fn each_attempt_at_each_song_has_noise_of_its_own_and_the_first_attempt_is_the_song() {
        let keys: std::collections::BTreeSet<[u32; 2]> =
            (0..100).flat_map(|seed| (0..9).map(move |attempt| KeyedNoise::new(seed).attempt(attempt).key)).collect();
        assert_eq!(keys.len(), 900);
        assert_eq!(KeyedNoise::new(7).attempt(0), KeyedNoise::new(7));
    }

    #[test]
    fn a_shorter_row_is_the_beginning_of_a_longer_one() {
        let noise = KeyedNoise::new(3);
        let (mut short, mut long) = ([0f32; 7], [0f32; 12]);
        noise.fill_latent(5, &mut short);
        noise.fill_latent(5, &mut long);
        assert_eq!(short[..], long[..7]);
    }
}
