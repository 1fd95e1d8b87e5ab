//! How many frames are worth drafting? What has been measured decides, and looking costs next to nothing.
//!
//! Every choice has a measured time for a round; how many frames a round writes follows from the measured share of
//! drafts that are right at each place. The choice with the most frames a second is taken. Others are tried now and then,
//! on a budget: what trials have cost beyond the best choice stays below a hundredth of all time spent, so a song that
//! drafting cannot help is not slower for it.
//!
//! Nothing here reads a clock: times come in, so that the same times give the same choices.

use super::round::{Completion, DepthWork, RoundOutcome};

/// Rounds after which a measurement counts half.
const HALF_LIFE: f64 = 32.0;
/// Trials may lose this share of the time spent.
const BUDGET: f64 = 0.01;
/// A choice must promise so much more than the present one.
const WORTH_MOVING: f64 = 1.03;
/// A choice that drafts must earn so much over plain decoding.
const WORTH_DRAFTING: f64 = 1.02;
/// Rounds of a trial, and the fewest measured rounds by which a choice is judged.
const TRIAL: u32 = 4;
/// Frames until a choice that did not pay is tried again.
const RETRY: u64 = 512;
/// How a round that was never measured compares with the nearest one that was: hoped for, when it is asked whether to
/// look, and feared, when it is asked whether looking can be afforded.
const HOPED_FACTOR: f64 = 0.6;
const FEARED_FACTOR: f64 = 2.0;
/// How often a draft is right where none has been verified yet.
const GUESSED_MATCH: f64 = 0.5;
/// Rounds between two looks at what is best: looking costs a little, too.
const BETWEEN_LOOKS: u64 = 8;

/// A mean in which old values fade.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fading {
    mean: f64,
    count: u32,
}

impl Fading {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let share = (1.0 - (-std::f64::consts::LN_2 / HALF_LIFE).exp()).max(1.0 / f64::from(self.count));
        self.mean += share * (value - self.mean);
    }

    /// The mean; `None` before the first value.
    pub fn get(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }
}

/// What a round does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Frames that are drafted; `None` for plain decoding.
    pub frames: Option<usize>,
    /// What the depth decoder does.
    pub work: DepthWork,
}

impl Choice {
    /// One code after the other.
    pub const PLAIN: Self = Self { frames: None, work: DepthWork::PLAIN };
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Arm {
    choice: Choice,
    /// Seconds of a round.
    time: Fading,
    /// When it was last tried, in frames; never if not there.
    tried: Option<u64>,
    /// Whether the first round, which allocates and warms up, is over.
    warm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Trial {
    arm: usize,
    rounds: u32,
}

/// Chooses what rounds do.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Plain decoding first.
    arms: Vec<Arm>,
    /// At place i: how often draft number i was right where the ones before it were.
    matches: Vec<Fading>,
    current: usize,
    trial: Option<Trial>,
    /// Rounds, and frames that they wrote.
    rounds: u64,
    frames: u64,
    /// Seconds of all rounds.
    spent: f64,
    /// Seconds that trials took beyond what the present choice would have taken for the same frames.
    lost: f64,
}

impl Policy {
    /// A policy that knows nothing yet and begins with plain decoding. It chooses among drafting none and each count in
    /// `ladder`; without drafters, only the codes of single frames are guessed.
    pub fn new(ladder: &[usize], refresh_tail: bool) -> Self {
        let arm = |frames, pass| Arm {
            choice: Choice { frames, work: DepthWork { pass, completion: Completion::Jacobi, refresh_tail } },
            time: Fading::default(),
            tried: None,
            warm: false,
        };
        let plain = Arm { choice: Choice::PLAIN, ..arm(None, 0) };
        let mut arms = vec![plain, arm(Some(0), usize::MAX)];
        arms.extend(ladder.iter().flat_map(|frames| [arm(Some(*frames), usize::MAX), arm(Some(*frames), 0)]));
        let matches = vec![Fading::default(); ladder.iter().copied().max().unwrap_or(0)];
        Self { arms, matches, current: 0, trial: None, rounds: 0, frames: 0, spent: 0.0, lost: 0.0 }
    }

    /// What the next round shall do.
    pub fn choose(&mut self) -> Choice {
        if self.trial.is_none() && self.rounds.is_multiple_of(BETWEEN_LOOKS) {
            self.trial = self.next_trial().map(|arm| Trial { arm, rounds: 0 });
        }
        let arm = self.trial.map_or(self.current, |trial| trial.arm);
        self.arms[arm].choice
    }

    /// The choice that is not on trial.
    pub fn settled(&self) -> Choice {
        self.arms[self.current].choice
    }

    /// Hears that a round of the last choice wrote what `outcome` says in `seconds`, drafting included.
    pub fn observe(&mut self, outcome: &RoundOutcome, seconds: f64) {
        let arm = self.trial.map_or(self.current, |trial| trial.arm);
        let written = outcome.frames.len();
        self.rounds += 1;
        self.frames += written as u64;
        self.spent += seconds;
        for (place, share) in self.matches.iter_mut().enumerate().take(outcome.drafted.min(outcome.accepted + 1)) {
            share.add(f64::from(u8::from(place < outcome.accepted)));
        }
        let measured = &mut self.arms[arm];
        measured.tried = Some(self.frames);
        // With fewer drafts than were asked for the round was a shorter one.
        let whole = measured.choice.frames.is_none_or(|frames| frames <= outcome.drafted);
        if measured.warm && whole {
            measured.time.add(seconds);
        }
        measured.warm = true;
        if let Some(Trial { rounds, .. }) = &mut self.trial {
            *rounds += 1;
            let usual = self.arms[self.current].time.get().unwrap_or(seconds);
            self.lost += (seconds - usual * written as f64 / self.expected_frames(self.current)).max(0.0);
            let over = self.trial.is_some_and(|trial| trial.rounds > TRIAL) || self.lost > BUDGET * self.spent;
            if over {
                self.trial = None;
                self.settle();
            }
        } else if self.rounds.is_multiple_of(BETWEEN_LOOKS) {
            self.settle();
        }
    }

    /// Takes the best of the measured choices.
    fn settle(&mut self) {
        let judged = |arm: &usize| self.arms[*arm].time.count >= TRIAL;
        let best = (0..self.arms.len()).filter(judged).max_by(|a, b| self.rate(*a).total_cmp(&self.rate(*b)));
        let Some(best) = best else { return };
        let (now, then, plain) = (self.rate(self.current), self.rate(best), self.rate(0));
        if self.current > 0 && now < WORTH_DRAFTING * plain && then < WORTH_DRAFTING * plain {
            self.current = 0;
        } else if then > WORTH_MOVING * now && (best == 0 || then > WORTH_DRAFTING * plain) {
            self.current = best;
        }
    }

    /// A choice that is worth a trial now.
    fn next_trial(&self) -> Option<usize> {
        if self.arms[self.current].time.count < 2 * TRIAL {
            return None;
        }
        let now = self.rate(self.current);
        let due = |arm: &usize| {
            let Arm { tried, time, .. } = self.arms[*arm];
            // A trial that was cut short for want of budget goes on as soon as there is some.
            let known = time.count >= TRIAL;
            *arm != self.current && (!known || tried.is_none_or(|tried| tried + RETRY <= self.frames))
        };
        // What was measured long ago may have changed, too.
        let promising = |arm: &usize| self.rate(*arm) > now * if self.is_measured(*arm) { HOPED_FACTOR } else { 1.0 };
        let affordable = |arm: &usize| {
            let loss = self.feared_time(*arm) - self.expected_frames(*arm) / now;
            self.lost + loss.max(0.0) <= BUDGET * self.spent
        };
        let candidates = (0..self.arms.len()).filter(due).filter(promising).filter(affordable);
        candidates.max_by(|a, b| self.rate(*a).total_cmp(&self.rate(*b)))
    }

    /// Frames a second, measured or guessed.
    fn rate(&self, arm: usize) -> f64 {
        self.expected_frames(arm) / self.time(arm).max(f64::MIN_POSITIVE)
    }

    /// Frames that a round is expected to write.
    fn expected_frames(&self, arm: usize) -> f64 {
        let mut last = GUESSED_MATCH;
        let (mut reached, mut sum) = (1.0, 1.0);
        for place in 0..self.arms[arm].choice.frames.unwrap_or(0) {
            last = self.matches.get(place).and_then(Fading::get).unwrap_or(last);
            reached *= last;
            sum += reached;
        }
        sum
    }

    fn is_measured(&self, arm: usize) -> bool {
        self.arms[arm].time.count > 0
    }

    /// Seconds of a round, measured or hoped for.
    fn time(&self, arm: usize) -> f64 {
        self.arms[arm].time.get().unwrap_or_else(|| self.nearest(arm).1 * HOPED_FACTOR)
    }

    /// Seconds of a round, measured or feared: every further frame may cost as much as the first.
    fn feared_time(&self, arm: usize) -> f64 {
        self.arms[arm].time.get().unwrap_or_else(|| {
            let (frames, time) = self.nearest(arm);
            let more = (self.arms[arm].choice.frames.unwrap_or(0) + 1) as f64 / (frames + 1) as f64;
            time * more.max(FEARED_FACTOR)
        })
    }

    /// Drafted frames and seconds of the widest measured choice that is not wider than this one.
    fn nearest(&self, arm: usize) -> (usize, f64) {
        let below = self.arms.iter().filter(|other| other.choice.frames <= self.arms[arm].choice.frames);
        let measured = below.filter_map(|other| Some((other.choice.frames.unwrap_or(0), other.time.get()?)));
        measured
            .fold((0, 0.0), |nearest, other| if other.0 > nearest.0 || other.1 > nearest.1 { other } else { nearest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which rounds take as long as they are told to, and drafts are right with the same share everywhere.
    struct Machine {
        /// Seconds of a round by drafted frames (none for plain), with a depth pass or without.
        time: fn(Option<usize>, bool) -> f64,
        share: f64,
    }

    /// Runs so many rounds; gives the seconds they took, the frames and the last settled choice.
    fn run(policy: &mut Policy, machine: &Machine, rounds: u32) -> (f64, u64) {
        let (mut seconds, mut frames, mut chance) = (0.0, 0, 0.0);
        for _ in 0..rounds {
            let Choice { frames: drafted, work } = policy.choose();
            let drafted_frames = drafted.unwrap_or(0);
            let mut accepted = 0;
            while accepted < drafted_frames {
                chance = (chance + 0.618_033_988_75) % 1.0; // evenly spread
                if chance >= machine.share {
                    break;
                }
                accepted += 1;
            }
            let outcome = RoundOutcome {
                frames: vec![Vec::new(); accepted + 1],
                drafted: drafted_frames,
                accepted,
                ..RoundOutcome::default()
            };
            let time = (machine.time)(drafted, work.pass > 0);
            policy.observe(&outcome, time);
            (seconds, frames) = (seconds + time, frames + accepted as u64 + 1);
        }
        (seconds, frames)
    }

    #[test]
    fn where_drafting_only_costs_decoding_stays_plain_and_is_less_than_two_hundredths_slower() {
        let machines: [fn(Option<usize>, bool) -> f64; 3] = [
            |frames, _| if frames.is_some() { 1.05 } else { 1.0 },
            |frames, _| frames.map_or(1.0, |frames| 1.5 + frames as f64),
            |frames, _| frames.map_or(1.0, |frames| 1.9 * (frames + 1) as f64),
        ];
        for (number, time) in machines.into_iter().enumerate() {
            for rounds in [50, 200, 1000, 3000] {
                let mut policy = Policy::new(&[1, 2, 4, 8], false);
                let (seconds, frames) = run(&mut policy, &Machine { time, share: 0.0 }, rounds);
                let slower = seconds / frames as f64; // plain decoding takes a second for a frame
                assert!(slower < 1.02, "{slower} on machine {number}, after {rounds} rounds");
                assert_eq!(policy.settled(), Choice::PLAIN);
            }
        }
    }

    #[test]
    fn where_drafts_are_right_many_frames_are_drafted() {
        let machine = Machine { time: |frames, _| frames.map_or(1.0, |frames| 0.9 + 0.05 * frames as f64), share: 0.9 };
        let mut policy = Policy::new(&[1, 2, 4, 8], false);
        run(&mut policy, &machine, 600);
        assert_eq!(policy.settled().frames, Some(8));
        let (seconds, frames) = run(&mut policy, &machine, 300);
        assert!(frames as f64 / seconds > 3.0, "{frames} frames in {seconds} s");
    }

    #[test]
    fn where_only_guessing_codes_pays_no_frames_are_drafted() {
        let time = |frames: Option<usize>, pass: bool| match (frames, pass) {
            (None, _) => 1.0,
            (Some(frames), true) => 0.8 + 0.3 * frames as f64,
            (Some(frames), false) => 1.0 + 0.3 * frames as f64,
        };
        let mut policy = Policy::new(&[1, 2, 4, 8], false);
        run(&mut policy, &Machine { time, share: 0.1 }, 800);
        assert_eq!(policy.settled().frames, Some(0));
    }

    #[test]
    fn when_drafts_turn_bad_decoding_turns_plain_and_back() {
        let good = Machine { time: |frames, _| frames.map_or(1.0, |frames| 1.1 + 0.2 * frames as f64), share: 0.8 };
        let bad = Machine { share: 0.0, ..good };
        let mut policy = Policy::new(&[1, 2, 4, 8], false);
        run(&mut policy, &good, 600);
        assert!(policy.settled().frames > Some(0));
        run(&mut policy, &bad, 400);
        assert_eq!(policy.settled(), Choice::PLAIN);
        run(&mut policy, &good, 3000);
        assert!(policy.settled().frames > Some(0), "it has looked again");
    }
}
