//! Loss budget of speculative decoding: a round is drafted only if the song can afford to lose it.
//!
//! Acceptance rates are measured in the past, and a song can change at any moment. So drafting has a budget. A small
//! share of every frame's plain time is added to it. What a drafted round earns or loses against plain decoding is
//! added or taken. A round is drafted only if the budget covers it with all drafts wrong. So a song is never slower by
//! more than that share and the misjudged cost of one round.

/// What of plain decoding's time may be lost.
const SHARE: f64 = 0.0125;
/// Most that the budget holds, in frames' plain time: what was earned long ago is not lost again at once.
const MOST: f64 = 8.0;
/// … and at the beginning of a song, which must not pay for what other songs have earned.
const AT_START: f64 = 1.0;

/// The budget, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct LossBudget {
    balance: f64,
}

impl LossBudget {
    /// A round wrote `frames` in `seconds`, where plain decoding takes `plain` seconds for a frame.
    pub(super) fn round(&mut self, frames: usize, seconds: f64, plain: f64, drafted: bool) {
        let usual = frames as f64 * plain;
        let earned = if drafted { usual - seconds } else { 0.0 };
        self.balance = (self.balance + SHARE * usual + earned).min(MOST * plain);
    }

    /// Whether a round can be paid for that takes `seconds` and writes a single frame.
    pub(super) fn affords(&self, seconds: f64, plain: f64) -> bool {
        self.balance >= seconds - plain
    }

    /// Another song begins.
    pub(super) fn new_song(&mut self, plain: f64) {
        self.balance = self.balance.min(AT_START * plain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spent_is_never_more_than_the_share_that_may_be_lost() {
        // Every round that is affordable is drafted, and lost.
        let (mut budget, mut spent, mut frames) = (LossBudget::default(), 0.0, 0usize);
        while frames < 10_000 {
            let drafted = budget.affords(2.5, 1.0);
            let seconds = if drafted { 2.5 } else { 1.0 };
            budget.round(1, seconds, 1.0, drafted);
            (spent, frames) = (spent + seconds, frames + 1);
            assert!(spent <= (1.0 + SHARE) * frames as f64, "{spent} s for {frames} frames");
        }
        assert!(spent > 1.01 * frames as f64, "and what may be lost is spent");
    }

    #[test]
    fn what_was_earned_may_be_lost_again_but_not_all_of_it_and_little_of_another_songs() {
        let mut budget = LossBudget::default();
        budget.round(1000, 500.0, 1.0, true);
        assert!(budget.affords(9.0, 1.0) && !budget.affords(9.1, 1.0));
        budget.new_song(1.0);
        assert!(budget.affords(2.0, 1.0) && !budget.affords(2.1, 1.0));
    }
}
