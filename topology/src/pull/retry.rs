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

/// Why a request came to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Another try would end in the same way.
    Final(PullError),
    /// Another try may go better.
    Passing {
        reason: String,
        /// How long the server wants to be left alone.
        wait: Option<Duration>,
    },
    /// The server does not answer requests for headers alone.
    NoHead,
}

/// What a server is said to do that knows no HEAD.
const NO_HEAD: &str = "the server does not answer requests for headers";

impl Trouble {
    fn reason(&self) -> String {
        match self {
            Self::Final(error) => error.to_string(),
            Self::Passing { reason, .. } => reason.clone(),
            Self::NoHead => NO_HEAD.to_owned(),
        }
    }
}

impl From<PullError> for Trouble {
    fn from(error: PullError) -> Self {
        Self::Final(error)
    }
}

/// Counts the failures of one file.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
}

impl Patience {
    /// Something was gained: failures before it count no more.
    pub(crate) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits until another try makes sense.
    ///
    /// # Errors
    /// When it makes none, or there were enough.
    pub(crate) fn bear(&mut self, trouble: Trouble, url: &str, say: &dyn Fn(&str)) -> Result<()> {
        let reason = trouble.reason();
        let wait = self.wait(trouble, url)?;
        say(&format!("{}: {reason}; the next try is in {:.1} s", shown(url), wait.as_secs_f64()));
        thread::sleep(wait);
        Ok(())
    }

    fn wait(&mut self, trouble: Trouble, url: &str) -> Result<Duration> {
        let (reason, wait) = match trouble {
            Trouble::Final(error) => return Err(error),
            Trouble::Passing { reason, wait } => (reason, wait),
            Trouble::NoHead => (NO_HEAD.to_owned(), None),
        };
        self.failures += 1;
        let wait = wait.unwrap_or(FIRST_WAIT * 2u32.pow(self.failures - 1));
        if self.failures >= MOST_FAILURES || wait > LONGEST_WAIT {
            return Err(PullError::GaveUp { url: url.to_owned(), reason, attempts: self.failures });
        }
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passing(seconds: Option<u64>) -> Trouble {
        Trouble::Passing { reason: "it is tired".to_owned(), wait: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn waits_grow_and_come_to_an_end_after_half_a_minute() {
        let mut patience = Patience::default();
        let waits: Vec<Duration> = std::iter::from_fn(|| patience.wait(passing(None), "u").ok()).collect();
        assert_eq!(waits.len() as u32, MOST_FAILURES - 1);
        assert!(waits.windows(2).all(|pair| pair[1] == 2 * pair[0]));
        assert!(waits.iter().sum::<Duration>() < Duration::from_secs(40));
    }

    #[test]
    fn gaining_something_renews_patience() {
        let mut patience = Patience::default();
        for _ in 0..10 * MOST_FAILURES {
            assert_eq!(patience.wait(passing(None), "u").expect("it is the first failure"), FIRST_WAIT);
            patience.renew();
        }
    }

    #[test]
    fn a_server_is_left_alone_as_long_as_it_wants_but_not_for_ever() {
        let mut patience = Patience::default();
        assert_eq!(patience.wait(passing(Some(7)), "u").expect("a short wait"), Duration::from_secs(7));
        let error = patience.wait(passing(Some(1 << 40)), "u").expect_err("too long");
        assert_eq!(
            error.to_string(),
            "u: it is tired, 2 times one after another. Run the same command again later: it goes on from there"
        );
    }
}
