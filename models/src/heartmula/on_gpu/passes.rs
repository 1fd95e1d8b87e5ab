//! Forward passes on a GPU: backbone, depth decoder, head.

use super::{GpuModel, GpuSong, layers::Pass, state::Workspace};
use crate::{
    error::Result,
    kernels::lm::{Bf16Rows, Buffer, Epilogue, Guidance, Input, PagedKvCache, Start},
};

/// Positions of the depth decoder in some frames.
#[derive(Clone, Copy)]
pub(super) struct DepthPass {
    /// The first position, and how many there are.
    pub from: usize,
    pub count: usize,
    pub frames: usize,
    /// The first row of the backbone's outputs for these frames, needed at position 0.
    pub output: usize,
    /// Whether those are still to be divided by the root of their mean square.
    pub normed: bool,
    /// Where the keys and values of these frames are.
    pub first_batch: usize,
}

impl GpuModel {
    /// One pass of the backbone over `frames` frames whose codes are on the GPU; what comes out are rows of the hidden
    /// outputs from row `first` on.
    pub(super) fn backbone_pass(
        &self,
        work: &Workspace,
        (kv, start): (&PagedKvCache, Start<'_>),
        frames: usize,
        first: usize,
    ) -> Result<()> {
        let Workspace { gpu, backbone, batch, .. } = work;
        let rows = frames * batch;
        let scale = self.backbone.first_norm();
        gpu.embed_frames(&self.table, (None, &work.codes), (rows, *batch), &backbone.stream, scale, &backbone.parts)?;
        // Frames of one song follow each other, those of several lie side by side.
        let side_by_side = matches!(start, Start::OfEach(..));
        let (batch, appended) = if side_by_side { (rows, 1) } else { (*batch, frames) };
        let pass = Pass { start, rows, batch, first_batch: 0, appended };
        self.backbone.pass(gpu, backbone, (kv, &work.scratch), pass, Some((&work.hidden, first)))
    }

    /// One pass of the depth decoder over frames whose codes are on the GPU. Its outputs are rows of the decoder's parts:
    /// position after position, of a position frame after frame, of a frame its batch rows.
    pub(super) fn depth_pass(&self, work: &Workspace, pass: DepthPass) -> Result<()> {
        let DepthPass { from, count, frames, output, normed, first_batch } = pass;
        let Workspace { gpu, decoder, entering, batch, .. } = work;
        let beside = frames * batch;
        let coded = (from.max(1), if from == 0 { count - 1 } else { count });
        if coded.1 > 0 {
            gpu.embed_codes(&self.table, &work.codes, coded, (frames, *batch), entering)?;
        }
        let coded = coded.1 * beside;
        let input = match from {
            0 => Input {
                parts: &work.hidden,
                first: output,
                count: beside,
                normed,
                behind: Some((entering, coded)).filter(|behind| behind.1 > 0),
            },
            _ => Input { parts: entering, first: 0, count: coded, normed: false, behind: None },
        };
        let begin = Epilogue::Residual {
            add: false,
            stream: &decoder.stream,
            scale: self.decoder.first_norm(),
            parts: &decoder.parts,
            first: 0,
        };
        gpu.product(&self.projection, input, self.backbone.eps(), begin)?;
        let rows = count * beside;
        let pass = Pass { start: Start::At(from), rows, batch: beside, first_batch, appended: count };
        self.decoder.pass(gpu, decoder, (&work.depth, &work.scratch), pass, None)
    }

    /// Guided logits of one codebook from `frames` frames' rows of `parts` from row `row` on: list `list` and those behind it.
    pub(super) fn head(
        &self,
        work: &Workspace,
        codebook: usize,
        (parts, row, normed): (&Bf16Rows, usize, bool),
        frames: usize,
        (list, guidance): (usize, Guidance<'_>),
    ) -> Result<()> {
        let eps = if codebook == 0 { self.backbone.eps() } else { self.decoder.eps() };
        let input = Input { parts, first: row, count: frames * work.batch, normed, behind: None };
        let epilogue = Epilogue::Guide { logits: &work.logits, first: list, batch: work.batch, guidance };
        Ok(work.gpu.product(&self.heads[codebook], input, eps, epilogue)?)
    }

    /// The next frame of `frames` songs from the backbone's outputs, code after code; `draw` launches what draws code
    /// number so many of each from its list: those of a codebook lie side by side.
    pub(super) fn drawn_frames(
        &self,
        work: &Workspace,
        frames: usize,
        guidance: Guidance<'_>,
        draw: impl Fn(usize) -> Result<()>,
    ) -> Result<()> {
        self.head(work, 0, (&work.hidden, 0, true), frames, (0, guidance))?;
        draw(0)?;
        for codebook in 1..self.heads.len() {
            // The depth decoder sees the backbone's output and code 0 together, then code after code.
            let (from, count) = if codebook == 1 { (0, 2) } else { (codebook, 1) };
            self.depth_pass(work, DepthPass { from, count, frames, output: 0, normed: true, first_batch: 0 })?;
            let rows = (&work.decoder.parts, (count - 1) * frames * work.batch, true);
            self.head(work, codebook, rows, frames, (codebook * frames, guidance))?;
            draw(codebook)?;
        }
        Ok(())
    }

    /// Brings lists of logits to the host.
    pub(super) fn lists(&self, work: &Workspace, first: usize, count: usize) -> Result<Vec<Vec<f32>>> {
        let vocabulary = self.config.audio_vocab_size;
        let numbers = work.logits.read(&work.gpu, first * vocabulary, count * vocabulary)?;
        Ok(numbers.chunks_exact(vocabulary).map(<[f32]>::to_vec).collect())
    }

    /// Begins the backbone's residual stream with rows that are given.
    pub(super) fn enter(&self, song: &mut GpuSong, rows: &[f32]) -> Result<usize> {
        let count = rows.len() / self.config.backbone.embed_dim;
        song.given.write(&song.work.gpu, 0, rows)?;
        let working = &song.work.backbone;
        let from: (Option<&Buffer<f32>>, _) = (Some(&song.given), &song.work.codes);
        let scale = self.backbone.first_norm();
        song.work.gpu.embed_frames(&self.table, from, (count, 1), &working.stream, scale, &working.parts)?;
        Ok(count)
    }
}
