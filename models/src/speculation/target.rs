//! Target model of drafting: it verifies several drafted frames in one pass.

use crate::{error::Result, heartmula::SongTarget};

/// The codes of a frame, one for each codebook.
pub type Frame = Vec<u32>;
/// Logits of some codes: a list as long as the vocabulary for each.
pub type Logits = Vec<Vec<f32>>;

/// The model that a song is of, at the point where its next frames are drafted.
///
/// Logits must be those that the model has when it writes frame after frame and code after code, bit for bit; exactness
/// of drafting follows from this and from [`super::run_round`].
pub trait FrameTarget {
    /// Codes of a frame, at least 2.
    fn codebooks(&self) -> usize;

    /// Codes of a codebook; all are smaller than it.
    fn vocabulary(&self) -> usize;

    /// How many frames can still be written.
    fn room(&self) -> usize;

    /// Verifies `drafts`, at most `room() - 1` of them: gives the logits of code 0 of each and of the frame after them.
    ///
    /// # Errors
    /// When the KV cache has no room for the drafts, or the model cannot compute.
    fn open(&mut self, drafts: &[Frame]) -> Result<Logits>;

    /// The logits of all codes but the first of `frames`, number `first` of the drafts and those after it.
    ///
    /// # Errors
    /// When the frames are none that were opened, or the model cannot compute.
    fn depth_logits(&mut self, first: usize, frames: &[Frame]) -> Result<Vec<Logits>>;

    /// The logits of code `settled` of number `frame` of the drafts, and of as many more as `codes` has behind the
    /// `settled` right ones.
    ///
    /// # Errors
    /// When the frame is none that was opened, or the model cannot compute.
    fn finish_logits(&mut self, frame: usize, codes: &[u32], settled: usize) -> Result<Logits>;

    /// Takes these as the next frames.
    ///
    /// # Errors
    /// When nothing is open, or the frames are more than were opened.
    fn commit(&mut self, frames: &[Frame]) -> Result<()>;

    /// Discards what was opened.
    fn roll_back(&mut self);
}

impl FrameTarget for SongTarget<'_> {
    fn codebooks(&self) -> usize {
        self.codebooks()
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary()
    }

    fn room(&self) -> usize {
        self.room()
    }

    fn open(&mut self, drafts: &[Frame]) -> Result<Logits> {
        self.open(drafts)
    }

    fn depth_logits(&mut self, first: usize, frames: &[Frame]) -> Result<Vec<Logits>> {
        self.depth_logits(first, frames)
    }

    fn finish_logits(&mut self, frame: usize, codes: &[u32], settled: usize) -> Result<Logits> {
        self.finish_logits(frame, codes, settled)
    }

    fn commit(&mut self, frames: &[Frame]) -> Result<()> {
        self.commit(frames)
    }

    fn roll_back(&mut self) {
        self.roll_back();
    }
}
