//! May drafting be dared now? Only as far as the song can lose it without being noticeably slower than plain decoding.
//!
//! What was measured says what drafts were worth, not what they will be: a song can turn at any moment. So drafting has a
//! purse. A small share of every frame's plain time goes in, what a drafted round earns or loses against plain decoding
//! goes in or out, and a round is dared only if the purse can pay for it when all its drafts are wrong. However a song
//! turns, and whenever, it is never slower by more than that share and what one round was misjudged by.

/// What of plain decoding's time may be lost.
const SHARE: f64 = 0.0125;
/// The purse holds so many frames' plain time at most: what was earned long ago is not lost again at once.
const MOST: f64 = 8.0;
/// And so many when a song begins, which must not pay for what other songs have earned.
const AT_START: f64 = 1.0;

/// The purse, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Account {
    balance: f64,
}

impl Account {
    /// A round wrote so many frames in so many seconds, where plain decoding takes `plain` seconds for a frame.
    pub(super) fn round(&mut self, frames: usize, seconds: f64, plain: f64, drafted: bool) {
        let usual = frames as f64 * plain;
        let earned = if drafted { usual - seconds } else { 0.0 };
        self.balance = (self.balance + SHARE * usual + earned).min(MOST * plain);
    }

    /// Whether a round can be paid for that takes so many seconds and writes a single frame.
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
    fn what_is_dared_is_never_more_than_the_share_that_may_be_lost() {
        // Every round that can be dared is, and is lost.
        let (mut account, mut spent, mut frames) = (Account::default(), 0.0, 0usize);
        while frames < 10_000 {
            let drafted = account.affords(2.5, 1.0);
            let seconds = if drafted { 2.5 } else { 1.0 };
            account.round(1, seconds, 1.0, drafted);
            (spent, frames) = (spent + seconds, frames + 1);
            assert!(spent <= (1.0 + SHARE) * frames as f64, "{spent} s for {frames} frames");
        }
        assert!(spent > 1.01 * frames as f64, "and what may be lost is dared");
    }

    #[test]
    fn what_was_earned_may_be_lost_again_but_not_all_of_it_and_little_of_another_songs() {
        let mut account = Account::default();
        account.round(1000, 500.0, 1.0, true);
        assert!(account.affords(9.0, 1.0) && !account.affords(9.1, 1.0));
        account.new_song(1.0);
        assert!(account.affords(2.0, 1.0) && !account.affords(2.1, 1.0));
    }
}
