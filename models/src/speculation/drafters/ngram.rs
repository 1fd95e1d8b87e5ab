//! `ngram`: what followed when the same frames were there before.
//!
//! Silence, loops and digital repeats come again code by code; nothing else does. It costs nothing, and it says nothing
//! where the last frames are new.

use std::collections::HashMap;

use crate::{
    error::Result,
    speculation::{
        drafter::{Draft, DraftContext, FrameDrafter},
        target::Frame,
    },
};

/// The longest repeat that is looked for first, in frames.
const LONGEST: usize = 3;

/// Drafts what followed the same frames before.
#[derive(Debug, Default)]
pub struct NGram {
    /// For each length of a repeat: where its frames were last seen, as the place behind them.
    seen: [HashMap<Vec<Frame>, usize>; LONGEST],
    /// Number of frames of the song that are in `seen`.
    read: usize,
}

impl NGram {
    /// Takes the frames of the song that are new.
    fn read(&mut self, past: &[Frame]) {
        // The end of the song is not put in: it is what is looked up.
        for end in self.read + 1..past.len() {
            for (length, seen) in (1..).zip(&mut self.seen) {
                if length <= end {
                    seen.insert(past[end - length..end].to_vec(), end);
                }
            }
        }
        self.read = self.read.max(past.len().saturating_sub(1));
    }
}

impl FrameDrafter for NGram {
    fn name(&self) -> &'static str {
        "ngram"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        self.read(context.past);
        let mut song: Vec<Frame> = context.past.iter().rev().take(LONGEST).rev().cloned().collect();
        song.extend(context.drafted.iter().map(|draft| draft.codes.clone()));
        let found = (1..=LONGEST.min(song.len()))
            .rev()
            .find_map(|length| self.seen[length - 1].get(&song[song.len() - length..]).copied());
        let Some(place) = found else { return Ok(Vec::new()) };
        // A repeat shorter than what is drafted repeats itself.
        let period = context.past.len() - place;
        let following = (0..count).map(|frame| context.past[place + frame % period].clone().into());
        Ok(following.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        heartmula::{KeyedSampler, Sampling},
        signal::KeyedNoise,
    };

    fn drafted(ngram: &mut NGram, past: &[u32], count: usize) -> Vec<u32> {
        let sampler = KeyedSampler::new(Sampling { top_k: 5, ..Sampling::default() }, KeyedNoise::new(1));
        let sampler = sampler.expect("in range");
        let past: Vec<Frame> = past.iter().map(|code| vec![*code, code + 1]).collect();
        let context = DraftContext { past: &past, drafted: &[], trail: None, guidance: 1.0, sampler: &sampler };
        ngram.draft(&context, count).expect("drafts").iter().map(|draft| draft.codes[0]).collect()
    }

    #[test]
    fn what_followed_the_longest_repeat_is_drafted_and_goes_round() {
        let mut ngram = NGram::default();
        assert!(drafted(&mut ngram, &[], 2).is_empty());
        assert!(drafted(&mut ngram, &[1, 2, 3], 2).is_empty(), "nothing has been there before");
        assert_eq!(drafted(&mut ngram, &[1, 2, 3, 1, 2], 2), [3, 1]);
        assert_eq!(drafted(&mut ngram, &[1, 2, 3, 1, 2, 3], 5), [1, 2, 3, 1, 2]);
        // The last two decide before the last one: 5 came after 4, 2 and 9 after 3, 2.
        let mut ngram = NGram::default();
        assert_eq!(drafted(&mut ngram, &[4, 2, 5, 3, 2, 9, 4, 2], 1), [5]);
    }
}
