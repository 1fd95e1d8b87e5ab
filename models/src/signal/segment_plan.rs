//! Segment plan: the windows that a song is cut into, for a low latency of the first sound and inaudible seams.
//!
//! - *reference*: the reference's windows and chain, to the number. First sound needs 372 frames.
//! - *chained*: windows start small and double until they have the reference's length. The end of a window has no codes
//!   behind it. So its last frames, the *look-ahead*, are not played: the next window computes them again, with codes
//!   behind them, from the same keyed noise. It begins with the latents before them as in-context latents. Its latents
//!   replace the look-ahead, cross-faded ([`super::LatentJoin`]), and the vocoder runs on through the seam. Only the
//!   last window plays to its end.
//! - *parallel*: windows grow alike but are independent: they overlap, start from the same keyed noise there, and are
//!   cross-faded. So workers decode them in parallel.
//!
//! A latent without neighbours is a burst: 40 ms of it at the beginning of a song and 10 ms at its end. So the first
//! window of a growing plan begins with a *lead-in* of the first frame's codes over and over, and the last one ends
//! with a *run-out* of the last frame's. Neither is played (`docs/decisions/016-beginnings-and-ends.md`).
//!
//! The plan is a pure function of the continuity, of the first window's length, and of the count of frames.

use std::ops::Range;

use heartstream_messages::Continuity;

use super::ReferenceWindows;
use crate::error::{ModelError, Result};

#[cfg(test)]
mod tests;

/// Growth factor of windows. A window's playback covers the computation of the next, so a throughput of twice real time
/// is enough.
const GROWTH: usize = 2;
/// The part of a window that a parallel neighbour overlaps, until the overlap has the reference's length.
const OVERLAP_SHARE: usize = 3;
/// A look-ahead is at most half of a window's new frames, so that each window plays some.
const LEAST_PLAYED: usize = 2;
/// The shortest first window that a deadline asks for. Half of it is look-ahead and half is played; the vocoder, which
/// holds back two latents of the published checkpoint's, has some of that to sound. With fewer frames the first sound
/// would wait for the second window.
pub const SHORTEST_FIRST_WINDOW: usize = 4;
/// The longest look-ahead: the part of a window that the reference computes again.
const LONGEST_LOOK_AHEAD: usize = 52;

/// Frames of the lead-in and of the run-out. With this number of repeated frames a beginning is no louder than what follows,
/// and more change nothing (measured on the demo model, `docs/decisions/016-beginnings-and-ends.md`).
const EDGE: usize = 4;
/// Samples of one channel of a song's first and last fade: 5 ms at 48 kHz.
const EDGE_FADE: usize = 240;

/// How a song is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentPlan {
    continuity: Continuity,
    windows: ReferenceWindows,
    first: usize,
    /// Of chained windows that are long enough; 0 in other plans.
    look_ahead: usize,
}

/// One window of a plan. All lengths are frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its place among the windows.
    pub index: usize,
    /// Its first frame.
    pub first: usize,
    /// Its length.
    pub frames: usize,
    /// Leading frames that the previous window has decoded: their latents are the in-context latents.
    pub known: usize,
    /// Look-ahead: trailing frames that are not played, because the next window computes them again.
    pub look_ahead: usize,
    /// Leading frames that are cross-faded with the previous window.
    pub fade_in: usize,
    /// Trailing frames that are cross-faded with the next window, if there is one.
    pub fade_out: usize,
    /// Frames of lead-in: computed before its first one, and not played; only before the song.
    pub lead_in: usize,
    /// Frames of run-out: computed behind its last one, and not played; only behind the song.
    pub run_out: usize,
}

impl Window {
    /// The frame behind its last one.
    pub fn end(&self) -> usize {
        self.first + self.frames
    }

    /// The frame behind the last one that is played of it.
    pub fn played_end(&self) -> usize {
        self.end() - self.look_ahead
    }

    /// Frames that are computed for it: its own, lead-in and run-out.
    pub fn computed(&self) -> usize {
        self.lead_in + self.frames + self.run_out
    }

    /// Its frames.
    pub fn places(&self) -> Range<usize> {
        self.first..self.end()
    }
}

impl SegmentPlan {
    /// The reference's windows.
    pub fn reference(windows: ReferenceWindows) -> Self {
        Self { continuity: Continuity::Reference, first: windows.window, windows, look_ahead: 0 }
    }

    /// Chained windows, the first of them `first` frames long, with a look-ahead of `look_ahead`
    /// frames; of a short window it is at most half of what is new in it.
    ///
    /// # Errors
    /// When `first` is 0 or longer than the reference's window, or `look_ahead` longer than the reference's overlap.
    pub fn chained(first: usize, look_ahead: usize) -> Result<Self> {
        if look_ahead > LONGEST_LOOK_AHEAD {
            let expected = format!("from 0 to {LONGEST_LOOK_AHEAD} frames");
            return Err(ModelError::Option { option: "look-ahead", expected, found: look_ahead.to_string() });
        }
        Ok(Self { look_ahead, ..Self::growing(Continuity::Chained, first)? })
    }

    /// Independent windows, the first of them `first` frames long.
    ///
    /// # Errors
    /// When `first` is 0 or longer than the reference's window.
    pub fn parallel(first: usize) -> Result<Self> {
        Self::growing(Continuity::Parallel, first)
    }

    fn growing(continuity: Continuity, first: usize) -> Result<Self> {
        let windows = ReferenceWindows::default();
        if !(1..=windows.window).contains(&first) {
            let expected = format!("from 1 to {} frames", windows.window);
            return Err(ModelError::Option { option: "first-window", expected, found: first.to_string() });
        }
        Ok(Self { continuity, windows, first, look_ahead: 0 })
    }

    /// The same plan with a first window of at most `first` frames. Nothing changes in the reference's.
    pub fn cut_first(self, first: usize) -> Self {
        match self.continuity {
            Continuity::Reference => self,
            Continuity::Chained | Continuity::Parallel => Self { first: first.clamp(1, self.first), ..self },
        }
    }

    /// Frames of the first window, unless the song is shorter.
    pub fn first_window(&self) -> usize {
        self.first
    }

    /// Look-ahead of a chained plan's windows where they are long enough; 0 in other plans.
    pub fn look_ahead(&self) -> usize {
        self.look_ahead
    }

    /// The longest stretch that a window shares with the next.
    pub fn longest_overlap(&self) -> usize {
        self.windows.overlap()
    }

    /// Whether the vocoder runs on from window to window.
    pub fn is_continuous(&self) -> bool {
        self.continuity == Continuity::Chained
    }

    /// The window after `last`, in a song that goes on for ever. It is complete when its last frame is there.
    pub fn next(&self, last: Option<&Window>) -> Window {
        let (index, end) = last.map_or((0, 0), |last| (last.index + 1, last.played_end()));
        match self.continuity {
            Continuity::Reference => {
                let shared = if index == 0 { 0 } else { self.windows.overlap() };
                Window {
                    index,
                    first: index * self.windows.hop,
                    frames: self.windows.window,
                    known: shared,
                    look_ahead: 0,
                    fade_in: shared,
                    fade_out: self.windows.overlap(),
                    lead_in: 0,
                    run_out: 0,
                }
            }
            Continuity::Chained | Continuity::Parallel => {
                let frames = last.map_or(self.first, |last| (GROWTH * last.frames).min(self.windows.window));
                let shared = self.shared(last);
                let look_ahead = self.look_ahead.min((frames - shared) / LEAST_PLAYED);
                Window { look_ahead, ..self.window(index, end, frames, shared) }
            }
        }
    }

    /// The windows that are still missing when the song has turned out to have `frames` frames and `last` was the last
    /// complete window.
    pub fn rest(&self, last: Option<&Window>, frames: usize) -> Vec<Window> {
        let (index, end) = last.map_or((0, 0), |last| (last.index + 1, last.played_end()));
        match self.continuity {
            Continuity::Reference => {
                let mut rest: Vec<Window> = Vec::new();
                while index + rest.len() < self.windows.count(frames) {
                    rest.push(self.next(rest.last().or(last)));
                }
                rest
            }
            // A parallel window that ends with the song has no run-out: what it shares is computed once more, with one.
            Continuity::Chained | Continuity::Parallel if frames > end || !self.is_continuous() && frames > 0 => {
                let shared = self.shared(last);
                vec![Window { run_out: EDGE, ..self.window(index, end, frames - end + shared, shared) }]
            }
            Continuity::Chained | Continuity::Parallel => Vec::new(),
        }
    }

    /// All windows of a song of `frames` frames.
    pub fn windows(&self, frames: usize) -> Vec<Window> {
        let mut windows: Vec<Window> = Vec::new();
        loop {
            let next = self.next(windows.last());
            if next.end() > frames {
                break;
            }
            windows.push(next);
        }
        let rest = self.rest(windows.last(), frames);
        windows.extend(rest);
        windows
    }

    /// Which frames of a song of `frames` frames stand in a window, one after the other: [`Window::computed`] of them.
    /// The reference fills its last window up; other plans repeat the first and the last frame of the song.
    pub fn sources(&self, window: &Window, frames: usize) -> impl Iterator<Item = usize> {
        let Self { continuity, windows, .. } = *self;
        let source = move |place| match continuity {
            Continuity::Reference => windows.source(place, frames),
            Continuity::Chained | Continuity::Parallel => place,
        };
        let (first, last) = (window.first, window.end().saturating_sub(1));
        let lead_in = std::iter::repeat_n(first, window.lead_in);
        lead_in.chain(window.places()).chain(std::iter::repeat_n(last, window.run_out)).map(source)
    }

    /// Samples of one channel over which the song comes in and goes out: 5 ms, so that a beginning and an end that are
    /// not silent do not click. The reference has none.
    pub fn edge_fade(&self) -> usize {
        if self.continuity == Continuity::Reference { 0 } else { EDGE_FADE }
    }

    /// Frames that a window may have beside its own: lead-in and run-out.
    pub fn most_context(&self) -> usize {
        if self.continuity == Continuity::Reference { 0 } else { 2 * EDGE }
    }

    /// Samples of one channel in a song of `frames` frames of `samples_per_frame` samples.
    pub fn song_samples(&self, frames: usize, samples_per_frame: usize) -> u64 {
        match self.continuity {
            Continuity::Reference => ReferenceWindows::song_samples(frames),
            Continuity::Chained | Continuity::Parallel => (frames * samples_per_frame) as u64,
        }
    }

    /// Samples of one channel over which windows that share `frames` frames are cross-faded.
    pub fn fade_samples(&self, frames: usize, samples_per_frame: usize) -> usize {
        match self.continuity {
            Continuity::Reference if frames > 0 => self.windows.overlap_samples(samples_per_frame),
            _ => frames * samples_per_frame,
        }
    }

    /// What the window after `last` shares with it.
    fn shared(&self, last: Option<&Window>) -> usize {
        let Some(last) = last else { return 0 };
        match self.continuity {
            Continuity::Chained => (last.frames - last.look_ahead).min(self.windows.overlap()),
            Continuity::Reference | Continuity::Parallel => last.fade_out,
        }
    }

    fn window(&self, index: usize, end: usize, frames: usize, shared: usize) -> Window {
        let first = end - shared;
        let lead_in = if index == 0 { EDGE } else { 0 };
        let plain =
            Window { index, first, frames, known: 0, look_ahead: 0, fade_in: 0, fade_out: 0, lead_in, run_out: 0 };
        match self.continuity {
            Continuity::Chained => Window { known: shared, ..plain },
            Continuity::Reference | Continuity::Parallel => {
                let fade_out = (frames / OVERLAP_SHARE).clamp(1, self.windows.overlap());
                Window { fade_in: shared, fade_out, ..plain }
            }
        }
    }
}

/// Measured rates of the stages in this run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Seconds from the request to the first frame.
    pub prompt: f64,
    /// Seconds that the language model takes for a frame.
    pub frame: f64,
    /// Seconds that flow matching, all its steps, takes for a frame of a window.
    pub flow: f64,
    /// Seconds from the first latents to the first samples, the lead-in's among them.
    pub sound: f64,
}

/// The longest first window whose audio is ready within `deadline` seconds of the request; at least
/// [`SHORTEST_FIRST_WINDOW`], even when that is too late. It counts the look-ahead, not the lead-in.
pub fn longest_first_window(deadline: f64, rates: Rates) -> usize {
    let Rates { prompt, frame, flow, sound } = rates;
    let frames = (deadline - prompt - sound - EDGE as f64 * flow) / (frame + flow);
    // NaN when all rates are zero: then nothing limits the window.
    if frames.is_nan() { usize::MAX } else { (frames as usize).max(SHORTEST_FIRST_WINDOW) }
}
