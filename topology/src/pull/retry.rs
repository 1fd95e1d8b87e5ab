//! Retries: which failures pass, and the wait between two tries.

use std::{thread, time::Duration};

use heartstream_models::foreign_text::shown;

use super::error::{PullError, Result};

/// Failures one after another, with nothing gained in between, until a file is given up.
const MOST_FAILURES: u32 = 8;
/// Wait after the first failure; it doubles with each one, so that all waits together are about half a minute.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// A server that wants to be left alone for longer is left alone altogether.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A failed request, and whether to try again.
#[derive(Debug)]
pub(crate) enum Retryable {
    /// Another try would end in the same way.
    Final(PullError),
    /// Another try may go better.
    Passing {
        reason: String,
        /// How long the server wants to be left alone.
        delay: Option<Duration>,
    },
    /// The server does not answer requests for headers alone.
    NoHead,
}

/// Reason of a server that does not support HEAD.
const NO_HEAD: &str = "the server does not answer requests for headers";

impl Retryable {
    fn reason(&self) -> String {
        match self {
            Self::Final(error) => error.to_string(),
            Self::Passing { reason, .. } => reason.clone(),
            Self::NoHead => NO_HEAD.to_owned(),
        }
    }
}

impl From<PullError> for Retryable {
    fn from(error: PullError) -> Self {
        Self::Final(error)
    }
}

/// Counts the failures of one file.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Resets the count of failures after progress.
    pub(crate) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits until another try makes sense.
    ///
    /// # Errors
    /// When it makes none, or there were enough.
    pub(crate) fn wait(&mut self, retryable: Retryable, url: &str, say: &dyn Fn(&str)) -> Result<()> {
        let reason = retryable.reason();
        let delay = self.delay(retryable, url)?;
        say(&format!("{}: {reason}; the next try is in {:.1} s", shown(url), delay.as_secs_f64()));
        thread::sleep(delay);
        Ok(())
    }

    fn delay(&mut self, retryable: Retryable, url: &str) -> Result<Duration> {
        let (reason, delay) = match retryable {
            Retryable::Final(error) => return Err(error),
            Retryable::Passing { reason, delay } => (reason, delay),
            Retryable::NoHead => (NO_HEAD.to_owned(), None),
        };
        self.failures += 1;
        let delay = delay.unwrap_or(FIRST_WAIT * 2u32.pow(self.failures - 1));
        if self.failures >= MOST_FAILURES || delay > LONGEST_WAIT {
            return Err(PullError::GaveUp { url: url.to_owned(), reason, attempts: self.failures });
        }
        Ok(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(seconds: Option<u64>) -> Retryable {
        Retryable::Passing { reason: "it is tired".to_owned(), delay: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn waits_grow_and_come_to_an_end_after_half_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = std::iter::from_fn(|| backoff.delay(passing(None), "u").ok()).collect();
        assert_eq!(waits.len() as u32, MOST_FAILURES - 1);
        assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]));
        assert!(waits.iter().sum::<Duration>() < Duration::from_secs(40));
    }

    #[test]
    fn gaining_something_renews_patience() {
        let mut backoff = Backoff::default();
        for _ in 0..10 * MOST_FAILURES {
            assert_eq!(backoff.delay(passing(None), "u").expect("it is the first failure"), FIRST_WAIT);
            backoff.renew();
        }
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_wants_but_not_for_ever() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.delay(passing(Some(7)), "u").expect("a short wait"), Duration::from_secs(7));
        let error = backoff.delay(passing(Some(1 << 40)), "u").expect_err("too long");
        assert_eq!(
            error.to_string(),
            "u: it is tired, 2 times one after another. Run the same command again later: it goes on from there"
        );
    }
}
