//! Start policy of playing: at once, or late enough for gapless playing.
//!
//! Music comes in deliveries: a whole segment at a time, finished when the slowest stage has finished it. At a
//! production rate r (seconds of audio made in a second), the k-th delivery from now arrives after (d₁ + … + d_k) / r.
//! Playing started after a wait w has then consumed (d₁ + … + d_k) / r − w, and has had what is buffered and the
//! deliveries before: b + d₁ + … + d_(k−1). It never runs dry when for every k
//!
//! w ≥ (d₁ + … + d_k) / r − b − (d₁ + … + d_(k−1)),
//!
//! so the wait is the largest of these. Above real time the first delivery decides, and its playback covers the next
//! one: the wait is 0.

use std::time::Duration;

use heartstream_messages::units::Seconds;

/// When playing starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartPolicy {
    /// With the first sound, at the risk of under-runs.
    Now,
    /// As soon as what remains cannot under-run at the measured rate; with the first sound where the machine is faster
    /// than real time.
    #[default]
    Gapless,
}

/// Rates are taken this much slower than measured: a song gets slower as the language model's memory grows.
const CAUTION: f64 = 0.95;

/// How long to wait before playing, so that playing does not run dry: seconds, 0 to start now.
///
/// `buffered` is the audio in hand, `rate` the audio made in a second of work, `deliveries` the audio that each
/// delivery still to come brings; all in seconds. A rate of 0 waits for ever.
pub fn gapless_wait(buffered: f64, rate: f64, deliveries: impl IntoIterator<Item = f64>) -> f64 {
    let (mut made, mut wait) = (0.0, 0f64);
    for delivery in deliveries {
        if delivery <= 0.0 {
            continue;
        }
        let before = made;
        made += delivery;
        wait = wait.max(made / rate.max(0.0) - buffered - before);
    }
    wait
}

/// Deliveries of `each` seconds that bring `remaining` seconds; the last is what is left.
pub fn even_deliveries(each: f64, remaining: f64) -> impl Iterator<Item = f64> {
    // A day in pieces of a frame would be a million; smaller pieces say nothing more.
    let each = each.max(remaining / 1e6).max(f64::MIN_POSITIVE);
    let whole = if remaining > 0.0 { (remaining / each) as usize } else { 0 };
    let rest = remaining - whole as f64 * each;
    std::iter::repeat_n(each, whole).chain((rest > 1e-9).then_some(rest))
}

/// The decision about the start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// Playing may start at this time of the song's clock.
    pub at: Duration,
    /// How long that is from when it was decided.
    pub wait: Seconds,
    /// Seconds of work for a second of audio, as measured so far.
    pub real_time_factor: f64,
}

/// Device buffer: the most audio that is consumed when a device is opened, before playback.
pub(super) const LEAD: Seconds = Seconds(0.5);

/// Decides when a song starts, from when its audio came.
///
/// It reads no clock: times come in, all since the request.
#[derive(Debug, Clone)]
pub struct StartGate {
    policy: StartPolicy,
    /// Where each delivery of the longest song ends, seconds; beyond the last they go on `each` at a time.
    ends: Vec<f64>,
    /// Audio in a delivery, seconds.
    each: f64,
    /// The delivery that is in hand, counted from 0.
    delivery: Option<u64>,
    /// When the first delivery came, and how much audio it brought.
    first: Option<(Duration, f64)>,
    decision: Option<Decision>,
}

impl StartGate {
    /// A gate for audio that comes `each` at a time.
    pub fn new(policy: StartPolicy, each: Seconds) -> Self {
        Self { policy, ends: Vec::new(), each: each.0.max(1e-3), delivery: None, first: None, decision: None }
    }

    /// A gate for audio of which each delivery ends where `ends` says, in rising order from the start of the song;
    /// beyond the last the same interval repeats.
    pub fn with_deliveries(policy: StartPolicy, ends: &[Seconds]) -> Self {
        let ends: Vec<f64> = ends.iter().map(|end| end.0).collect();
        let before_last = ends.len().checked_sub(2).map_or(0.0, |place| ends[place]);
        let each = ends.last().map_or(1.0, |last| last - before_last);
        Self { ends, ..Self::new(policy, Seconds(each)) }
    }

    /// The delivery that the audio just before `delivered` is in.
    fn delivery_of(&self, delivered: f64) -> u64 {
        let listed = self.ends.partition_point(|end| *end < delivered) as u64;
        let last = self.ends.last().copied().unwrap_or(0.0);
        if (listed as usize) < self.ends.len() {
            listed
        } else {
            listed + ((delivered - last).max(0.0) / self.each) as u64
        }
    }

    /// Where a delivery ends.
    fn end_of(&self, delivery: u64) -> f64 {
        let last = self.ends.last().copied().unwrap_or(0.0);
        let beyond = || last + (delivery + 1 - self.ends.len() as u64) as f64 * self.each;
        self.ends.get(delivery as usize).copied().unwrap_or_else(beyond)
    }

    /// The audio of the deliveries after the one that ends at `in_hand`, up to `longest`.
    fn deliveries_after(&self, in_hand: f64, longest: f64) -> impl Iterator<Item = f64> {
        let mut at = in_hand;
        let mut listed = Vec::new();
        for end in self.ends.iter().map(|end| end.min(longest)).filter(|end| *end > in_hand) {
            listed.push(end - at);
            at = end;
        }
        listed.into_iter().chain(even_deliveries(self.each, longest - at))
    }

    /// Records that the audio up to `delivered` has arrived, and that the song has at most `longest`; both from the
    /// start of the song. Nothing has been played yet.
    pub fn arrived(&mut self, now: Duration, delivered: Seconds, longest: Seconds) {
        // A delivery arrives in many small blocks, one right after the other; the first one announces all of it.
        let delivery = self.delivery_of((delivered.0 - 1e-6).max(0.0));
        if self.delivery == Some(delivery) {
            return;
        }
        self.delivery = Some(delivery);
        let in_hand = self.end_of(delivery).min(longest.0.max(delivered.0));
        let since_request = in_hand / now.as_secs_f64().max(1e-9);
        // The first delivery also waited for every stage in turn; from then on they work side by side.
        let rate = match self.first {
            None => {
                self.first = Some((now, in_hand));
                since_request
            }
            Some((at, first)) => (in_hand - first) / now.saturating_sub(at).as_secs_f64().max(1e-9),
        };
        let wait = match self.policy {
            StartPolicy::Now => 0.0,
            StartPolicy::Gapless => {
                gapless_wait(in_hand - LEAD.0, rate * CAUTION, self.deliveries_after(in_hand, longest.0))
            }
        };
        // A wait that no clock can hold is as good as one for ever: the end of the song ends it.
        let at = Duration::try_from_secs_f64(wait).ok().and_then(|wait| now.checked_add(wait)).unwrap_or(Duration::MAX);
        self.decision = Some(Decision { at, wait: Seconds(wait), real_time_factor: 1.0 / rate });
    }

    /// Records that the song is complete: there is nothing left to wait for.
    pub fn complete(&mut self, now: Duration) {
        if let Some(decision) = &mut self.decision {
            decision.at = decision.at.min(now);
        }
    }

    /// What was decided last; `None` before the first audio.
    pub fn decision(&self) -> Option<Decision> {
        self.decision
    }

    /// Whether playing may start.
    pub fn is_open(&self, now: Duration) -> bool {
        self.decision.is_some_and(|decision| now >= decision.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Plays deliveries against the clock, as they arrive, and says how long it ran dry.
    fn dry(wait: f64, buffered: f64, rate: f64, deliveries: &[f64]) -> f64 {
        let (mut made, mut there, mut gaps) = (0.0, buffered, 0.0);
        for delivery in deliveries {
            made += delivery;
            // What was there lasts until `wait + there + gaps`.
            gaps += (made / rate - (wait + there + gaps)).max(0.0);
            there += delivery;
        }
        gaps
    }

    proptest! {
        #[test]
        fn after_the_wait_nothing_runs_dry_and_with_less_of_it_something_does(
            buffered in 0.0..60.0f64,
            rate in 0.05..8.0f64,
            deliveries in prop::collection::vec(0.08..30.0f64, 0..20),
        ) {
            let wait = gapless_wait(buffered, rate, deliveries.iter().copied());
            prop_assert!(dry(wait + 1e-9, buffered, rate, &deliveries) < 1e-6);
            if wait > 0.1 {
                prop_assert!(dry(wait - 0.1, buffered, rate, &deliveries) > 0.05);
            }
        }

        #[test]
        fn even_deliveries_bring_what_remains(each in 0.01..40.0f64, remaining in 0.0..400.0f64) {
            let all: Vec<f64> = even_deliveries(each, remaining).collect();
            prop_assert!((all.iter().sum::<f64>() - remaining).abs() < 1e-6);
            prop_assert!(all.iter().all(|delivery| *delivery <= each + 1e-9));
        }
    }

    #[test]
    fn a_song_that_is_there_is_not_waited_for() {
        assert_eq!(gapless_wait(10.0, 0.1, []), 0.0);
        assert_eq!(gapless_wait(0.0, 0.0, even_deliveries(25.6, 0.0)), 0.0);
    }

    #[test]
    fn a_machine_that_makes_nothing_is_waited_for_until_the_song_is_there() {
        assert_eq!(gapless_wait(10.0, 0.0, [1.0]), f64::INFINITY);
    }

    #[test]
    fn half_of_real_time_waits_for_half_of_the_song() {
        // 100 s at half of real time are there after 200 s; playing may start after 100 s.
        let wait = gapless_wait(0.0, 0.5, even_deliveries(0.001, 100.0));
        assert!((wait - 100.0).abs() < 0.01, "{wait}");
    }

    const EACH: Seconds = Seconds(25.6);
    const LONGEST: Seconds = Seconds(240.0);

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn faster_than_real_time_gapless_starts_with_the_first_block() {
        let mut gate = StartGate::new(StartPolicy::Gapless, EACH);
        assert!(!gate.is_open(seconds(19.0)));
        gate.arrived(seconds(20.0), Seconds(0.24), LONGEST);
        assert!(gate.is_open(seconds(20.0)));
    }

    #[test]
    fn slower_than_real_time_gapless_waits_and_says_how_long_and_now_does_not() {
        let decide = |policy| {
            let mut gate = StartGate::new(policy, EACH);
            gate.arrived(seconds(51.2), Seconds(0.24), LONGEST);
            (gate.decision().expect("audio came"), gate.is_open(seconds(51.2)))
        };
        let (now, open) = decide(StartPolicy::Now);
        assert!(open && now.wait == Seconds(0.0) && (now.real_time_factor - 2.0).abs() < 1e-9);
        let (gapless, open) = decide(StartPolicy::Gapless);
        // 8 whole deliveries remain and a short one. At 0.475 of real time the eighth comes after 431 s, and 8 are
        // there before it with the one in hand, less what the device takes at once; the short one asks for less.
        assert!(!open && (gapless.wait.0 - (8.0 * 25.6 / 0.475 - 8.0 * 25.6 + 0.5)).abs() < 1e-6, "{gapless:?}");
    }

    #[test]
    fn stages_that_work_side_by_side_are_faster_than_their_first_delivery_and_shorten_the_wait() {
        let mut gate = StartGate::new(StartPolicy::Gapless, EACH);
        gate.arrived(seconds(40.0), Seconds(0.24), LONGEST);
        let first = gate.decision().expect("audio came");
        assert!(first.at > seconds(40.0));
        gate.arrived(seconds(60.0), Seconds(25.84), LONGEST);
        let second = gate.decision().expect("audio came");
        assert!((second.real_time_factor - 20.0 / 25.6).abs() < 1e-9);
        assert!(gate.is_open(seconds(60.0)), "{second:?}");
    }

    #[test]
    fn blocks_of_one_delivery_decide_once() {
        let mut gate = StartGate::new(StartPolicy::Gapless, EACH);
        gate.arrived(seconds(50.0), Seconds(0.24), LONGEST);
        let first = gate.decision();
        gate.arrived(seconds(55.0), Seconds(25.6), LONGEST);
        assert_eq!(gate.decision(), first);
    }

    #[test]
    fn the_end_of_the_song_ends_the_wait() {
        let mut gate = StartGate::new(StartPolicy::Gapless, EACH);
        gate.arrived(seconds(100.0), Seconds(0.24), LONGEST);
        assert!(!gate.is_open(seconds(101.0)));
        gate.complete(seconds(101.0));
        assert!(gate.is_open(seconds(101.0)));
    }

    #[test]
    fn a_small_first_window_does_not_wait_as_long_as_a_large_later_one_takes() {
        // Windows that double, on a machine that makes 2.5 seconds of audio in a second.
        let ends = [3.84, 7.68, 18.88, 44.48, 70.08].map(Seconds);
        let mut gate = StartGate::with_deliveries(StartPolicy::Gapless, &ends);
        gate.arrived(Duration::from_secs_f64(3.84 / 2.5), Seconds(0.24), Seconds(240.0));
        let growing = gate.decision().expect("a decision").wait.0;
        let mut even = StartGate::new(StartPolicy::Gapless, Seconds(25.6));
        even.arrived(Duration::from_secs_f64(25.6 / 2.5), Seconds(0.24), Seconds(240.0));
        assert!(growing < 1.0, "{growing}");
        assert_eq!(even.decision().expect("a decision").wait.0, 0.0);
    }

    #[test]
    fn listed_deliveries_that_are_even_are_even_deliveries() {
        let ends: Vec<Seconds> = (1..=4).map(|place| Seconds(f64::from(place) * 5.0)).collect();
        let mut listed = StartGate::with_deliveries(StartPolicy::Gapless, &ends);
        let mut even = StartGate::new(StartPolicy::Gapless, Seconds(5.0));
        for (seconds, delivered) in [(8.0, 0.5), (15.0, 5.5), (23.0, 10.2), (60.0, 31.0)] {
            listed.arrived(Duration::from_secs_f64(seconds), Seconds(delivered), Seconds(60.0));
            even.arrived(Duration::from_secs_f64(seconds), Seconds(delivered), Seconds(60.0));
            let (listed, even) = (listed.decision().expect("one"), even.decision().expect("one"));
            assert!((listed.wait.0 - even.wait.0).abs() < 1e-6, "{listed:?} {even:?}");
        }
    }
}
