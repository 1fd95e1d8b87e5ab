//! Windows of the `reference` continuity: how a song is cut, and what fills the last window.
//!
//! A window is 372 frames (29.76 s) at the published setting and starts `hop` = 320 frames after the one before; the
//! `overlap` of 52 frames is cross-faded, and the same 104 latents are in-context latents of the next window.
//! Everything here follows `HeartCodec.detokenize` of the reference implementation as of September 2026, its
//! peculiarities included. Earlier versions dropped the last window of songs of 104 + 320 k frames.

use std::ops::Range;

use heartstream_messages::FirstWindow;

use crate::error::{ModelError, Result};

/// Frames of a window at the published setting: 29.76 s at 12.5 frames a second. First windows are no longer either.
pub const REFERENCE_WINDOW: usize = FirstWindow::LONGEST.0 as usize;
/// The reference measures windows in quanta of 93 frames …
const QUANTUM: usize = 93;
/// … and moves on by 80 frames for each.
const HOP_OF_QUANTUM: usize = 80;

/// The window lengths of the `reference` continuity, in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReferenceWindows {
    /// Frames of a window.
    pub window: usize,
    /// Frames from the start of one window to the start of the next.
    pub hop: usize,
}

impl Default for ReferenceWindows {
    fn default() -> Self {
        Self { window: REFERENCE_WINDOW, hop: REFERENCE_WINDOW / QUANTUM * HOP_OF_QUANTUM }
    }
}

impl ReferenceWindows {
    /// Windows of `window` frames, with the reference's hop for that length.
    ///
    /// # Errors
    /// When the window is shorter than the reference's quantum of 93 frames: its hop would be nothing.
    pub fn new(window: usize) -> Result<Self> {
        let hop = window / QUANTUM * HOP_OF_QUANTUM;
        if hop == 0 || 2 * hop < window {
            return Err(ModelError::shape("frames of a window", "at least 93 (7.44 s)", window));
        }
        Ok(Self { window, hop })
    }

    /// Frames that two neighbouring windows share.
    pub fn overlap(&self) -> usize {
        self.window - self.hop
    }

    /// Samples of one channel that the sounds of two neighbouring windows share. The reference takes its hop in samples
    /// from the window in samples by the rule it has for frames, which differs where the window is no whole number of
    /// quanta.
    pub fn overlap_samples(&self, samples_per_frame: usize) -> usize {
        let window = self.window * samples_per_frame;
        window - window / QUANTUM * HOP_OF_QUANTUM
    }

    /// Samples of one channel in a song of `frames` frames. The reference goes through seconds and cuts, and so loses a
    /// sample for one length in thirteen: 29 frames are 111 359 samples, not 111 360.
    pub fn song_samples(frames: usize) -> u64 {
        (frames as f64 / 12.5 * 48_000.0) as u64
    }

    /// The frames of window `index`.
    pub fn frames(&self, index: usize) -> Range<usize> {
        index * self.hop..index * self.hop + self.window
    }

    /// How many windows a song of `frames` frames has.
    ///
    /// A window that is complete before the song ends is always one of them, so it may be decoded at once.
    pub fn count(&self, frames: usize) -> usize {
        if frames == 0 {
            return 0;
        }
        let codes = frames.max(self.window); // a short song is repeated until it fills a window
        (codes - self.overlap()).div_ceil(self.hop)
    }

    /// Which frame of a song of `frames` frames stands at place `index` of the tiled codes: the song, repeated. A song
    /// shorter than a window is repeated up to one window first, and that window is what is repeated from then on.
    pub fn source(&self, index: usize, frames: usize) -> usize {
        if frames < self.window { (index % self.window) % frames } else { index % frames }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_window_is_372_frames_with_a_hop_of_320() {
        let windows = ReferenceWindows::new(REFERENCE_WINDOW).expect("372 frames are four quanta");
        assert_eq!(windows, ReferenceWindows::default());
        assert_eq!((windows.hop, windows.overlap()), (320, 52));
    }

    #[test]
    fn a_window_below_the_quantum_is_refused() {
        assert!(ReferenceWindows::new(92).is_err());
        assert!(ReferenceWindows::new(93).is_ok());
    }

    /// The reference's own procedure, on indices instead of codes.
    fn procedure(frames: usize, windows: ReferenceWindows) -> Vec<Vec<usize>> {
        let (window, hop, overlap) = (windows.window as i64, windows.hop as i64, windows.overlap() as i64);
        let mut codes: Vec<usize> = (0..frames).collect();
        if (codes.len() as i64) < window {
            while (codes.len() as i64) < window {
                codes.extend(codes.clone());
            }
            codes.truncate(window as usize);
        }
        let len = codes.len() as i64;
        if (len - overlap).rem_euclid(hop) > 0 {
            let padded = ((len - overlap) as f64 / hop as f64).ceil() as i64 * hop + overlap;
            while (codes.len() as i64) < padded {
                codes.extend(codes.clone());
            }
            codes.truncate(padded as usize);
        }
        (0..)
            .map(|k| k * hop)
            .take_while(|start| *start < codes.len() as i64 - hop + 1)
            .map(|start| codes[start as usize..((start + window) as usize).min(codes.len())].to_vec())
            .collect()
    }

    #[test]
    fn windows_and_their_frames_are_those_of_the_reference_for_every_length() {
        for window in [93, 186, 372] {
            let windows = ReferenceWindows::new(window).expect("a multiple of the quantum");
            for frames in 1..1500 {
                let expected = procedure(frames, windows);
                assert_eq!(windows.count(frames), expected.len(), "{frames} frames in windows of {window}");
                for (index, codes) in expected.iter().enumerate() {
                    let ours: Vec<usize> = windows.frames(index).map(|place| windows.source(place, frames)).collect();
                    assert_eq!(&ours, codes, "window {index} of {frames} frames in windows of {window}");
                }
            }
        }
    }

    #[test]
    fn every_length_has_enough_windows_for_its_last_frame() {
        for window in [93, 94, 186, 372] {
            let windows = ReferenceWindows::new(window).expect("at least the quantum");
            for frames in 1..3000 {
                let count = windows.count(frames);
                assert!(windows.frames(count - 1).end >= frames, "{frames} frames in {count} windows of {window}");
                assert!(count == 1 || windows.frames(count - 2).end < frames, "{frames} frames in windows of {window}");
            }
        }
        let counts = [372, 373, 424, 692, 693, 744].map(|frames| ReferenceWindows::default().count(frames));
        assert_eq!(counts, [1, 2, 2, 2, 3, 3]);
    }

    #[test]
    fn a_song_is_as_long_as_the_reference_makes_it() {
        let lengths = [1, 28, 29, 57, 58, 59, 253].map(ReferenceWindows::song_samples);
        assert_eq!(lengths, [3840, 107_520, 111_359, 218_879, 222_719, 226_560, 971_519]);
    }

    #[test]
    fn a_window_that_is_complete_is_never_taken_back_by_a_longer_song() {
        let windows = ReferenceWindows::default();
        for frames in 1..5000 {
            let complete = (0..).take_while(|index| windows.frames(*index).end <= frames).count();
            assert!(windows.count(frames) >= complete, "{frames}");
        }
    }
}
