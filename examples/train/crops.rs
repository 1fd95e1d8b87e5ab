//! Crops of songs that the autoencoder learns from, and which of their samples count.
//!
//! A song begins with a vocoder that remembers silence, and ends with one that sees nothing ahead. Within a song neither is
//! so, but a crop of it has no more: what a vocoder makes of the edge of a crop is judged only where the song has that
//! edge, too. Else it would learn to begin with a burst.

use std::ops::Range;

use crate::rng::Rng;

/// Share of the crops that begin with their song, and share of those that end with it.
const AT_AN_EDGE: f64 = 0.15;
/// Latents at a crop's beginning that are not judged: what the vocoder's convolutions look back on.
const BEFORE: usize = 4;
/// Latents at its end: what the first convolution looks ahead to.
const BEHIND: usize = 2;

/// A crop.
#[derive(Debug, Clone, PartialEq)]
pub struct Crop {
    /// Its first sample in the song.
    pub start: usize,
    /// Its samples that are judged.
    judged: Range<usize>,
    length: usize,
    /// Samples of a latent, over which judgement sets in.
    latent: usize,
}

impl Crop {
    /// Draws a crop of `latents` latents of `latent` samples from a song of `song` samples.
    pub fn draw(song: usize, latents: usize, latent: usize, rng: &mut Rng) -> Self {
        let length = latents * latent;
        let last = song.saturating_sub(length);
        let edge = rng.unit();
        let start = match edge {
            _ if edge < AT_AN_EDGE => 0,
            _ if edge < 2.0 * AT_AN_EDGE => last,
            _ => rng.below(last.max(1)),
        };
        let from = if start == 0 { 0 } else { BEFORE * latent };
        let to = if start >= last { length } else { length - BEHIND * latent };
        Self { start, judged: from..to, length, latent }
    }

    /// How much each sample counts, from 0 to 1: a straight line over a latent where judgement sets in or ends.
    pub fn weights(&self) -> impl Iterator<Item = f32> {
        let Range { start, end } = self.judged;
        let line = |samples: usize| (samples as f32 / self.latent as f32).min(1.0);
        (0..self.length).map(move |n| {
            let begun = if start == 0 { 1.0 } else { line(n.saturating_sub(start)) };
            let left = if end == self.length { 1.0 } else { line(end.saturating_sub(n)) };
            begun * left
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_is_judged_at_its_edges_where_they_are_the_songs() {
        let (mut begins, mut ends, mut within) = (0, 0, 0);
        for seed in 0..200 {
            let crop = Crop::draw(1000, 20, 10, &mut Rng::new(&[seed]));
            let weights: Vec<f32> = crop.weights().collect();
            assert_eq!(weights.len(), 200);
            assert!(crop.start <= 800 && weights[60..170].iter().all(|weight| *weight == 1.0));
            assert_eq!(weights[0] == 1.0, crop.start == 0);
            assert_eq!(weights[199] == 1.0, crop.start == 800);
            assert!(crop.start == 0 || weights[..40].iter().all(|weight| *weight == 0.0));
            assert!(crop.start == 800 || weights[180..].iter().all(|weight| *weight == 0.0));
            begins += usize::from(crop.start == 0);
            ends += usize::from(crop.start == 800);
            within += usize::from(crop.start > 0 && crop.start < 800);
        }
        assert!(begins > 15 && ends > 15 && within > 100, "{begins}, {ends} and {within}");
    }

    #[test]
    fn a_song_that_is_shorter_than_a_crop_is_judged_whole() {
        let crop = Crop::draw(90, 20, 10, &mut Rng::new(&[1]));
        assert!(crop.start == 0 && crop.weights().all(|weight| weight == 1.0));
    }
}
