//! `oracle`: drafts from the plain song itself, right as often as is asked for. For tests and benches.

use std::sync::Arc;

use heartstream_models::{
    ModelError, Result,
    signal::KeyedNoise,
    speculation::{Draft, DraftContext, Frame, FrameDrafter, RoundOutcome},
};

/// Knows the song.
#[derive(Debug, Clone)]
pub struct Oracle {
    song: Arc<[Frame]>,
    probability: f64,
    noise: KeyedNoise,
}

impl Oracle {
    /// Drafts each frame of `song` right with `probability`, and wrong from some code on otherwise; `seed` chooses.
    ///
    /// # Errors
    /// When the probability is not from 0 to 1.
    pub fn new(song: Arc<[Frame]>, probability: f64, seed: u64) -> Result<Self> {
        if !(0.0..=1.0).contains(&probability) {
            let expected = "a probability from 0 to 1".to_owned();
            return Err(ModelError::Option { option: "oracle", expected, found: probability.to_string() });
        }
        Ok(Self { song, probability, noise: KeyedNoise::new(seed) })
    }

    /// A number from 0 to 1 that belongs to the frame and to what it is for.
    fn uniform(&self, frame: u64, purpose: u32) -> f64 {
        self.noise.uniform(frame, u32::MAX, 4 * purpose)
    }
}

impl FrameDrafter for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let first = context.next();
        let known = self.song.iter().enumerate().skip(first as usize).take(count);
        let drafts = known.map(|(place, frame)| {
            let mut codes = frame.clone();
            if self.uniform(place as u64, 0) >= self.probability {
                let wrong = (self.uniform(place as u64, 1) * codes.len() as f64) as usize;
                let wrong = wrong.min(codes.len() - 1);
                // Behind a wrong code a drafter that does not know the song goes wrong too. The neighbour of a code is
                // another code, and one that the model has: 0 has 1, all others one below.
                codes[wrong..].iter_mut().for_each(|code| *code = if *code == 0 { 1 } else { *code - 1 });
            }
            Draft::from(codes)
        });
        Ok(drafts.collect())
    }
}

/// Knows the song, and is right only until it is relied on: a drafter made to defeat a policy that chooses drafters by
/// what they were worth. It is right until a number of rounds in a row were drafted, which no trial is long; then it is
/// wrong until a frame is written without it.
#[derive(Debug, Clone)]
pub struct AdversarialDrafter {
    right: Oracle,
    wrong: Oracle,
    /// Rounds in a row that were drafted, and the place of the frame behind them.
    rounds: u32,
    next: u64,
}

impl AdversarialDrafter {
    /// Drafted rounds in a row in which it is right.
    const LOYAL: u32 = 8;

    /// For `song`.
    ///
    /// # Errors
    /// Never: its probabilities are in range.
    pub fn new(song: &Arc<[Frame]>) -> Result<Self> {
        let oracle = |probability| Oracle::new(Arc::clone(song), probability, 1);
        Ok(Self { right: oracle(1.0)?, wrong: oracle(0.0)?, rounds: 0, next: 0 })
    }
}

impl FrameDrafter for AdversarialDrafter {
    fn name(&self) -> &'static str {
        "adversarial"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let place = context.next();
        self.rounds = if place == self.next { self.rounds + 1 } else { 1 };
        let oracle = if self.rounds <= Self::LOYAL { &mut self.right } else { &mut self.wrong };
        oracle.draft(context, count)
    }

    fn observe(&mut self, outcome: &RoundOutcome) {
        self.next = outcome.first + outcome.frames.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use heartstream_models::heartmula::{KeyedSampler, Sampling};

    use super::*;

    #[test]
    fn a_turncoat_is_right_until_it_is_relied_on_and_again_after_a_frame_without_it() {
        let song: Arc<[Frame]> = (0..100).map(|frame| vec![frame % 30; 8]).collect();
        let sampler = KeyedSampler::new(Sampling { top_k: 5, ..Sampling::default() }, KeyedNoise::new(1));
        let sampler = sampler.expect("in range");
        let mut adversarial = AdversarialDrafter::new(&song).expect("a drafter");
        let mut is_right = |place: usize| {
            let context =
                DraftContext { past: &song[..place], drafted: &[], trail: None, guidance: 1.0, sampler: &sampler };
            let drafts = adversarial.draft(&context, 1).expect("drafts");
            let written = RoundOutcome { first: place as u64, frames: vec![Vec::new()], ..RoundOutcome::default() };
            adversarial.observe(&written);
            drafts[0].codes == song[place]
        };
        for start in [10, 40] {
            let right: Vec<bool> = (start..start + 12).map(&mut is_right).collect();
            assert_eq!(right.iter().filter(|right| **right).count(), AdversarialDrafter::LOYAL as usize);
            assert!(right[0] && !right[11]);
        }
    }

    #[test]
    fn an_oracle_is_right_as_often_as_it_is_asked_to_be() {
        let song: Arc<[Frame]> = (0..4000).map(|frame| vec![frame % 30; 8]).collect();
        let sampler = KeyedSampler::new(Sampling { top_k: 5, ..Sampling::default() }, KeyedNoise::new(1));
        let sampler = sampler.expect("in range");
        let context = DraftContext { past: &[], drafted: &[], trail: None, guidance: 1.0, sampler: &sampler };
        for probability in [0.0, 0.3, 1.0] {
            let mut oracle = Oracle::new(Arc::clone(&song), probability, 3).expect("a probability");
            let drafts = oracle.draft(&context, song.len()).expect("drafts");
            let right = drafts.iter().zip(song.iter()).filter(|(draft, frame)| draft.codes == **frame).count();
            let share = right as f64 / song.len() as f64;
            assert!((share - probability).abs() < 0.04, "{share} of {probability}");
            let wrong = |codebook: usize| {
                drafts.iter().zip(song.iter()).filter(|(draft, frame)| draft.codes[codebook] != frame[codebook]).count()
            };
            if probability == 0.0 {
                let wrong: Vec<usize> = (0..8).map(wrong).collect();
                assert!(wrong[0] > 300 && wrong.is_sorted() && wrong[7] == song.len(), "{wrong:?}");
            }
        }
        assert!(Oracle::new(song, 1.5, 0).is_err());
    }
}
