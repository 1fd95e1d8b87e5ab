//! The lowest speed that a server may have: one that sends a byte a second is left, and tried again.

use std::time::Duration;

/// Bytes a second, at least.
const LOWEST: u64 = 1000;

/// How fast the bytes of one answer come.
#[derive(Debug)]
pub(super) struct SpeedMeter {
    /// Over so long the speed is measured.
    span: Duration,
    since: Duration,
    bytes: u64,
}

impl SpeedMeter {
    /// A meter of the speed over each `span`.
    pub(super) fn new(span: Duration) -> Self {
        Self { span, since: Duration::ZERO, bytes: 0 }
    }

    /// Takes note of `bytes` that came at `now`, counted from the beginning of the answer. The speed of a whole span in
    /// which too little came, in bytes a second.
    pub(super) fn came(&mut self, now: Duration, bytes: u64) -> Option<u64> {
        self.bytes += bytes;
        let span = now.saturating_sub(self.since);
        if span < self.span {
            return None;
        }
        let speed = (self.bytes as f64 / span.as_secs_f64()) as u64;
        (self.since, self.bytes) = (now, 0);
        (speed < LOWEST).then_some(speed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(20);

    #[test]
    fn a_byte_a_second_is_too_slow_and_a_thousand_are_not() {
        let first = |bytes: u64| {
            let mut meter = SpeedMeter::new(SPAN);
            (1..=100u64).find_map(|second| meter.came(Duration::from_secs(second), bytes).map(|speed| (second, speed)))
        };
        assert_eq!(first(1), Some((20, 1)));
        assert_eq!(first(999), Some((20, 999)));
        assert_eq!(first(1000), None);
    }

    #[test]
    fn a_server_that_becomes_slow_is_noticed_however_much_came_before() {
        let mut meter = SpeedMeter::new(SPAN);
        assert_eq!(meter.came(Duration::from_secs(20), 1 << 40), None);
        assert_eq!(meter.came(Duration::from_secs(39), 10), None);
        assert_eq!(meter.came(Duration::from_secs(41), 0), Some(0));
    }
}
