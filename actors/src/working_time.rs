//! Time in which a song is being made: at least one stage works. What waits for a listener does not count.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A clock that runs while anything is at work.
#[derive(Debug, Default)]
pub struct WorkingTime(Mutex<Working>);

#[derive(Debug, Default)]
struct Working {
    /// Stages at work, and since when there is one.
    stages: Option<(usize, Instant)>,
    /// Time before that.
    before: Duration,
}

/// A stage at work, until it is dropped.
#[derive(Debug)]
pub struct AtWork<'a>(&'a WorkingTime);

impl WorkingTime {
    /// A stage begins to work.
    pub fn begin(&self) -> AtWork<'_> {
        let mut working = self.working();
        let (stages, since) = working.stages.unwrap_or_else(|| (0, Instant::now()));
        working.stages = Some((stages + 1, since));
        AtWork(self)
    }

    /// The time so far.
    pub fn so_far(&self) -> Duration {
        let working = self.working();
        working.before + working.stages.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    fn working(&self) -> MutexGuard<'_, Working> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut working = self.0.working();
        if let Some((stages, since)) = working.stages {
            if stages > 1 {
                working.stages = Some((stages - 1, since));
            } else {
                working.stages = None;
                working.before += since.elapsed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_runs_while_anything_is_at_work_and_counts_what_overlaps_once() {
        let clock = WorkingTime::default();
        assert_eq!(clock.so_far(), Duration::ZERO);
        let begun = Instant::now();
        let (first, second) = (clock.begin(), clock.begin());
        drop(first);
        while clock.so_far() < Duration::from_millis(5) {
            std::hint::spin_loop();
        }
        drop(second);
        let ended = clock.so_far();
        assert!(ended <= begun.elapsed(), "two at once are no more than the time that passed");
        assert_eq!(clock.so_far(), ended, "nothing is at work");
        drop(clock.begin());
        assert!(clock.so_far() >= ended);
    }
}
