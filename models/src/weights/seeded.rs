//! Seeded weights without a file: any number of a tensor from a seed and its place.

use std::{fmt, sync::Arc};

use super::Expected;

/// A checkpoint whose configs are made in memory and whose tensors are computed when they are read.
pub trait SeededCheckpoint: fmt::Debug + Send + Sync {
    /// What to call it in messages.
    fn name(&self) -> &str;

    /// The bytes of a config or of the tokenizer; `None` when there is no such file.
    fn file(&self, path: &str) -> Option<Arc<[u8]>>;

    /// The tensors of the folder `part`, with their numbers.
    fn tensors(&self, part: &str) -> Vec<(Expected, SeededNumbers)>;
}

/// The numbers of one tensor: each a pure function of its place, so that they can be read in any order, in pieces, and
/// on several threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeededNumbers {
    distribution: Distribution,
    silent: Option<Silent>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Distribution {
    Constant(f32),
    /// Uniform with this largest value; the key tells tensors apart.
    Uniform {
        key: u32,
        most: f32,
    },
}

/// In each `period` numbers those from `from` on are 0.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Silent {
    period: usize,
    from: usize,
}

// The golden ratio as a 32-bit step, and a 32-bit mixing function of two multiplications that was found by searching
// for the least bias (`lowbias32` of <https://nullprogram.com/blog/2018/07/31/>). Philox, the generator of a song's
// noise, is four times slower, and weights of the published size are 5.6 billion numbers.
const STEP: u32 = 0x9E37_79B9;
const MIX: [u32; 2] = [0x21F0_AAAD, 0x735A_2D97];

fn mixed(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(MIX[0]);
    x = (x ^ (x >> 15)).wrapping_mul(MIX[1]);
    x ^ (x >> 15)
}

impl SeededNumbers {
    /// A tensor of one number.
    pub fn constant(number: f32) -> Self {
        Self { distribution: Distribution::Constant(number), silent: None }
    }

    /// Numbers with mean 0 and this standard deviation, uniformly distributed, of the tensor `name`.
    pub fn uniform(seed: u64, name: &str, deviation: f32) -> Self {
        let mut key = mixed(seed as u32) ^ mixed((seed >> 32) as u32 ^ STEP);
        name.bytes().for_each(|byte| key = mixed(key ^ u32::from(byte)));
        Self { distribution: Distribution::Uniform { key, most: deviation * 3f32.sqrt() }, silent: None }
    }

    /// The same, but 0 from place `from` on in each `period` numbers.
    #[must_use]
    pub fn silent_from(self, from: usize, period: usize) -> Self {
        Self { silent: Some(Silent { period, from }), ..self }
    }

    /// Writes the numbers from place `first` on.
    pub fn fill(&self, first: usize, to: &mut [f32]) {
        match self.distribution {
            Distribution::Constant(number) => to.fill(number),
            Distribution::Uniform { key, most } => {
                // The places of a tensor wrap after 2³² numbers, which no published tensor has a tenth of.
                let start = key.wrapping_add((first as u32).wrapping_mul(STEP));
                let scale = most / 2f32.powi(31);
                for (place, to) in (0u32..).zip(to.iter_mut()) {
                    *to = mixed(start.wrapping_add(place.wrapping_mul(STEP))) as i32 as f32 * scale;
                }
            }
        }
        if let Some(Silent { period, from }) = self.silent {
            let mut place = 0;
            while place < to.len() {
                let inside = (first + place) % period;
                let end = (place + period - inside).min(to.len());
                let start = (place + from.saturating_sub(inside)).min(end);
                to[start..end].fill(0.0);
                place = end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_same_in_whatever_pieces_they_are_read() {
        let numbers = SeededNumbers::uniform(5, "a", 0.3).silent_from(7, 10);
        let mut whole = vec![0f32; 1000];
        numbers.fill(0, &mut whole);
        for (start, end) in [(0, 1), (3, 9), (7, 8), (5, 38), (999, 1000), (0, 0), (10, 990)] {
            let mut part = vec![1f32; end - start];
            numbers.fill(start, &mut part);
            assert_eq!(part, whole[start..end], "{start}..{end}");
        }
        assert!(whole.iter().enumerate().all(|(place, number)| (place % 10 >= 7) == (*number == 0.0)));
    }

    #[test]
    fn numbers_have_the_deviation_asked_for_and_neighbours_and_tensors_are_independent() {
        let read = |name| {
            let mut numbers = vec![0f32; 1 << 16];
            SeededNumbers::uniform(1, name, 0.5).fill(1 << 20, &mut numbers);
            numbers
        };
        let (a, b) = (read("layers.0.a"), read("layers.1.a"));
        let mean = |products: &mut dyn Iterator<Item = f32>| products.map(f64::from).sum::<f64>() / a.len() as f64;
        assert!(mean(&mut a.iter().copied()).abs() < 0.01);
        assert!((mean(&mut a.iter().map(|x| x * x)) - 0.25).abs() < 0.005);
        for lag in [1, 2, 3, 16, 3072] {
            assert!(mean(&mut a.iter().zip(&a[lag..]).map(|(x, y)| x * y)).abs() < 0.005, "lag {lag}");
        }
        assert!(mean(&mut a.iter().zip(&b).map(|(x, y)| x * y)).abs() < 0.005);
    }
}
