//! Prefill on a GPU: a prompt is read once, a few positions at a time, and the unconditional row at one position that
//! stands for all.

use std::sync::{Arc, PoisonError};

use super::{GpuModel, GpuSong, PromptTokens, layers::Pass, prompt_positions, state::PROMPT_ROWS};
use crate::{
    error::Result,
    heartmula::prefix::MOST_BYTES,
    kernels::lm::{Bf16Rows, Buffer, Start},
};

/// KV pages and output of a prompt, for the next song with the same words.
#[derive(Debug)]
pub(super) struct CachedPrompt {
    prompt: PromptTokens,
    batch: usize,
    half: bool,
    page: usize,
    pages: Vec<Buffer<u8>>,
    hidden: Bf16Rows,
}

impl GpuModel {
    /// Reads a prompt into an empty song: `embed` gives its rows \[positions, D\], and behind them with guidance the
    /// unconditional one; it is not asked where the prompt is the last one that was read.
    ///
    /// # Errors
    /// When there is no room, or a word has no row.
    pub fn read_prompt(
        &self,
        song: &mut GpuSong,
        (prompt, half): (&PromptTokens, bool),
        embed: impl FnOnce() -> Result<Vec<f32>>,
    ) -> Result<()> {
        let count = prompt_positions(prompt);
        song.kv.reserve(&song.work.gpu, count)?;
        let last = || self.last_prompt.lock().unwrap_or_else(PoisonError::into_inner);
        let page = song.kv.page_positions();
        let serves = |cached: &Arc<CachedPrompt>| {
            cached.prompt == *prompt && cached.batch == song.work.batch && cached.half == half && cached.page == page
        };
        let cached = last().clone().filter(serves);
        if let Some(cached) = cached {
            song.kv.fill(&song.work.gpu, &cached.pages)?;
            song.work.hidden.copy(&song.work.gpu, 0, &cached.hidden, 0, song.work.batch)?;
            // Another song with other words may let it go next.
            song.work.gpu.wait()?;
        } else {
            self.compute_prompt(song, count, &embed()?)?;
            // Pages of a prompt are whole ones, and copied as such.
            let cached = if song.kv.bytes() <= MOST_BYTES { Some(self.keep(song, prompt, half)?) } else { None };
            *last() = cached.map(Arc::new);
        }
        song.length = count;
        song.has_output = true;
        Ok(())
    }

    fn keep(&self, song: &GpuSong, prompt: &PromptTokens, half: bool) -> Result<CachedPrompt> {
        let gpu = &self.gpu;
        song.work.gpu.wait()?;
        let pages = song.kv.pages(gpu, prompt_positions(prompt))?;
        let mut hidden = Bf16Rows::new(gpu, song.work.batch, self.config.backbone.embed_dim)?;
        hidden.copy(gpu, 0, &song.work.hidden, 0, song.work.batch)?;
        // Another song's stream reads them, and this song's may write over what they are copied from.
        gpu.wait()?;
        let (batch, page) = (song.work.batch, song.kv.page_positions());
        Ok(CachedPrompt { prompt: prompt.clone(), batch, half, page, pages, hidden })
    }

    pub(super) fn compute_prompt(&self, song: &mut GpuSong, count: usize, rows: &[f32]) -> Result<()> {
        let width = self.config.backbone.embed_dim;
        let (words, nothing) = rows.split_at(count * width);
        // The outputs of other positions than the last are written over.
        for (number, rows) in words.chunks(PROMPT_ROWS * width).enumerate() {
            let count = self.enter(song, rows)?;
            let start = Start::At(number * PROMPT_ROWS);
            let pass = Pass { start, rows: count, batch: 1, first_batch: 0, appended: count };
            self.pass_of_words(song, pass, 0)?;
            song.work.hidden.move_row(&song.work.gpu, count - 1)?;
        }
        if !nothing.is_empty() {
            // It sees only itself, wherever it is: the same values, and its keys rotated once for each position.
            self.enter(song, nothing)?;
            let pass = Pass { start: Start::At(0), rows: 1, batch: 1, first_batch: 1, appended: count };
            self.pass_of_words(song, pass, 1)?;
        }
        Ok(())
    }

    fn pass_of_words(&self, song: &GpuSong, pass: Pass<'_>, row: usize) -> Result<()> {
        let attended = (&song.kv, &song.work.scratch);
        self.backbone.pass(&song.work.gpu, &song.work.backbone, attended, pass, Some((&song.work.hidden, row)))
    }
}
