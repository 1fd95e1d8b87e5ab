//! Cross-fade of chained windows: a window's latents replace the look-ahead of the window before.
//!
//! The first latents behind in-context latents are some 1.5 dB too loud, for about a quarter of a second (measured on
//! the demo model, `docs/decisions/016-beginnings-and-ends.md`). So both windows are cross-faded, latent by latent,
//! over the first half of the look-ahead: there the window before still has codes enough behind it. Both start from the
//! same noise, so they nearly agree.

use std::ops::Range;

/// The part of the look-ahead that is faded over; what is behind it has too few codes behind itself.
const FADED_PART: usize = 2;

/// Joins windows of latents that come one after the other.
#[derive(Debug)]
pub struct LatentJoin {
    /// Numbers of a latent.
    width: usize,
    /// The previous window's latents under the cross-fade.
    fading: Vec<f32>,
}

impl LatentJoin {
    /// Before the first window of latents of `width` numbers.
    pub fn new(width: usize) -> Self {
        Self { width: width.max(1), fading: Vec::new() }
    }

    /// Takes the next window, of which `known` latents are the window's before and the last `look_ahead` are not
    /// played; fades it in, and says which of its numbers are played.
    pub fn join(&mut self, latents: &mut [f32], known: usize, look_ahead: usize) -> Range<usize> {
        let played = known * self.width..latents.len().saturating_sub(look_ahead * self.width);
        let count = self.fading.len() / self.width;
        let new = latents.iter_mut().skip(played.start);
        for (place, (new, old)) in new.zip(&self.fading).enumerate() {
            let weight = (place / self.width + 1) as f64 / (count + 1) as f64;
            *new = (f64::from(*old) * (1.0 - weight) + f64::from(*new) * weight) as f32;
        }
        self.fading.clear();
        self.fading.extend(latents.iter().skip(played.end).take(look_ahead / FADED_PART * self.width));
        played
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_comes_in_over_the_first_half_of_the_look_ahead_of_the_one_before() {
        let mut join = LatentJoin::new(2);
        let mut first = vec![1.0; 2 * 10];
        assert_eq!(join.join(&mut first, 0, 6), 0..8);
        assert_eq!(first, vec![1.0; 20], "nothing is faded before the first window");
        let mut second = vec![0.0; 2 * 12];
        assert_eq!(join.join(&mut second, 2, 0), 4..24);
        let expected = [0.0, 0.0, 0.0, 0.0, 0.75, 0.75, 0.5, 0.5, 0.25, 0.25];
        assert_eq!(second[..10], expected);
        assert!(second[10..].iter().all(|latent| *latent == 0.0));
    }

    #[test]
    fn windows_that_agree_and_windows_without_a_look_ahead_stay_as_they_are() {
        let latents: Vec<f32> = (0..40).map(|place| place as f32).collect();
        for look_ahead in [0, 1, 8] {
            let mut join = LatentJoin::new(1);
            let (mut first, mut second) = (latents[..20].to_vec(), latents[10 - look_ahead..40].to_vec());
            join.join(&mut first, 0, look_ahead);
            assert_eq!(join.join(&mut second, 10, 0), 10..30 + look_ahead);
            assert_eq!(second, latents[10 - look_ahead..40], "look-ahead {look_ahead}");
        }
    }
}
