//! `oracle`: drafts from the plain song itself, right as often as is asked for. For tests and benches.

use std::sync::Arc;

use crate::{
    error::{ModelError, Result},
    signal::KeyedNoise,
    speculation::{
        drafter::{Draft, DraftContext, FrameDrafter},
        target::Frame,
    },
};

/// Knows the song.
#[derive(Debug, Clone)]
pub struct Oracle {
    song: Arc<[Frame]>,
    probability: f64,
    chance: KeyedNoise,
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
        Ok(Self { song, probability, chance: KeyedNoise::new(seed) })
    }

    /// A number from 0 to 1 that belongs to the frame and to what it is for.
    fn uniform(&self, frame: u64, purpose: u32) -> f64 {
        // G = -ln(-ln(1 - u)), so 1 - u = exp(-exp(-G)).
        1.0 - (-(-self.chance.gumbel(frame, u32::MAX, 4 * purpose)).exp()).exp()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heartmula::{KeyedSampler, SamplingOptions};

    #[test]
    fn an_oracle_is_right_as_often_as_it_is_asked_to_be() {
        let song: Arc<[Frame]> = (0..4000).map(|frame| vec![frame % 30; 8]).collect();
        let sampler = KeyedSampler::new(SamplingOptions { temperature: 1.0, top_k: 5 }, KeyedNoise::new(1));
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
