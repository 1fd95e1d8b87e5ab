//! Overlap-add of decoded windows: a linear cross-fade over what they share.

use crate::error::{ModelError, Result};

/// Joins windows of stereo audio that come one after the other, each in pieces of any length, and holds back only what
/// the next window will change.
#[derive(Debug, Default)]
pub struct OverlapAdd {
    /// The end of the window before, left and right, over which this one comes in.
    fading: [Vec<f32>; 2],
    /// What is kept back of this window.
    kept: [Vec<f32>; 2],
    /// Samples of each channel that this window has had.
    place: usize,
    /// From here on samples are kept back.
    keep_from: usize,
}

impl OverlapAdd {
    /// Before the first window.
    pub fn new() -> Self {
        Self::default()
    }

    /// A window of `length` samples of each channel begins; the next one, if any, will share its last `keep` samples.
    ///
    /// # Errors
    /// When the window is shorter than what it shares with the window before, or than `keep`.
    pub fn begin(&mut self, length: usize, keep: usize) -> Result<()> {
        self.fading = std::mem::take(&mut self.kept);
        let least = self.fading[0].len().max(keep);
        if length < least {
            return Err(ModelError::shape("samples of a window", format!("at least {least}"), length));
        }
        (self.place, self.keep_from) = (0, length - keep);
        Ok(())
    }

    /// Takes the next samples of the window and gives out, interleaved, those that no later window will change.
    ///
    /// # Errors
    /// When the channels differ in length.
    pub fn push(&mut self, left: &[f32], right: &[f32]) -> Result<Vec<f32>> {
        if left.len() != right.len() {
            return Err(ModelError::shape("samples of the right channel", left.len(), right.len()));
        }
        let give = self.keep_from.saturating_sub(self.place).min(left.len());
        let mut out = vec![0f32; 2 * give];
        for (channel, samples) in [left, right].into_iter().enumerate() {
            for (offset, sample) in samples.iter().enumerate() {
                let sample = self.faded(channel, self.place + offset, *sample);
                match out.get_mut(2 * offset + channel) {
                    Some(place) => *place = sample,
                    None => self.kept[channel].push(sample),
                }
            }
        }
        self.place += left.len();
        Ok(out)
    }

    /// Gives out the end of the last window, interleaved.
    pub fn finish(self) -> Vec<f32> {
        let [left, right] = self.kept;
        left.into_iter().zip(right).flat_map(|(l, r)| [l, r]).collect()
    }

    /// The window before goes out and this one comes in, both weights linear from end to end, in double precision as
    /// the reference does it.
    fn faded(&self, channel: usize, place: usize, sample: f32) -> f32 {
        let fading = &self.fading[channel];
        let Some(last) = fading.get(place) else { return sample };
        let weight = place as f64 / fading.len().saturating_sub(1).max(1) as f64;
        (f64::from(*last) * (1.0 - weight) + f64::from(sample) * weight) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole windows, all sharing `overlap` samples.
    fn join(windows: &[&[f32]], overlap: usize) -> Vec<f32> {
        let mut join = OverlapAdd::new();
        let mut out = Vec::new();
        for window in windows {
            join.begin(window.len(), overlap).expect("long enough");
            out.extend(join.push(window, window).expect("a window"));
        }
        out.extend(join.finish());
        out
    }

    #[test]
    fn equal_windows_join_without_a_trace() {
        let wave: Vec<f32> = (0..100).map(|i| (i as f32 * 0.1).sin()).collect();
        let out = join(&[&wave[..60], &wave[40..]], 20);
        assert_eq!(out.len(), 200);
        for (place, pair) in out.chunks(2).enumerate() {
            assert!((pair[0] - wave[place]).abs() < 1e-6 && pair[0] == pair[1], "sample {place}");
        }
    }

    #[test]
    fn the_fade_starts_with_the_old_window_and_ends_with_the_new_one() {
        let out = join(&[&[1.0; 10], &[0.0; 10]], 5);
        let left: Vec<f32> = out.iter().step_by(2).copied().collect();
        assert_eq!(left, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn without_overlap_windows_stand_side_by_side() {
        assert_eq!(join(&[&[1.0, 2.0], &[3.0]], 0), [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]);
    }

    #[test]
    fn pieces_of_any_length_join_like_whole_windows() {
        let wave: Vec<f32> = (0..90).map(|i| (i as f32 * 0.37).cos()).collect();
        let whole = join(&[&wave[..50], &wave[20..80]], 15);
        for piece in [1, 3, 7, 49] {
            let mut pieces = OverlapAdd::new();
            let mut out = Vec::new();
            for window in [&wave[..50], &wave[20..80]] {
                pieces.begin(window.len(), 15).expect("long enough");
                for part in window.chunks(piece) {
                    out.extend(pieces.push(part, part).expect("a piece"));
                }
            }
            out.extend(pieces.finish());
            assert_eq!(out, whole, "pieces of {piece}");
        }
    }

    #[test]
    fn a_window_shorter_than_the_overlap_is_refused() {
        assert!(OverlapAdd::new().begin(4, 5).is_err());
        assert!(OverlapAdd::new().push(&[0.0; 4], &[0.0; 5]).is_err());
    }
}
