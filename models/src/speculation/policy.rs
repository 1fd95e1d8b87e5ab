//! Policy of speculative decoding: measured times and acceptance rates decide how many frames are drafted.
//!
//! Every choice has a measured time for a round; how many frames a round writes follows from the measured share of
//! drafts that are right at each place. The choice with the most frames a second is taken. Others are tried now and
//! then, on a budget: what trials have cost beyond the best choice stays below a hundredth of all time spent, so a song
//! that drafting cannot help is not slower for it. Nor is one whose acceptance rate collapses: no round is drafted that
//! the song cannot afford to lose ([`super::loss_budget`]).
//!
//! Which drafters are asked is a choice, too, and so is prefetching where there is a prefetcher: others are
//! tried beside the present one, kept if more frames a second come of them, tried again later.
//!
//! It reads no clock: times come in, so the same times give the same choices.

use super::{
    loss_budget::LossBudget,
    round::{Completion, DepthWork, RoundOutcome},
};

/// Rounds after which a measurement counts half.
const HALF_LIFE: f64 = 32.0;
/// Trials may lose this share of the time spent.
const BUDGET: f64 = 0.01;
/// Factor by which a choice must promise more than the present one.
const WORTH_MOVING: f64 = 1.03;
/// Factor by which a choice that drafts must be faster than plain decoding.
const WORTH_DRAFTING: f64 = 1.02;
/// Rounds of a trial, and the fewest measured rounds by which a choice is judged.
const TRIAL: u32 = 4;
/// Frames until a choice that did not pay is tried again.
const RETRY: u64 = 512;
/// The same for plain decoding, which everything else is judged by.
const RETRY_PLAIN: u64 = 128;
/// Cost of a round that was never measured, over that of the nearest one that was: the optimistic factor decides
/// whether it is tried, the pessimistic one whether a trial is affordable.
const OPTIMISM: f64 = 0.6;
const PESSIMISM: f64 = 2.0;
/// How often a draft is right where none has been verified yet.
const GUESSED_MATCH: f64 = 0.5;
/// Rounds between two choices of what is best: choosing costs a little, too.
const BETWEEN_LOOKS: u64 = 8;
/// A round that takes more than this factor longer than the ones before was held up by something else.
const HELD_UP: f64 = 2.0;

/// Exponentially weighted moving average.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ewma {
    mean: f64,
    count: u32,
}

impl Ewma {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        let share = (1.0 - (-std::f64::consts::LN_2 / HALF_LIFE).exp()).max(1.0 / f64::from(self.count));
        self.mean += share * (value - self.mean);
    }

    /// Lets the next values count as much as all that were added before: these are old.
    fn age(&mut self) {
        self.count = self.count.min(TRIAL);
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
    /// Which set of drafters is asked: an index into the exclusions.
    pub exclusion: usize,
    /// Whether drafts for the next round are asked for while this one is verified, and taken where they are there.
    pub prefetch: bool,
}

impl Choice {
    /// One code after the other.
    pub const PLAIN: Self = Self { frames: None, work: DepthWork::PLAIN, exclusion: 0, prefetch: false };

    /// Whether exactly one property differs: the width, the drafters, or prefetch.
    fn is_beside(&self, other: &Self) -> bool {
        let width = (self.frames, self.work) != (other.frames, other.work);
        [width, self.exclusion != other.exclusion, self.prefetch != other.prefetch]
            .iter()
            .filter(|differs| **differs)
            .count()
            <= 1
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Arm {
    choice: Choice,
    /// Seconds of a round.
    time: Ewma,
    /// When it was last tried, in frames; `None` is never.
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
    /// For each choice of drafters, at place i: how often draft number i was right where the ones before it were; in
    /// rounds that did not prepare drafts, and in those that did.
    matches: Vec<[Vec<Ewma>; 2]>,
    current: usize,
    trial: Option<Trial>,
    /// What the round does that was chosen for last, and what the one before did.
    running: usize,
    before: usize,
    budget: LossBudget,
    /// Rounds, and frames that they wrote.
    rounds: u64,
    frames: u64,
    /// Seconds of all rounds.
    spent: f64,
    /// Seconds that trials took beyond what the present choice would have taken for the same frames.
    lost: f64,
}

impl Policy {
    /// A policy without measurements; it begins with plain decoding. It chooses among drafting none and each count in
    /// `ladder`, and among `exclusions` choices of drafters to leave out. Without drafters, only the codes of single frames are
    /// guessed.
    pub fn new(ladder: &[usize], refresh_tail: bool, exclusions: usize) -> Self {
        let arm = |frames, pass, exclusion| Arm {
            choice: Choice {
                frames,
                work: DepthWork { pass, completion: Completion::Jacobi, refresh_tail },
                exclusion,
                prefetch: false,
            },
            time: Ewma::default(),
            tried: None,
            warm: false,
        };
        let plain = Arm { choice: Choice::PLAIN, ..arm(None, 0, 0) };
        let mut arms = vec![plain, arm(Some(0), usize::MAX, 0)];
        for exclusion in 0..exclusions {
            let both = |frames: &usize| [arm(Some(*frames), usize::MAX, exclusion), arm(Some(*frames), 0, exclusion)];
            arms.extend(ladder.iter().flat_map(both));
        }
        let matches = vec![Ewma::default(); ladder.iter().copied().max().unwrap_or(0)];
        Self {
            arms,
            matches: vec![[matches.clone(), matches]; exclusions.max(1)],
            current: 0,
            trial: None,
            running: 0,
            before: 0,
            budget: LossBudget::default(),
            rounds: 0,
            frames: 0,
            spent: 0.0,
            lost: 0.0,
        }
    }

    /// Adds prefetch to the choices, where there is a prefetcher.
    pub fn allow_prefetch(&mut self) {
        if self.arms.iter().any(|arm| arm.choice.prefetch) {
            return;
        }
        let drafting = self.arms.iter().filter(|arm| arm.choice.frames > Some(0));
        let twins = drafting.map(|arm| Arm {
            choice: Choice { prefetch: true, ..arm.choice },
            time: Ewma::default(),
            tried: None,
            warm: false,
        });
        let twins: Vec<Arm> = twins.collect();
        self.arms.extend(twins);
    }

    /// Another song begins, on the same machine with the same model.
    pub fn new_song(&mut self) {
        self.budget.new_song(self.arms[0].time.get().unwrap_or_default());
    }

    /// What the next round shall do.
    pub fn choose(&mut self) -> Choice {
        if self.trial.is_none() && self.rounds.is_multiple_of(BETWEEN_LOOKS) {
            self.trial = self.next_trial().map(|arm| Trial { arm, rounds: 0 });
            if let Some(Trial { arm, .. }) = self.trial {
                self.arms[arm].time.age();
            }
        }
        let tried = self.trial.map(|trial| trial.arm).filter(|arm| self.is_affordable(*arm));
        self.running = tried.unwrap_or_else(|| self.affordable());
        self.arms[self.running].choice
    }

    /// The present choice if it is affordable, else the best of those that are.
    fn affordable(&self) -> usize {
        if self.is_affordable(self.current) {
            return self.current;
        }
        let worth = |arm: &usize| {
            let Arm { time, .. } = self.arms[*arm];
            time.count >= TRIAL && self.rate(*arm) > WORTH_DRAFTING * self.rate(0) && self.is_affordable(*arm)
        };
        (1..self.arms.len()).filter(worth).max_by(|a, b| self.rate(*a).total_cmp(&self.rate(*b))).unwrap_or(0)
    }

    /// Whether a round can be lost without the song being slower for it.
    fn is_affordable(&self, arm: usize) -> bool {
        arm == 0 || self.arms[0].time.get().is_some_and(|plain| self.budget.affords(self.pessimistic_time(arm), plain))
    }

    /// The choice that is not on trial.
    pub fn settled(&self) -> Choice {
        self.arms[self.current].choice
    }

    /// Frames a second by the choice that is not on trial; `None` before it was measured.
    pub fn settled_rate(&self) -> Option<f64> {
        (self.arms[self.current].time.count >= TRIAL).then(|| self.rate(self.current))
    }

    /// Adds a round of the last choice: it wrote what `outcome` says in `seconds`, drafting included.
    pub fn observe(&mut self, outcome: &RoundOutcome, seconds: f64) {
        let arm = self.running;
        let written = outcome.frames.len();
        self.rounds += 1;
        self.frames += written as u64;
        let measured = &mut self.arms[arm];
        let usual = measured.time.get().filter(|_| measured.time.count >= TRIAL);
        let seconds = usual.map_or(seconds, |usual| seconds.min(HELD_UP * usual));
        self.spent += seconds;
        measured.tried = Some(self.frames);
        // The first round that asks for prepared drafts has none yet.
        let cold = measured.choice.prefetch && self.before != arm;
        let Choice { exclusion, prefetch, .. } = measured.choice;
        // With fewer drafts than were asked for the round was a shorter one.
        let whole = measured.choice.frames.is_none_or(|frames| frames <= outcome.drafted);
        // The first round of a choice is as slow as no other.
        if whole && measured.warm && !cold {
            measured.time.add(seconds);
        }
        measured.warm = true;
        self.before = arm;
        if !cold {
            let places = self.matches[exclusion][usize::from(prefetch)].iter_mut().enumerate();
            for (place, share) in places.take(outcome.drafted.min(outcome.accepted + 1)) {
                share.add(f64::from(u8::from(place < outcome.accepted)));
            }
        }
        if let Some(plain) = self.arms[0].time.get() {
            self.budget.round(written, seconds, plain, arm > 0);
        }
        if let Some(Trial { rounds, .. }) = self.trial.as_mut().filter(|trial| trial.arm == arm) {
            *rounds += 1;
            let over = *rounds > TRIAL;
            let usual = self.arms[self.current].time.get().unwrap_or(seconds);
            self.lost += (seconds - usual * written as f64 / self.expected_frames(self.current)).max(0.0);
            if over || self.lost > BUDGET * self.spent {
                self.trial = None;
                self.settle();
            }
        } else if self.trial.is_some() {
            // It could not be paid for: whether it is still worth while is asked again.
            self.trial = None;
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
        let present = self.arms[self.current].choice;
        let due = |arm: &usize| {
            let Arm { tried, time, choice, .. } = self.arms[*arm];
            // A trial that was cut short for want of budget goes on as soon as there is some.
            let known = time.count >= TRIAL;
            let retry = if *arm == 0 { RETRY_PLAIN } else { RETRY };
            // Other drafters, and preparing drafts, are tried beside the same round without. Where none is drafted, a
            // drafter may be better than those that were tried.
            let is_next = *arm == 0 || choice.is_beside(&present) || self.current == 0 && !choice.prefetch;
            // Nor is a wide round tried before a narrower one has shown what that costs.
            let climbs = choice.frames.is_none_or(|frames| {
                let narrower =
                    |other: &Arm| other.time.count > 0 && other.choice.frames.is_some_and(|other| other < frames);
                frames == 0 || time.count > 0 || self.arms.iter().any(narrower)
            });
            *arm != self.current
                && is_next
                && climbs
                && (!known || tried.is_none_or(|tried| tried + retry <= self.frames))
        };
        // What was measured long ago may have changed, too.
        let promising = |arm: &usize| self.rate(*arm) > now * if self.is_measured(*arm) { OPTIMISM } else { 1.0 };
        let affordable = |arm: &usize| {
            let loss = self.pessimistic_time(*arm) - self.expected_frames(*arm) / now;
            self.is_affordable(*arm) && self.lost + loss.max(0.0) <= BUDGET * self.spent
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
        let Choice { frames, exclusion, prefetch, .. } = self.arms[arm].choice;
        let [without, with] = &self.matches[exclusion];
        let matches = |place: usize| {
            // Prepared drafts count as good as others until they are measured.
            let with = with.get(place).and_then(Ewma::get).filter(|_| prefetch);
            with.or_else(|| without.get(place).and_then(Ewma::get))
        };
        for place in 0..frames.unwrap_or(0) {
            last = matches(place).unwrap_or(last);
            reached *= last;
            sum += reached;
        }
        sum
    }

    fn is_measured(&self, arm: usize) -> bool {
        self.arms[arm].time.count > 0
    }

    /// Seconds of a round: measured, or the optimistic estimate.
    fn time(&self, arm: usize) -> f64 {
        self.arms[arm].time.get().unwrap_or_else(|| self.nearest(arm).1 * OPTIMISM)
    }

    /// Seconds of a round: measured, or the pessimistic estimate, in which every further frame costs as much as the
    /// first.
    fn pessimistic_time(&self, arm: usize) -> f64 {
        self.arms[arm].time.get().unwrap_or_else(|| {
            let (frames, time) = self.nearest(arm);
            let more = (self.arms[arm].choice.frames.unwrap_or(0) + 1) as f64 / (frames + 1) as f64;
            time * more.max(PESSIMISM)
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
