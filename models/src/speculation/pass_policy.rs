//! Policy of several songs: one pass for all of them, or turns in which each drafts for itself.
//!
//! A pass writes one frame of each song and has no drafts. What a turn writes follows from what each song measured when it
//! was alone ([`super::Policy`]). Turns pay where drafts are often right and a pass reads little: in a small model, which the
//! caches hold.
//!
//! It reads no clock: times come in, so the same times give the same choices.

use super::policy::Ewma;

/// Passes by which their time is judged.
const MEASURED: u32 = 4;
/// Factor by which turns must be faster than a pass.
const WORTH_TURNS: f64 = 1.03;
/// Turns until passes, which were slower then, are measured again.
const RETRY: u32 = 256;

/// Chooses what songs that are written together do.
#[derive(Debug, Default)]
pub struct PassPolicy {
    /// By the number of songs.
    counts: Vec<Passes>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Passes {
    /// Seconds of a pass.
    time: Ewma,
    measured: u32,
    /// Turns since the last pass.
    turns: u32,
}

impl PassPolicy {
    /// Whether songs take turns that write frames at these rates, in frames a second, each when it is alone; `None` is a
    /// rate that was not measured, or a song that is not to choose.
    pub fn takes_turns(&mut self, rates: impl ExactSizeIterator<Item = Option<f64>>) -> bool {
        let passes = self.passes(rates.len());
        let one_frame_each = rates.map(|rate| rate.map(f64::recip)).sum::<Option<f64>>();
        let (Some(turns), Some(pass)) = (one_frame_each, passes.time.get()) else { return false };
        let takes = passes.measured >= MEASURED && turns * WORTH_TURNS < pass && passes.turns < RETRY;
        if takes {
            passes.turns += 1;
        } else if passes.turns >= RETRY {
            (passes.turns, passes.measured) = (0, 0);
        }
        takes
    }

    /// Adds a pass of so many songs, which took `seconds`.
    pub fn observe(&mut self, songs: usize, seconds: f64) {
        let passes = self.passes(songs);
        passes.time.add(seconds);
        passes.measured += 1;
    }

    fn passes(&mut self, songs: usize) -> &mut Passes {
        if self.counts.len() <= songs {
            self.counts.resize(songs + 1, Passes::default());
        }
        &mut self.counts[songs]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(policy: &mut PassPolicy, rates: &[f64]) -> bool {
        policy.takes_turns(rates.iter().copied().map(Some))
    }

    #[test]
    fn songs_take_turns_where_those_write_more_frames_a_second_than_passes() {
        let mut policy = PassPolicy::default();
        assert!(!takes(&mut policy, &[1e9, 1e9]), "passes were not measured yet");
        for _ in 0..MEASURED {
            policy.observe(2, 0.5);
        }
        assert!(takes(&mut policy, &[5.0, 5.0]), "a frame of each takes 0.4 s in turns");
        assert!(!takes(&mut policy, &[4.0, 4.0]), "they take as long");
        assert!(!takes(&mut policy, &[5.0, 2.0]), "0.7 s");
        assert!(!takes(&mut policy, &[50.0, 50.0, 50.0]), "passes of three were not measured");
    }

    #[test]
    fn a_song_that_was_never_measured_alone_takes_part_in_passes() {
        let mut policy = PassPolicy::default();
        (0..MEASURED).for_each(|_| policy.observe(2, 0.5));
        assert!(!policy.takes_turns([Some(100.0), None].into_iter()));
    }

    #[test]
    fn passes_that_were_slower_are_measured_again() {
        let mut policy = PassPolicy::default();
        (0..MEASURED).for_each(|_| policy.observe(2, 0.5));
        for _ in 0..RETRY {
            assert!(takes(&mut policy, &[5.0, 5.0]));
        }
        for _ in 0..MEASURED {
            assert!(!takes(&mut policy, &[5.0, 5.0]));
            policy.observe(2, 0.1);
        }
        assert!(!takes(&mut policy, &[5.0, 5.0]), "on the mean of all measured ones 0.3 s");
    }
}
