//! Drafters of frames: one small trait, and a chain that asks several in order.

use candle_core::Tensor;

use super::{round::RoundOutcome, target::Frame};
use crate::{error::Result, heartmula::KeyedSampler};

/// What a drafter may read.
pub struct DraftContext<'a> {
    /// The song so far.
    pub past: &'a [Frame],
    /// Drafts that others made of the frames after it: the next to draft comes behind these.
    pub drafted: &'a [Draft],
    /// Backbone outputs \[B, frames, D\] that the last frames of `past` followed from, the unconditional row behind the
    /// other one; `None` when they are not known.
    pub trail: Option<&'a Tensor>,
    /// Guidance scale; 1 is none.
    pub guidance: f64,
    /// Draws codes with the noise of the song. A drafter that draws its own codes with it is right more often than one
    /// that takes the likeliest: the target's winner is the likely winner of a similar list under the same noise.
    pub sampler: &'a KeyedSampler,
}

impl DraftContext<'_> {
    /// The place in the song of the next frame to draft.
    pub fn next(&self) -> u64 {
        (self.past.len() + self.drafted.len()) as u64
    }

    /// The frame before the next one: drafted, or written.
    pub fn last(&self) -> Option<&Frame> {
        self.drafted.last().map(|draft| &draft.codes).or(self.past.last())
    }
}

/// A drafted frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// Its codes.
    pub codes: Frame,
    /// Codes that came next for code 0 when it was drawn, the nearest first: what the target will draw where it does
    /// not draw the draft. Empty where a drafter does not know.
    pub runners_up: Vec<u32>,
}

impl From<Frame> for Draft {
    fn from(codes: Frame) -> Self {
        Self { codes, runners_up: Vec::new() }
    }
}

/// Makes drafts. Whatever it makes, the song stays the plain one; a good drafter makes it come sooner.
pub trait FrameDrafter: Send {
    /// Its name, as a user writes it.
    fn name(&self) -> &'static str;

    /// Drafts at most `count` frames; fewer, or none, when it has nothing to say of them.
    ///
    /// # Errors
    /// When a model that it uses cannot compute.
    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>>;

    /// Receives the outcome of a round.
    fn observe(&mut self, _outcome: &RoundOutcome) {}
}

/// Drafters in the order in which they are asked: each goes on where the one before it had nothing more to say.
#[derive(Default)]
pub struct Chain {
    drafters: Vec<Box<dyn FrameDrafter>>,
}

/// Drafts of a chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chained {
    /// The drafts.
    pub drafts: Vec<Draft>,
    /// Which drafter made each.
    pub by: Vec<&'static str>,
}

impl Chain {
    /// These, the first to be asked first.
    pub fn new(drafters: Vec<Box<dyn FrameDrafter>>) -> Self {
        Self { drafters }
    }

    /// Drafts at most `count` frames behind `drafts`.
    ///
    /// # Errors
    /// When a model that a drafter uses cannot compute.
    pub fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Chained> {
        self.draft_with(&|_| true, context, count)
    }

    /// The same, by those whose name is `asked` for.
    ///
    /// # Errors
    /// As [`Chain::draft`].
    pub fn draft_with(
        &mut self,
        asked: &dyn Fn(&str) -> bool,
        context: &DraftContext<'_>,
        count: usize,
    ) -> Result<Chained> {
        let mut chained = Chained { drafts: context.drafted.to_vec(), by: Vec::new() };
        let given = chained.drafts.len();
        for drafter in self.drafters.iter_mut().filter(|drafter| asked(drafter.name())) {
            let open = count - (chained.drafts.len() - given).min(count);
            if open == 0 {
                break;
            }
            let mut more = drafter.draft(&DraftContext { drafted: &chained.drafts, ..*context }, open)?;
            more.truncate(open);
            chained.by.extend(std::iter::repeat_n(drafter.name(), more.len()));
            chained.drafts.append(&mut more);
        }
        chained.drafts.drain(..given);
        Ok(chained)
    }

    /// Passes the outcome of a round to all of them.
    pub fn observe(&mut self, outcome: &RoundOutcome) {
        self.drafters.iter_mut().for_each(|drafter| drafter.observe(outcome));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{heartmula::Sampling, signal::KeyedNoise};

    /// Drafts this number of frames of one code.
    struct Says(&'static str, u32, usize);

    impl FrameDrafter for Says {
        fn name(&self) -> &'static str {
            self.0
        }

        fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
            let next = context.next() as u32;
            Ok((0..self.2.min(count) as u32).map(|frame| vec![self.1, next + frame].into()).collect())
        }
    }

    #[test]
    fn the_first_that_has_something_to_say_fills_and_the_next_pads() {
        let sampler = KeyedSampler::new(Sampling { top_k: 5, ..Sampling::default() }, KeyedNoise::new(1));
        let sampler = sampler.expect("in range");
        let context = DraftContext { past: &[vec![0, 0]], drafted: &[], trail: None, guidance: 1.0, sampler: &sampler };
        let mut chain =
            Chain::new(vec![Box::new(Says("none", 1, 0)), Box::new(Says("two", 2, 2)), Box::new(Says("many", 3, 9))]);
        let Chained { drafts, by } = chain.draft(&context, 4).expect("drafts");
        let codes: Vec<Frame> = drafts.into_iter().map(|draft| draft.codes).collect();
        assert_eq!(codes, [[2, 1], [2, 2], [3, 3], [3, 4]]);
        assert_eq!(by, ["two", "two", "many", "many"]);
        assert!(chain.draft(&context, 0).expect("drafts").drafts.is_empty());
        let some = chain.draft_with(&|name| name != "two", &context, 2).expect("drafts");
        assert_eq!(some.by, ["many", "many"], "only those who are asked");
    }
}
