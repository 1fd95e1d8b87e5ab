//! A song on a GPU whose next frames are drafted: what `SongTarget` does there.

use candle_core::{Device, Tensor};

use super::{GpuModel, GpuSong, verify::GpuWindow};
use crate::error::{ModelError, Result};

/// Logits of some codes.
type Logits = Vec<Vec<f32>>;

/// The song, and the frames under verification.
pub(in crate::heartmula) struct GpuTarget<'a> {
    pub model: &'a GpuModel,
    pub song: &'a mut GpuSong,
    pub window: &'a mut Option<GpuWindow>,
    pub guidance: f64,
    /// Where tensors are wanted.
    pub device: &'a Device,
}

impl GpuTarget<'_> {
    /// As `SongTarget::open`.
    pub fn open(&mut self, drafts: &[Vec<u32>]) -> Result<Logits> {
        self.roll_back();
        let (window, logits) = self.model.open(self.song, drafts, self.guidance)?;
        *self.window = Some(window);
        Ok(logits)
    }

    /// As `SongTarget::outputs`.
    pub fn outputs(&self, frames: usize) -> Result<Tensor> {
        self.model.outputs(self.song, self.window.as_ref().ok_or_else(closed)?, frames, self.device)
    }

    /// As `SongTarget::depth_logits`.
    pub fn depth_logits(&mut self, first: usize, frames: &[Vec<u32>]) -> Result<Vec<Logits>> {
        let window = self.window.as_mut().ok_or_else(closed)?;
        self.model.depth_logits(self.song, window, (first, frames), self.guidance)
    }

    /// As `SongTarget::finish_logits`.
    pub fn finish_logits(&mut self, frame: usize, codes: &[u32], settled: usize) -> Result<Logits> {
        let window = self.window.as_mut().ok_or_else(closed)?;
        self.model.finish_logits(self.song, window, (frame, codes, settled), self.guidance)
    }

    /// As `SongTarget::commit`; gives what the frames followed from, \[B, frames, D\].
    pub fn commit(&mut self, frames: &[Vec<u32>]) -> Result<Tensor> {
        let window = self.window.as_ref().ok_or_else(closed)?;
        self.model.commit(self.song, window, frames)?;
        let outputs = self.model.outputs(self.song, window, frames.len(), self.device)?;
        let (rows, width) = outputs.dims2()?;
        let trail = outputs.reshape((frames.len(), rows / frames.len(), width))?.transpose(0, 1)?.contiguous()?;
        *self.window = None;
        Ok(trail)
    }

    /// As `SongTarget::roll_back`.
    pub fn roll_back(&mut self) {
        if let Some(window) = self.window.take() {
            self.model.roll_back(self.song, &window);
        }
    }
}

fn closed() -> ModelError {
    ModelError::shape("window", "opened", "closed")
}
