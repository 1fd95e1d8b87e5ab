//! Codes of a frame from an output of the backbone: one after the other, through the depth decoder.

use candle_core::Tensor;

use super::HeartMula;
#[cfg(feature = "cuda")]
use super::Weights;
use crate::{
    error::Result,
    heartmula::{kv_cache::KvCache, sampler::CodeSampler},
};

/// A frame of a pass through the depth decoder.
pub(super) struct FrameInPass<'a> {
    /// What [`HeartMula::depth_cache`] gave for the rows of the frame.
    pub decoder: &'a mut KvCache,
    pub guidance: f64,
    /// Its number in its song.
    pub number: u64,
    pub sampler: &'a mut dyn CodeSampler,
}

impl HeartMula {
    /// The codes of a frame, one after the other.
    ///
    /// # Shapes
    /// - `hidden` \[B, D\]
    fn complete_frame(&self, hidden: &Tensor, frame: FrameInPass<'_>) -> Result<Vec<u32>> {
        let first = frame.sampler.sample(frame.number, 0, &self.first_logits(hidden, frame.guidance)?)?;
        self.complete_behind(hidden, first, frame)
    }

    /// The codes of a frame whose code 0 is known: of number `frame` of the song it is `first`. `decoder` is what
    /// [`HeartMula::depth_cache`] gave.
    ///
    /// # Shapes
    /// - `hidden` \[B, D\]: a row, and with guidance the unconditional one behind it
    ///
    /// # Errors
    /// When the code is none of the model's, or a logit is not a number.
    pub fn codes_behind(
        &self,
        decoder: &mut KvCache,
        hidden: &Tensor,
        guidance: f64,
        (frame, first): (u64, u32),
        sampler: &mut dyn CodeSampler,
    ) -> Result<Vec<u32>> {
        self.complete_behind(hidden, first, FrameInPass { decoder, guidance, number: frame, sampler })
    }

    fn complete_behind(&self, hidden: &Tensor, first: u32, frame: FrameInPass<'_>) -> Result<Vec<u32>> {
        #[cfg(feature = "cuda")]
        if let Weights::Gpu(model) = &self.weights {
            let FrameInPass { guidance, number, sampler, .. } = frame;
            return model.codes_behind(hidden, guidance, (number, first), sampler);
        }
        self.codes_of(hidden, vec![Ok(vec![first])], &mut [frame])?.swap_remove(0)
    }

    /// The codes of the next frames of several songs, in one pass over the weights of heads and depth decoder for each
    /// code.
    ///
    /// # Shapes
    /// - `hidden` \[B, D\]: the rows of all frames, in their order
    ///
    /// # Errors
    /// The outer one when nothing could be computed; the inner ones when a logit of that song is not a number.
    pub(super) fn complete_frames(
        &self,
        hidden: &Tensor,
        frames: &mut [FrameInPass<'_>],
    ) -> Result<Vec<Result<Vec<u32>>>> {
        let logits = self.logits_of_frames(0, hidden, frames)?;
        let first = frames.iter_mut().zip(&logits).map(|(frame, logits)| {
            let code = frame.sampler.sample(frame.number, 0, logits)?;
            Ok(vec![code])
        });
        let first = first.collect();
        self.codes_of(hidden, first, frames)
    }

    /// Completes frames whose codes 0 are in `codes`. A frame that has failed goes on with code 0, for its rows are in
    /// the pass, and stays failed.
    fn codes_of(
        &self,
        hidden: &Tensor,
        mut codes: Vec<Result<Vec<u32>>>,
        frames: &mut [FrameInPass<'_>],
    ) -> Result<Vec<Result<Vec<u32>>>> {
        let weights = self.weights.tensors()?;
        frames.iter_mut().for_each(|frame| frame.decoder.truncate(0));
        // The decoder reads the backbone's output, then code after code, and gives logits after each.
        let mut input = hidden.unsqueeze(1)?;
        for codebook in 1..weights.heads.len() {
            let before = codes.iter().zip(&*frames).map(|(codes, frame)| {
                let code = codes.as_ref().map_or(0, |codes| codes[codebook - 1]);
                self.embed_code(codebook - 1, code, frame.decoder.batch())
            });
            let code = joined(before.collect::<Result<Vec<_>>>()?)?;
            input = if codebook == 1 { Tensor::cat(&[&input, &code], 1)? } else { code };
            let mut caches: Vec<&mut KvCache> = frames.iter_mut().map(|frame| &mut *frame.decoder).collect();
            let inner = weights.decoder.forward_songs(&weights.projection.forward(&input)?, &mut caches)?;
            let last = inner.narrow(1, inner.dim(1)? - 1, 1)?.squeeze(1)?;
            let logits = self.logits_of_frames(codebook, &last, frames)?;
            for ((codes, frame), logits) in codes.iter_mut().zip(frames.iter_mut()).zip(&logits) {
                let Ok(known) = codes else { continue };
                match frame.sampler.sample(frame.number, codebook, logits) {
                    Ok(code) => known.push(code),
                    Err(error) => *codes = Err(error),
                }
            }
        }
        Ok(codes)
    }

    /// Guided logits of one codebook for each frame.
    ///
    /// # Shapes
    /// - `hidden` \[B, D\]: the rows of all frames, in their order
    fn logits_of_frames(&self, codebook: usize, hidden: &Tensor, frames: &[FrameInPass<'_>]) -> Result<Vec<Vec<f32>>> {
        let mut rows = 0;
        let guided = frames.iter().map(|frame| {
            let batch = frame.decoder.batch();
            rows += batch;
            guided(&hidden.narrow(0, rows - batch, batch)?, batch, frame.guidance)
        });
        let guided = joined(guided.collect::<Result<Vec<_>>>()?)?;
        Ok(self.weights.tensors()?.heads[codebook].forward(&guided)?.to_vec2()?)
    }

    /// A KV cache of the depth decoder for a frame of `batch` rows; it serves one frame after the other.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn depth_cache(&self, batch: usize) -> Result<KvCache> {
        KvCache::new(&self.config.decoder, batch, self.config.audio_num_codebooks, &self.device)
    }

    /// The logits of code 0 of the frame that the backbone has the output `hidden` for.
    ///
    /// # Shapes
    /// - `hidden` \[B, D\]: a row, and with guidance the unconditional one behind it
    ///
    /// # Errors
    /// When it has not these dimensions.
    pub fn first_logits(&self, hidden: &Tensor, guidance: f64) -> Result<Vec<f32>> {
        #[cfg(feature = "cuda")]
        if let Weights::Gpu(model) = &self.weights {
            return model.first_logits(hidden, guidance);
        }
        self.logits(0, hidden, guidance)
    }

    /// The codes that frame number `frame` would have if the backbone's output for it were `hidden`.
    ///
    /// # Shapes
    /// - `hidden` \[B, D\]: a row, and with guidance the unconditional one behind it
    ///
    /// # Errors
    /// When the device has no memory, or a logit is not a number.
    pub fn codes_after(
        &self,
        hidden: &Tensor,
        guidance: f64,
        frame: u64,
        sampler: &mut dyn CodeSampler,
    ) -> Result<Vec<u32>> {
        let mut decoder = self.depth_cache(hidden.dim(0)?)?;
        self.complete_frame(hidden, FrameInPass { decoder: &mut decoder, guidance, number: frame, sampler })
    }

    /// The backbone's input for a frame.
    ///
    /// # Shapes
    /// - result \[1, D\]
    ///
    /// # Errors
    /// When a code is none of the model's.
    pub fn frame_embedding(&self, codes: &[u32]) -> Result<Tensor> {
        Ok(self.embed_frame(codes, 1)?.squeeze(0)?)
    }

    /// The depth decoder's input for a code.
    ///
    /// # Shapes
    /// - result \[1, D\]
    ///
    /// # Errors
    /// When the code is none of the model's.
    pub fn code_embedding(&self, codebook: usize, code: u32) -> Result<Tensor> {
        Ok(self.embed_code(codebook, code, 1)?.squeeze(0)?)
    }

    /// Guided logits of one codebook. A head is linear, so guiding its input is guiding its logits, for one row less.
    ///
    /// # Shapes
    /// - `hidden` \[B, D\]
    fn logits(&self, codebook: usize, hidden: &Tensor, guidance: f64) -> Result<Vec<f32>> {
        let guided = guided(hidden, hidden.dim(0)?, guidance)?;
        Ok(self.weights.tensors()?.heads[codebook].forward(&guided)?.squeeze(0)?.to_vec1()?)
    }

    /// # Shapes
    /// - result \[B, 1, D\]
    pub(super) fn embed_frame(&self, codes: &[u32], batch: usize) -> Result<Tensor> {
        let width = self.config.backbone.embed_dim;
        let (mut sum, mut row) = (vec![0f32; width], vec![0f32; width]);
        for (codebook, code) in codes.iter().enumerate() {
            self.audio_embeddings.read(self.audio_row(codebook, *code), &mut row)?;
            sum.iter_mut().zip(&row).for_each(|(sum, number)| *sum += number);
        }
        Ok(Tensor::from_vec(sum.repeat(batch), (batch, 1, width), &self.device)?)
    }

    /// # Shapes
    /// - result \[B, 1, D\]
    pub(super) fn embed_code(&self, codebook: usize, code: u32, batch: usize) -> Result<Tensor> {
        let row = self.audio_embeddings.row(self.audio_row(codebook, code))?;
        Ok(Tensor::from_vec(row.repeat(batch), (batch, 1, self.config.backbone.embed_dim), &self.device)?)
    }

    fn audio_row(&self, codebook: usize, code: u32) -> usize {
        codebook * self.config.audio_vocab_size + code as usize
    }
}

/// Rows of several songs below each other.
pub(super) fn joined(mut rows: Vec<Tensor>) -> Result<Tensor> {
    Ok(if rows.len() == 1 { rows.swap_remove(0) } else { Tensor::cat(&rows, 0)? })
}

/// Classifier-free guidance: conditional rows extrapolated away from the unconditional ones; with one row a frame,
/// these rows.
///
/// # Shapes
/// - `hidden` \[frames · batch, D\], the rows of a frame side by side; result \[frames, D\]
///
/// # Errors
/// When the rows are no whole frames.
pub fn guided(hidden: &Tensor, batch: usize, guidance: f64) -> Result<Tensor> {
    if batch == 1 {
        return Ok(hidden.clone());
    }
    let (rows, width) = hidden.dims2()?;
    let pairs = hidden.reshape((rows / batch, batch, width))?;
    let row = |row| pairs.narrow(1, row, 1)?.squeeze(1)?.contiguous();
    let (conditional, unconditional) = (row(0)?, row(1)?);
    Ok((&unconditional + ((conditional - &unconditional)? * guidance)?)?)
}
