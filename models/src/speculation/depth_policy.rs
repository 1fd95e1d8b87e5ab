//! Policy of the depth decoder: of two ways to do a round's work, the one that has cost less so far.
//!
//! It reads no clock: times come in with the outcomes of rounds.

use super::{
    policy::Ewma,
    round::{Completion, DepthWork, RoundOutcome},
};

/// Rounds until the way that was the dearer one is tried again.
const RETRY: u32 = 128;

/// Two ways of the same work, and what they cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct TwoArmed {
    costs: [Ewma; 2],
    since_other: u32,
}

impl TwoArmed {
    /// The way to go next: the first one to begin with, the second one as soon as there is something to compare it
    /// with, then the cheaper one, and now and then the other.
    fn choose(&self) -> usize {
        let better = match self.costs.map(|cost| cost.get()) {
            [None, _] => 0,
            [_, None] => return 1,
            [Some(first), Some(second)] => usize::from(second < first),
        };
        if self.since_other < RETRY { better } else { 1 - better }
    }

    /// Adds what was done in each way, and its cost.
    fn observe(&mut self, costs: [Option<f64>; 2]) {
        let before = self.choose();
        for (mean, cost) in self.costs.iter_mut().zip(costs) {
            if let Some(cost) = cost {
                mean.add(cost);
            }
        }
        let retried = self.since_other >= RETRY && costs.iter().any(Option::is_some);
        self.since_other = if retried || self.choose() != before { 0 } else { self.since_other + 1 };
    }
}

/// Chooses what is left open by a [`DepthWork`]: how frames are completed, and over how many frames a pass goes.
///
/// A pass over all drafts reads the weights once, but verifies frames behind the first wrong one in vain; frame after
/// frame the weights are read more often. Which is cheaper depends on how often drafts are right and on whether a
/// machine is bound by reading.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DepthPolicy {
    /// Jacobi iteration or code by code, in seconds for a code.
    completion: TwoArmed,
    /// All frames or frame by frame, in seconds for a written frame.
    pass: TwoArmed,
    /// The arm of the last round's passes, where there was a choice.
    passed: Option<usize>,
}

impl DepthPolicy {
    /// How the next round shall do `work`.
    pub fn choose(&mut self, work: DepthWork) -> DepthWork {
        let completion = [Completion::Jacobi, Completion::Steps][self.completion.choose()];
        // What a pass draws behind a wrong frame is wanted where the tail is.
        self.passed = (work.pass > 1 && !work.refresh_tail).then(|| self.pass.choose());
        let pass = if self.passed == Some(1) { 1 } else { work.pass };
        DepthWork { pass, completion, ..work }
    }

    /// Adds what the round did that was chosen for last.
    pub fn observe(&mut self, outcome: &RoundOutcome) {
        let cost = |codes: usize, time: std::time::Duration| (codes > 0).then(|| time.as_secs_f64() / codes as f64);
        self.completion.observe([outcome.jacobi, outcome.steps].map(|work| cost(work.codes, work.time)));
        // Without drafts both ways are the same.
        if let Some(way) = self.passed.filter(|_| outcome.drafted > 0 && !outcome.times.depth_verify.is_zero()) {
            let mut costs = [None; 2];
            costs[way] = cost(outcome.frames.len(), outcome.times.depth_verify);
            self.pass.observe(costs);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::speculation::{RoundTimes, Work};

    const WORK: DepthWork = DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail: false };

    #[test]
    fn frames_are_completed_in_the_way_that_takes_less_time_for_a_code() {
        for (jacobi, steps, best) in [(3, 5, Completion::Jacobi), (5, 3, Completion::Steps)] {
            let mut policy = DepthPolicy::default();
            let mut count = 0;
            for _ in 0..1000 {
                let choice = policy.choose(WORK).completion;
                count += u32::from(choice == best);
                let work = |time| Work { codes: 5, time: Duration::from_millis(time) };
                let mut outcome = RoundOutcome::default();
                match choice {
                    Completion::Jacobi => outcome.jacobi = work(jacobi),
                    Completion::Steps => outcome.steps = work(steps),
                }
                policy.observe(&outcome);
            }
            assert!((980..1000).contains(&count), "{count} of 1000 rounds, and the other way now and then");
        }
    }

    #[test]
    fn passes_go_over_all_frames_where_these_are_right_and_frame_by_frame_where_most_are_wrong() {
        // Three frames are drafted; a pass costs 10 ms and 5 ms for each frame.
        for (written, best) in [(3u64, usize::MAX), (1, 1)] {
            let mut policy = DepthPolicy::default();
            let mut count = 0;
            for _ in 0..1000 {
                let pass = policy.choose(WORK).pass;
                count += u32::from(pass == best);
                let time = if pass == 1 { 15 * written } else { 25 };
                let outcome = RoundOutcome {
                    frames: vec![Vec::new(); written as usize],
                    drafted: 2,
                    times: RoundTimes { depth_verify: Duration::from_millis(time), ..RoundTimes::default() },
                    ..RoundOutcome::default()
                };
                policy.observe(&outcome);
            }
            assert!((980..1000).contains(&count), "{count} of 1000 rounds, and the other way now and then");
        }
    }

    #[test]
    fn what_a_pass_draws_behind_a_wrong_frame_is_drawn_where_it_is_wanted() {
        let mut policy = DepthPolicy::default();
        let work = DepthWork { refresh_tail: true, ..WORK };
        for _ in 0..300 {
            assert_eq!(policy.choose(work).pass, usize::MAX);
            let times = RoundTimes { depth_verify: Duration::from_secs(1), ..RoundTimes::default() };
            policy.observe(&RoundOutcome { drafted: 2, times, ..RoundOutcome::default() });
        }
    }
}
