//! Ids to codes: the stage that drives the song, one frame after the other until the model or the limit ends it.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use heartstream_messages::{
    CodeFrame, PromptTokens, Stage,
    units::{FrameIndex, Frames},
};
use heartstream_models::heartmula::{HeartMula, KeyedSampler, PromptIds, SongState};

use crate::{
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// Writes the frames of one song.
pub struct LanguageModelStage {
    model: Arc<HeartMula>,
    sampler: KeyedSampler,
    /// Codes from here on end the song.
    audio_eos: u32,
    guidance: f64,
    max_frames: Frames,
    /// There while the song goes on; dropping it frees the song's memory.
    state: Option<SongState>,
    song: SongContext,
}

impl LanguageModelStage {
    /// A stage around the shared weights.
    pub fn new(
        model: Arc<HeartMula>,
        sampler: KeyedSampler,
        audio_eos: u32,
        guidance: f64,
        max_frames: Frames,
        song: SongContext,
    ) -> Self {
        Self { model, sampler, audio_eos, guidance, max_frames, state: None, song }
    }
}

impl StageWork for LanguageModelStage {
    const STAGE: Stage = Stage::LanguageModel;
    type Input = PromptTokens;
    type Output = CodeFrame;

    fn work(&mut self, prompt: &PromptTokens, _: &mut VecDeque<CodeFrame>) -> Result<(), Failure> {
        let prompt = PromptIds { tags: prompt.tags.clone(), lyrics: prompt.lyrics.clone() };
        self.state = Some(self.model.start(&prompt, self.guidance, self.max_frames.0 as usize)?);
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.frames() < self.max_frames.0)
    }

    fn rests(&self) -> bool {
        self.song.pause.holds_model() && !self.song.interrupt.is_raised()
    }

    fn go_on(&mut self, outputs: &mut VecDeque<CodeFrame>) -> Result<(), Failure> {
        let Some(state) = &mut self.state else { return Ok(()) };
        let index = FrameIndex(state.frames());
        let codes = self.model.next_frame(state, &mut self.sampler)?;
        if codes.iter().any(|code| *code >= self.audio_eos) {
            self.state = None; // this frame says that the song is over, and is not part of it
            self.song.meter.all_written.store(true, Ordering::Release);
            return Ok(());
        }
        // Every code is below the vocabulary size, which the config limits to 16 bits.
        outputs.push_back(CodeFrame { index, codes: codes.into_iter().map(|code| code as u16).collect() });
        self.song.meter.frames.store(index.0 + 1, Ordering::Relaxed);
        self.song.meter.stage(Self::STAGE).did_one();
        if !self.has_more() {
            self.song.meter.all_written.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn finish(&mut self, _: &mut VecDeque<CodeFrame>) -> Result<(), Failure> {
        self.state = None;
        Ok(())
    }
}
