//! Into which windows is a song cut, so that its first sound comes early and no seam is heard? Three continuities.
//!
//! - *reference*: the reference's windows and chain, to the number. First sound needs 372 frames.
//! - *chained*: windows start small and double until they have the reference's length. Each begins with the latents that
//!   the one before ended with, and the vocoder runs on through the seam, so there is nothing to cross-fade.
//! - *parallel*: windows grow alike but know nothing of each other: they overlap, start from the same keyed noise where
//!   they do, and are cross-faded. So workers can decode them side by side.
//!
//! All of it is a pure function: of the continuity, of the first window's length, and of the frames there are.

use std::ops::Range;

use super::ReferenceWindows;
use crate::error::{ModelError, Result};

/// A window is at most so many times as long as the one before. What is played of a window lasts as long as the next may
/// take, so a machine that is twice as fast as the music never runs dry.
const GROWTH: usize = 2;
/// The part of a window that a parallel neighbour overlaps, until the overlap has the reference's length.
const OVERLAP_SHARE: usize = 3;

/// How a song is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentPlan {
    continuity: Continuity,
    windows: ReferenceWindows,
    first: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Continuity {
    Reference,
    Chained,
    Parallel,
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
    /// So many of its first frames have latents already: the end of the window before.
    pub known: usize,
    /// It comes in over the window before during so many frames.
    pub fade_in: usize,
    /// The next one, if there is one, comes in over so many of its last frames.
    pub fade_out: usize,
}

impl Window {
    /// The frame behind its last one.
    pub fn end(&self) -> usize {
        self.first + self.frames
    }

    /// Its frames.
    pub fn places(&self) -> Range<usize> {
        self.first..self.end()
    }
}

impl SegmentPlan {
    /// The reference's windows.
    pub fn reference(windows: ReferenceWindows) -> Self {
        Self { continuity: Continuity::Reference, first: windows.window, windows }
    }

    /// Windows that hand on the end of their latents, the first of them `first` frames long.
    ///
    /// # Errors
    /// When `first` is 0 or longer than the reference's window.
    pub fn chained(first: usize) -> Result<Self> {
        Self::growing(Continuity::Chained, first)
    }

    /// Windows that know nothing of each other, the first of them `first` frames long.
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
        Ok(Self { continuity, windows, first })
    }

    /// The same plan with a first window of at most `first` frames. Nothing changes in the reference's.
    pub fn cut_first(self, first: usize) -> Self {
        match self.continuity {
            Continuity::Reference => self,
            Continuity::Chained | Continuity::Parallel => Self { first: first.clamp(1, self.first), ..self },
        }
    }

    /// Frames of the first window, if the song has so many.
    pub fn first_window(&self) -> usize {
        self.first
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
        let (index, end) = last.map_or((0, 0), |last| (last.index + 1, last.end()));
        match self.continuity {
            Continuity::Reference => {
                let shared = if index == 0 { 0 } else { self.windows.overlap() };
                Window {
                    index,
                    first: index * self.windows.hop,
                    frames: self.windows.window,
                    known: shared,
                    fade_in: shared,
                    fade_out: self.windows.overlap(),
                }
            }
            Continuity::Chained | Continuity::Parallel => {
                let frames = last.map_or(self.first, |last| (GROWTH * last.frames).min(self.windows.window));
                self.window(index, end, frames, self.shared(last))
            }
        }
    }

    /// The windows that are still missing when the song has turned out to have `frames` frames and `last` was the last
    /// complete window.
    pub fn rest(&self, last: Option<&Window>, frames: usize) -> Vec<Window> {
        let (index, end) = last.map_or((0, 0), |last| (last.index + 1, last.end()));
        match self.continuity {
            Continuity::Reference => {
                let mut rest: Vec<Window> = Vec::new();
                while index + rest.len() < self.windows.count(frames) {
                    rest.push(self.next(rest.last().or(last)));
                }
                rest
            }
            Continuity::Chained | Continuity::Parallel if frames > end => {
                let shared = self.shared(last);
                vec![self.window(index, end, frames - end + shared, shared)]
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

    /// Which frame of a song of `frames` frames stands at `place` of its windows: only the reference fills its last
    /// window up.
    pub fn source(&self, place: usize, frames: usize) -> usize {
        match self.continuity {
            Continuity::Reference => self.windows.source(place, frames),
            Continuity::Chained | Continuity::Parallel => place,
        }
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
            Continuity::Chained => last.frames.min(self.windows.overlap()),
            Continuity::Reference | Continuity::Parallel => last.fade_out,
        }
    }

    fn window(&self, index: usize, end: usize, frames: usize, shared: usize) -> Window {
        let first = end - shared;
        match self.continuity {
            Continuity::Chained => Window { index, first, frames, known: shared, fade_in: 0, fade_out: 0 },
            Continuity::Reference | Continuity::Parallel => {
                let fade_out = (frames / OVERLAP_SHARE).min(self.windows.overlap());
                Window { index, first, frames, known: 0, fade_in: shared, fade_out }
            }
        }
    }
}

/// How fast the stages are, as measured in this run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Seconds from the request to the first frame.
    pub prompt: f64,
    /// Seconds that the language model takes for a frame.
    pub frame: f64,
    /// Seconds that flow matching, all its steps, takes for a frame of a window.
    pub flow: f64,
    /// Seconds from the first latents to the first samples.
    pub sound: f64,
}

/// The longest first window whose sound is there within `deadline` seconds of the request; at least one frame, even
/// when that is too late.
pub fn longest_first_window(deadline: f64, rates: Rates) -> usize {
    let Rates { prompt, frame, flow, sound } = rates;
    let frames = (deadline - prompt - sound) / (frame + flow);
    // Not a number when nothing takes any time: then nothing limits the window.
    if frames.is_nan() { usize::MAX } else { (frames as usize).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plans() -> Vec<SegmentPlan> {
        let mut plans = vec![SegmentPlan::reference(ReferenceWindows::default())];
        for first in [1, 2, 7, 48, 93, 371, 372] {
            plans.push(SegmentPlan::chained(first).expect("in range"));
            plans.push(SegmentPlan::parallel(first).expect("in range"));
        }
        plans
    }

    #[test]
    fn windows_cover_every_frame_of_a_growing_plan_exactly_to_the_end() {
        for plan in plans().into_iter().skip(1) {
            for frames in (1..1500).chain([3000]) {
                let windows = plan.windows(frames);
                let mut end = 0;
                for (index, window) in windows.iter().enumerate() {
                    assert_eq!(window.index, index);
                    assert_eq!(window.first, end - window.known - window.fade_in, "{plan:?} {frames} {window:?}");
                    assert!(window.frames <= 372 && window.end() > end, "{plan:?} {frames} {window:?}");
                    end = window.end();
                }
                assert_eq!(end, frames, "{plan:?}");
            }
        }
    }

    #[test]
    fn what_a_window_is_given_the_one_before_has() {
        for plan in plans() {
            let windows = plan.windows(2345);
            for pair in windows.windows(2) {
                assert!(pair[1].known <= pair[0].frames && pair[1].known <= plan.longest_overlap());
                assert!(pair[1].fade_in == 0 || pair[1].fade_in == pair[0].fade_out, "{plan:?} {pair:?}");
                // A window's beginning and end are faded at different places.
                assert!(pair[0].fade_in + pair[0].fade_out <= pair[0].frames || pair[1].index + 1 == windows.len());
            }
        }
    }

    #[test]
    fn windows_start_small_and_double_until_they_have_the_references_length() {
        let lengths: Vec<usize> =
            SegmentPlan::chained(48).expect("in range").windows(2000).iter().map(|w| w.frames).collect();
        assert_eq!(lengths[..5], [48, 96, 192, 372, 372]);
        let lengths: Vec<usize> =
            SegmentPlan::parallel(93).expect("in range").windows(2000).iter().map(|w| w.frames).collect();
        assert_eq!(lengths[..4], [93, 186, 372, 372]);
    }

    #[test]
    fn a_complete_window_is_never_taken_back_by_a_longer_song() {
        for plan in plans() {
            let long = plan.windows(2000);
            for frames in 1..1200 {
                let complete = long.iter().take_while(|window| window.end() <= frames);
                for (window, expected) in plan.windows(frames).iter().zip(complete) {
                    assert_eq!(window, expected, "{plan:?} {frames}");
                }
            }
        }
    }

    #[test]
    fn a_first_window_of_nothing_or_too_much_is_refused() {
        for first in [0, 373, usize::MAX] {
            assert!(SegmentPlan::chained(first).is_err() && SegmentPlan::parallel(first).is_err());
        }
    }

    #[test]
    fn the_first_window_is_the_longest_that_meets_the_deadline() {
        let rates = Rates { prompt: 1.0, frame: 0.1, flow: 0.05, sound: 0.5 };
        let longest = longest_first_window(10.0, rates);
        let time = |frames: usize| rates.prompt + rates.sound + frames as f64 * (rates.frame + rates.flow);
        assert!(time(longest) <= 10.0 && time(longest + 1) > 10.0, "{longest}");
        assert_eq!(longest_first_window(0.1, rates), 1);
        assert!(longest_first_window(1e9, rates) > 372);
        assert_eq!(longest_first_window(1.0, Rates { prompt: 1.0, frame: 0.0, flow: 0.0, sound: 0.0 }), usize::MAX);
    }
}
