//! First frame of a song, drawn again where it would end the song.
//!
//! A frame with an end-of-song code is no part of a song, so a song that draws one at its beginning would be empty. Its
//! first frame is drawn again under the next attempt's noise ([`crate::signal::KeyedNoise::attempt`]). All later frames
//! have the noise of the song itself: they depend on the first frame's codes and not on how often it was drawn, so
//! resuming a song from its codes does not need the count.

use super::{HeartMula, KeyedSampler, PromptTokens, SongState};
use crate::error::{ModelError, Result};

/// Draws of the first frame beyond the first one.
pub const REDRAWS: u32 = 8;

/// A song that has begun.
#[derive(Debug)]
pub struct Begun {
    /// The state behind the first frame.
    pub state: SongState,
    /// The codes of its first frame.
    pub codes: Vec<u32>,
    /// Draws of the first frame that ended the song.
    pub redraws: u32,
}

impl HeartMula {
    /// Writes the first frame of a song that [`HeartMula::start`] made: `state` has no frame yet. A frame with a code
    /// from `audio_eos` on is drawn again, at most [`REDRAWS`] times.
    ///
    /// # Errors
    /// As [`HeartMula::start`] and [`HeartMula::next_frame`]; [`ModelError::EmptySong`] when every draw ends the song.
    pub fn begin(
        &self,
        mut state: SongState,
        prompt: &PromptTokens,
        frames: usize,
        sampler: &KeyedSampler,
        audio_eos: u32,
    ) -> Result<Begun> {
        let most = if sampler.is_greedy() { 0 } else { REDRAWS };
        for redraws in 0..=most {
            let codes = self.next_frame(&mut state, &mut sampler.attempt(redraws))?;
            if codes.iter().all(|code| *code < audio_eos) {
                return Ok(Begun { state, codes, redraws });
            }
            let guidance = state.guidance();
            drop(state); // before there is another one
            // As a rule the prompt is the last one that was read, so this takes no time.
            state = self.start(prompt, guidance, frames)?;
        }
        Err(ModelError::EmptySong { draws: most + 1 })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::{heartmula::Sampling, signal::KeyedNoise, test_checkpoints::tiny};

    /// Codes from here on end a song; about half of all frames of the smallest model have one.
    const END: u32 = 31;

    #[test]
    fn a_first_frame_that_ends_the_song_is_that_of_the_next_attempt_and_the_rest_is_the_songs_own() {
        let (_folder, directory) = tiny();
        let model = directory.load_lm(&Device::Cpu).expect("a model");
        let prompt = PromptTokens { tags: vec![1, 80, 2], lyrics: vec![1, 100, 2] };
        let options = Sampling::default();
        let mut drawn_again = 0;
        for seed in 0..24 {
            let sampler = KeyedSampler::new(options, KeyedNoise::new(seed)).expect("options in range");
            let start = || model.start(&prompt, 1.5, 3).expect("a prompt");
            let draw = |attempt| model.next_frame(&mut start(), &mut sampler.attempt(attempt)).expect("a frame");
            let expected = (0..=REDRAWS).find(|attempt| draw(*attempt).iter().all(|code| *code < END));
            match (model.begin(start(), &prompt, 3, &sampler, END), expected) {
                (Ok(mut begun), Some(attempt)) => {
                    assert_eq!((begun.redraws, &begun.codes), (attempt, &draw(attempt)), "seed {seed}");
                    drawn_again += usize::from(attempt > 0);
                    let next = model.next_frame(&mut begun.state, &mut sampler.clone()).expect("a frame");
                    let mut replayed = start();
                    model.replay_frame(&mut replayed, &begun.codes).expect("a frame");
                    assert_eq!(next, model.next_frame(&mut replayed, &mut sampler.clone()).expect("a frame"));
                }
                (Err(ModelError::EmptySong { draws }), None) => assert_eq!(draws, REDRAWS + 1),
                (begun, expected) => panic!("seed {seed}: {begun:?}, expected {expected:?}"),
            }
        }
        assert!((3..24).contains(&drawn_again), "{drawn_again} of 24 songs");
    }

    #[test]
    fn a_greedy_song_is_drawn_once() {
        let (_folder, directory) = tiny();
        let model = directory.load_lm(&Device::Cpu).expect("a model");
        let prompt = PromptTokens { tags: vec![1, 80, 2], lyrics: vec![1, 100, 2] };
        let greedy =
            KeyedSampler::new(Sampling { temperature: 0.0, top_k: 1, ..Sampling::default() }, KeyedNoise::new(1));
        let greedy = greedy.expect("options in range");
        let state = model.start(&prompt, 1.0, 2).expect("a prompt");
        let error = model.begin(state, &prompt, 2, &greedy, 0).expect_err("every code ends the song").to_string();
        assert!(error.contains("in 1 of 1 draws") && error.contains("temperature"), "{error}");
    }
}
