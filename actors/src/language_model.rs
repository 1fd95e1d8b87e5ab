//! Ids to codes: the stage that drives the song, one frame after the other until the model or the limit ends it.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use heartstream_messages::{
    CodeFrame, PromptTokens, Stage,
    units::{FrameIndex, Frames},
};
use heartstream_models::{
    SongCodes,
    heartmula::{HeartMula, KeyedSampler, PromptIds, SongState},
};

use crate::{
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// What decides the codes of a song, beside the model and the words.
pub struct WriterSettings {
    /// Draws codes.
    pub sampler: KeyedSampler,
    /// Codes from here on end the song.
    pub audio_eos: u32,
    /// How far the words lead the song.
    pub guidance: f64,
    /// The song ends here at the latest.
    pub max_frames: Frames,
    /// Frames that were written before, in a song that is gone on with.
    pub written_before: Arc<SongCodes>,
}

/// Writes the frames of one song.
pub struct LanguageModelStage {
    model: Arc<HeartMula>,
    sampler: KeyedSampler,
    /// Codes from here on end the song.
    audio_eos: u32,
    guidance: f64,
    max_frames: Frames,
    /// Codes of frames that were written before, in a song that is gone on with.
    written_before: Arc<SongCodes>,
    /// There while the song goes on; dropping it frees the song's memory.
    state: Option<SongState>,
    /// When the first frame was written, in seconds from the request.
    first_frame: Option<f64>,
    song: SongContext,
}

impl LanguageModelStage {
    /// A stage around the shared weights.
    pub fn new(model: Arc<HeartMula>, settings: WriterSettings, song: SongContext) -> Self {
        let WriterSettings { sampler, audio_eos, guidance, max_frames, written_before } = settings;
        Self { model, sampler, audio_eos, guidance, max_frames, written_before, state: None, first_frame: None, song }
    }

    /// The codes of frame `index`: those written before, or new ones.
    fn frame(&mut self, state: &mut SongState, index: FrameIndex) -> Result<Vec<u32>, Failure> {
        let before = &self.written_before;
        let start = index.0 as usize * before.codebooks;
        match before.codes.get(start..start + before.codebooks).filter(|codes| !codes.is_empty()) {
            Some(codes) => {
                let codes: Vec<u32> = codes.iter().map(|code| u32::from(*code)).collect();
                self.model.replay_frame(state, &codes)?;
                Ok(codes)
            }
            None => Ok(self.model.next_frame(state, &mut self.sampler)?),
        }
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

    fn go_on(&mut self, outputs: &mut VecDeque<CodeFrame>) -> Result<(), Failure> {
        let Some(mut state) = self.state.take() else { return Ok(()) };
        let index = FrameIndex(state.frames());
        let codes = self.frame(&mut state, index)?;
        if codes.iter().any(|code| *code >= self.audio_eos) {
            return Ok(()); // this frame says that the song is over, and is not part of it; so is its state
        }
        self.state = Some(state);
        // Every code is below the vocabulary size, which the config limits to 16 bits.
        outputs.push_back(CodeFrame { index, codes: codes.into_iter().map(|code| code as u16).collect() });
        let meter = &self.song.meter;
        let first = *self.first_frame.get_or_insert(meter.elapsed());
        if index.0 > 0 {
            meter.frames_took(first, (meter.elapsed() - first) / index.0 as f64);
        }
        meter.frames.store(index.0 + 1, Ordering::Relaxed);
        meter.publish();
        self.song.meter.stage(Self::STAGE).did_one();
        Ok(())
    }

    fn finish(&mut self, _: &mut VecDeque<CodeFrame>) -> Result<(), Failure> {
        self.state = None;
        Ok(())
    }
}
