//! Verification of drafted frames: several frames in one pass over the weights.
//!
//! Each position of a pass is computed as it would be alone, so the logits here are those of [`HeartMula::next_frame`].

use candle_core::Tensor;

#[cfg(feature = "cuda")]
use super::{GpuTarget, GpuWindow, Weights};
use super::{HeartMula, SongKv, SongState, TensorSong, Tensors, frame::guided};
use crate::{
    error::{ModelError, Result},
    heartmula::kv_cache::KvCache,
};

/// Logits of some codes: one list, as long as the vocabulary, for each.
type Logits = Vec<Vec<f32>>;

/// Buffers of a drafted song beside its [`SongState`].
#[derive(Debug, Default)]
pub struct VerifyBuffers {
    /// Keys and values of a depth pass over n frames, at place n - 1; made when first needed.
    depth: Vec<Option<KvCache>>,
    window: Option<Window>,
    /// The frames under verification on a GPU.
    #[cfg(feature = "cuda")]
    gpu_window: Option<GpuWindow>,
    /// Backbone outputs \[B, frames, D\] that the frames of the last window followed from.
    trail: Option<Tensor>,
}

impl VerifyBuffers {
    /// Clears the trail, after a frame that was written in another way.
    pub fn forget(&mut self) {
        self.trail = None;
    }
}

/// The frames under verification between [`SongTarget::open`] and [`SongTarget::commit`].
#[derive(Debug)]
struct Window {
    /// Backbone outputs \[B, frames, D\].
    hidden: Tensor,
    /// Positions of the backbone before the window was opened.
    positions: usize,
    /// Whether the first output was there before, so that it took no position.
    had_first: bool,
    /// First frame and count of the last depth pass.
    depth: Option<(usize, usize)>,
    /// The frame whose codes the song's own depth cache holds.
    finishing: Option<usize>,
}

/// Verification of a song's drafted frames: the passes of the backbone and the depth decoder.
pub struct SongTarget<'a> {
    model: &'a HeartMula,
    state: &'a mut SongState,
    buffers: &'a mut VerifyBuffers,
}

impl<'a> SongTarget<'a> {
    /// The song of `state`; `buffers` are its own and belong to no other song.
    pub fn new(model: &'a HeartMula, state: &'a mut SongState, buffers: &'a mut VerifyBuffers) -> Self {
        Self { model, state, buffers }
    }

    /// Codes of a frame.
    pub fn codebooks(&self) -> usize {
        self.model.config.audio_num_codebooks
    }

    /// Codes of a codebook.
    pub fn vocabulary(&self) -> usize {
        self.model.config.audio_vocab_size
    }

    /// Frames written so far.
    pub fn frames(&self) -> u64 {
        self.state.frame
    }

    /// The song where it is a GPU's.
    #[cfg(feature = "cuda")]
    fn gpu(&mut self) -> Option<GpuTarget<'_>> {
        let SongState { kv, guidance, .. } = self.state;
        let (Weights::Gpu(model), SongKv::Gpu(song)) = (&self.model.weights, kv) else { return None };
        let (window, device) = (&mut self.buffers.gpu_window, &self.model.device);
        Some(GpuTarget { model, song, window, guidance: *guidance, device })
    }

    /// The song where it is in tensors.
    fn tensors(&mut self) -> Result<(&'a Tensors, &mut TensorSong)> {
        match &mut self.state.kv {
            SongKv::Tensors(song) => Ok((self.model.weights.tensors()?, song)),
            #[cfg(feature = "cuda")]
            SongKv::Gpu(_) => Err(super::elsewhere()),
        }
    }

    /// How many frames can be written before the positions of the song are used up.
    pub fn room(&self) -> usize {
        // The last frame needs no position; where a first output is there, the first one needs none either.
        match &self.state.kv {
            SongKv::Tensors(song) => song.backbone.room() + usize::from(song.hidden.is_some()),
            #[cfg(feature = "cuda")]
            SongKv::Gpu(song) => song.room() + usize::from(song.has_output()),
        }
    }

    /// Backbone outputs \[B, frames, D\] that the frames of the last [`SongTarget::commit`] followed from; the last row
    /// is the unconditional one if there are two. `None` before the first frame, and after one that was not written
    /// here.
    pub fn trail(&self) -> Option<&Tensor> {
        self.buffers.trail.as_ref()
    }

    /// Guidance scale; 1 is none.
    pub fn guidance(&self) -> f64 {
        self.state.guidance
    }

    /// Feeds the last frame and `drafts` to the backbone in one pass. Gives the logits of code 0 of each drafted frame
    /// and of the one after them; those of frame i hold if the drafts before i are right.
    ///
    /// # Errors
    /// When the KV cache has no room for the drafts.
    pub fn open(&mut self, drafts: &[Vec<u32>]) -> Result<Logits> {
        #[cfg(feature = "cuda")]
        if let Some(mut gpu) = self.gpu() {
            return gpu.open(drafts);
        }
        self.roll_back();
        let (batch, model) = (self.state.batch(), self.model);
        let (weights, song) = self.tensors()?;
        let positions = song.backbone.length();
        let fed = song.last.iter().chain(drafts);
        let embeddings = fed.map(|frame| model.embed_frame(frame, batch)).collect::<Result<Vec<_>>>()?;
        let first = song.hidden.as_ref().map(|hidden| hidden.unsqueeze(1)).transpose()?;
        let had_first = first.is_some();
        let mut outputs: Vec<Tensor> = first.into_iter().collect();
        if !embeddings.is_empty() {
            let pass = weights.backbone.forward(&Tensor::cat(&embeddings, 1)?, &mut song.backbone);
            outputs.push(pass.inspect_err(|_| song.backbone.truncate(positions))?);
        }
        if outputs.is_empty() {
            return Err(ModelError::shape("song", "one that can go on", "one that failed"));
        }
        let hidden = Tensor::cat(&outputs, 1)?;
        self.buffers.window = Some(Window { hidden, positions, had_first, depth: None, finishing: None });
        self.logits_of(0, &self.hidden(0, drafts.len() + 1)?)
    }

    /// The outputs of the backbone for the first `frames` of the window, the guidance rows of a frame side by side.
    ///
    /// # Shapes
    /// - result \[frames · B, D\]
    ///
    /// # Errors
    /// When no window is open, or it has fewer frames.
    pub fn outputs(&mut self, frames: usize) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = self.gpu() {
            return gpu.outputs(frames);
        }
        self.hidden(0, frames)
    }

    /// One pass of the depth decoder over all codes of `frames`, the first of which is number `first` of the window.
    /// Gives for each frame the logits of its codes from 1 on; those of code j hold if the codes before it are right.
    ///
    /// # Errors
    /// When no window is open, or the frames are outside it.
    pub fn depth_logits(&mut self, first: usize, frames: &[Vec<u32>]) -> Result<Vec<Logits>> {
        #[cfg(feature = "cuda")]
        if let Some(mut gpu) = self.gpu() {
            return gpu.depth_logits(first, frames);
        }
        let (count, codebooks, batch) = (frames.len(), self.codebooks(), self.state.batch());
        let hidden = self.hidden(first, count)?;
        let mut rows = Vec::with_capacity(count);
        for (frame, codes) in frames.iter().enumerate() {
            let hidden = hidden.narrow(0, frame * batch, batch)?.unsqueeze(1)?;
            rows.push(self.depth_inputs(Some(hidden), 0, &codes[..codebooks - 1])?);
        }
        if self.buffers.depth.len() < count {
            self.buffers.depth.resize_with(count, || None);
        }
        let slot = &mut self.buffers.depth[count - 1];
        if slot.is_none() {
            let model = self.model;
            *slot = Some(KvCache::new(&model.config.decoder, batch * count, codebooks, &model.device)?);
        }
        let Some(cache) = slot else { return Ok(Vec::new()) }; // it was made above
        cache.truncate(0);
        let weights = self.model.weights.tensors()?;
        let input = weights.projection.forward(&Tensor::cat(&rows, 0)?)?;
        let inner = weights.decoder.forward(&input, cache)?;
        let window = self.window_mut()?;
        (window.depth, window.finishing) = (Some((first, count)), None);
        let mut logits = vec![Vec::with_capacity(codebooks - 1); count];
        for codebook in 1..codebooks {
            let outputs = inner.narrow(1, codebook, 1)?.squeeze(1)?;
            for (frame, list) in logits.iter_mut().zip(self.logits_of(codebook, &outputs)?) {
                frame.push(list);
            }
        }
        Ok(logits)
    }

    /// Goes on in number `frame` of the window, whose first `settled` codes (at least one) are right: gives the logits
    /// of code `settled` and of as many more as `codes` has guesses behind the settled ones.
    ///
    /// # Errors
    /// When no window is open, or the frame is outside it.
    pub fn finish_logits(&mut self, frame: usize, codes: &[u32], settled: usize) -> Result<Logits> {
        #[cfg(feature = "cuda")]
        if let Some(mut gpu) = self.gpu() {
            return gpu.finish_logits(frame, codes, settled);
        }
        let batch = self.state.batch();
        let window = self.window()?;
        if window.finishing != Some(frame) {
            match window.depth {
                // The last depth pass has covered this frame, and its first codes are cached.
                Some((first, count)) if (first..first + count).contains(&frame) => {
                    let from = self.buffers.depth.get(count - 1).and_then(Option::as_ref);
                    let from = from.ok_or_else(|| ModelError::shape("depth pass", "one before", "none"))?;
                    match &mut self.state.kv {
                        SongKv::Tensors(song) => song.decoder.copy_rows(from, (frame - first) * batch)?,
                        #[cfg(feature = "cuda")]
                        SongKv::Gpu(_) => return Err(super::elsewhere()),
                    }
                }
                _ => self.tensors()?.1.decoder.truncate(0),
            }
            self.window_mut()?.finishing = Some(frame);
        }
        let song = self.tensors()?.1;
        song.decoder.truncate(settled);
        let known = song.decoder.length();
        let hidden = if known == 0 { Some(self.hidden(frame, 1)?.unsqueeze(1)?) } else { None };
        let input = self.depth_inputs(hidden, known, codes)?;
        let (weights, song) = self.tensors()?;
        let inner = weights.decoder.forward(&weights.projection.forward(&input)?, &mut song.decoder)?;
        let skipped = settled - known; // outputs of settled codes, not needed
        (settled..=codes.len())
            .map(|codebook| {
                let output = inner.narrow(1, skipped + codebook - settled, 1)?.squeeze(1)?;
                Ok(self.logits_of(codebook, &output)?.swap_remove(0))
            })
            .collect()
    }

    /// Appends these frames to the song, all but the last of which were drafted so, and closes the window.
    ///
    /// # Errors
    /// When no window is open, or it has fewer frames.
    pub fn commit(&mut self, frames: &[Vec<u32>]) -> Result<()> {
        let count = frames.len();
        #[cfg(feature = "cuda")]
        if let Some(mut gpu) = self.gpu() {
            let trail = gpu.commit(frames)?;
            self.buffers.trail = Some(trail);
            self.state.frame += count as u64;
            return Ok(());
        }
        let window = self.window()?;
        if count == 0 || count > window.hidden.dim(1)? {
            return Err(ModelError::shape("frames", format!("1 to {}", window.hidden.dim(1)?), count));
        }
        let positions = window.positions + count - usize::from(window.had_first);
        let trail = window.hidden.narrow(1, 0, count)?;
        self.buffers.window = None;
        self.buffers.trail = Some(trail);
        let song = self.tensors()?.1;
        song.backbone.truncate(positions);
        song.hidden = None;
        song.last = frames.last().cloned();
        self.state.frame += count as u64;
        Ok(())
    }

    /// Closes the window without having written anything.
    pub fn roll_back(&mut self) {
        #[cfg(feature = "cuda")]
        if let Some(mut gpu) = self.gpu() {
            return gpu.roll_back();
        }
        if let (Some(window), SongKv::Tensors(song)) = (self.buffers.window.take(), &mut self.state.kv) {
            song.backbone.truncate(window.positions);
        }
    }

    fn window(&self) -> Result<&Window> {
        self.buffers.window.as_ref().ok_or_else(|| ModelError::shape("window", "opened", "closed"))
    }

    fn window_mut(&mut self) -> Result<&mut Window> {
        self.buffers.window.as_mut().ok_or_else(|| ModelError::shape("window", "opened", "closed"))
    }

    /// Backbone outputs of `count` frames of the window, the guidance rows of a frame side by side.
    ///
    /// # Shapes
    /// - result \[count · B, D\]
    fn hidden(&self, first: usize, count: usize) -> Result<Tensor> {
        let hidden = self.window()?.hidden.narrow(1, first, count)?.transpose(0, 1)?.contiguous()?;
        Ok(hidden.flatten_to(1)?)
    }

    /// The depth decoder's inputs at positions `from..=codes.len()`: the backbone's output at position 0, then code
    /// after code.
    ///
    /// # Shapes
    /// - `hidden` \[B, 1, D\], there if `from` is 0
    /// - result \[B, positions, D\]
    fn depth_inputs(&self, hidden: Option<Tensor>, from: usize, codes: &[u32]) -> Result<Tensor> {
        let mut inputs: Vec<Tensor> = hidden.into_iter().collect();
        for (codebook, code) in codes.iter().enumerate().skip(from.saturating_sub(1)) {
            inputs.push(self.model.embed_code(codebook, *code, self.state.batch())?);
        }
        Ok(Tensor::cat(&inputs, 1)?)
    }

    /// # Shapes
    /// - `hidden` \[frames · B, D\]
    fn logits_of(&self, codebook: usize, hidden: &Tensor) -> Result<Logits> {
        let guided = guided(hidden, self.state.batch(), self.state.guidance)?;
        Ok(self.model.weights.tensors()?.heads[codebook].forward(&guided)?.to_vec2()?)
    }
}
