//! Prompt tokenizer stage: words to ids, once per song.

use std::{collections::VecDeque, sync::Arc};

use heartstream_messages::{PromptTokens, SongRequest, Stage};
use heartstream_models::text::PromptTokenizer;

use crate::{
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
};

/// Turns a request into a prompt.
pub struct PromptTokenizerStage {
    tokenizer: Arc<PromptTokenizer>,
    song: SongContext,
}

impl PromptTokenizerStage {
    /// A stage around the shared tokenizer.
    pub fn new(tokenizer: Arc<PromptTokenizer>, song: SongContext) -> Self {
        Self { tokenizer, song }
    }
}

impl StageWork for PromptTokenizerStage {
    const STAGE: Stage = Stage::PromptTokenizer;
    type Input = SongRequest;
    type Output = PromptTokens;

    fn step(&mut self, event: Event<SongRequest>, outputs: &mut VecDeque<PromptTokens>) -> Result<Next, Failure> {
        if let Event::Input(request) = event {
            outputs.push_back(self.tokenizer.prompt(&request.tags, &request.lyrics)?.ids);
            self.song.meter.stage(Self::STAGE).did_one();
        }
        Ok(Next::Input)
    }
}
