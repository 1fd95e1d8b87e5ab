//! Embedding of a prompt: a row for each of its positions.

use candle_core::Tensor;

use super::HeartMula;
use crate::{error::Result, heartmula::PromptTokens};

/// Positions of a prompt: tags, the slot of the reference recording, lyrics.
pub fn prompt_positions(prompt: &PromptTokens) -> usize {
    prompt.tags.len() + 1 + prompt.lyrics.len()
}

impl HeartMula {
    /// # Shapes
    /// - result \[1, T, D\], T the positions of the prompt; with an unconditional row T + 1, as a `Prefix` has it
    pub(super) fn embed_prompt(&self, prompt: &PromptTokens, batch: usize) -> Result<Tensor> {
        let (count, width) = (prompt_positions(prompt) + batch - 1, self.config.backbone.embed_dim);
        Ok(Tensor::from_vec(self.prompt_rows(prompt, batch)?, (1, count, width), &self.device)?)
    }

    /// The embeddings of a prompt's positions, and behind them, in a batch of 2, the unconditional one.
    pub(super) fn prompt_rows(&self, prompt: &PromptTokens, batch: usize) -> Result<Vec<f32>> {
        let mut rows = Vec::with_capacity((prompt_positions(prompt) + batch - 1) * self.config.backbone.embed_dim);
        let text = |id: &u32| self.text_embeddings.row(*id as usize);
        for id in &prompt.tags {
            rows.extend(text(id)?);
        }
        rows.extend(&self.no_reference);
        for id in &prompt.lyrics {
            rows.extend(text(id)?);
        }
        if batch == 2 {
            rows.extend(&self.unconditional);
        }
        Ok(rows)
    }
}
