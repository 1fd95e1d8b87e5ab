//! How do decoded windows become one piece of music? By a linear cross-fade over what they share.

use crate::error::{ModelError, Result};

/// Joins overlapping windows of stereo audio, keeping back only the part that the next window will change.
#[derive(Debug)]
pub struct OverlapAdd {
    /// Samples of one channel that neighbouring windows share.
    overlap: usize,
    /// The end of the window before, one vector for each channel: not yet given out, empty before the first window.
    tail: [Vec<f32>; 2],
}

impl OverlapAdd {
    /// A join over `overlap` samples of each channel.
    pub fn new(overlap: usize) -> Self {
        Self { overlap, tail: [Vec::new(), Vec::new()] }
    }

    /// Takes the next window, left and right, and gives out, interleaved, what no later window will change.
    ///
    /// # Errors
    /// When the channels differ in length or the window is shorter than the overlap.
    pub fn push(&mut self, left: &[f32], right: &[f32]) -> Result<Vec<f32>> {
        let (length, overlap) = (left.len(), self.overlap);
        if right.len() != length || length < overlap {
            let expected = format!("two channels of one length, at least {overlap}");
            return Err(ModelError::shape("samples of a window", expected, format!("{length} and {}", right.len())));
        }
        let keep = length - overlap;
        let mut out = vec![0f32; 2 * keep];
        for (channel, window) in [left, right].into_iter().enumerate() {
            let mut window = window.to_vec();
            if !self.tail[channel].is_empty() {
                fade(&self.tail[channel], &mut window[..overlap]);
            }
            self.tail[channel] = window.split_off(keep);
            for (place, sample) in window.into_iter().enumerate() {
                out[2 * place + channel] = sample;
            }
        }
        Ok(out)
    }

    /// Gives out the end of the last window, interleaved.
    pub fn finish(self) -> Vec<f32> {
        let [left, right] = self.tail;
        left.into_iter().zip(right).flat_map(|(l, r)| [l, r]).collect()
    }
}

/// `next` comes in over `last`, both weights linear from end to end, in double precision as the reference does it.
fn fade(last: &[f32], next: &mut [f32]) {
    let steps = next.len().saturating_sub(1).max(1) as f64;
    for (place, (next, last)) in next.iter_mut().zip(last).enumerate() {
        let weight = place as f64 / steps;
        *next = (f64::from(*last) * (1.0 - weight) + f64::from(*next) * weight) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_windows_join_without_a_trace() {
        let wave: Vec<f32> = (0..100).map(|i| (i as f32 * 0.1).sin()).collect();
        let mut join = OverlapAdd::new(20);
        let mut out = join.push(&wave[..60], &wave[..60]).expect("a window");
        out.extend(join.push(&wave[40..], &wave[40..]).expect("a window"));
        out.extend(join.finish());
        assert_eq!(out.len(), 200);
        for (place, pair) in out.chunks(2).enumerate() {
            assert!((pair[0] - wave[place]).abs() < 1e-6 && pair[0] == pair[1], "sample {place}");
        }
    }

    #[test]
    fn the_fade_starts_with_the_old_window_and_ends_with_the_new_one() {
        let mut join = OverlapAdd::new(5);
        join.push(&[1.0; 10], &[1.0; 10]).expect("a window");
        let faded = join.push(&[0.0; 10], &[0.0; 10]).expect("a window");
        let left: Vec<f32> = faded.iter().step_by(2).copied().collect();
        assert_eq!(left, [1.0, 0.75, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn without_overlap_windows_stand_side_by_side() {
        let mut join = OverlapAdd::new(0);
        assert_eq!(join.push(&[1.0, 2.0], &[3.0, 4.0]).expect("a window"), [1.0, 3.0, 2.0, 4.0]);
        assert!(join.finish().is_empty());
    }

    #[test]
    fn a_window_shorter_than_the_overlap_is_refused() {
        assert!(OverlapAdd::new(5).push(&[0.0; 4], &[0.0; 4]).is_err());
        assert!(OverlapAdd::new(1).push(&[0.0; 4], &[0.0; 5]).is_err());
    }
}
