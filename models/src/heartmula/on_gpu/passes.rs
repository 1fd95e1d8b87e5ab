//! Forward passes on a GPU: backbone, depth decoder, head.

use super::{GpuModel, GpuSong, layers::Pass};
use crate::{
    error::Result,
    kernels::lm::{Bf16Rows, Buffer, Epilogue, Input, Start},
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
    pub(super) fn backbone_pass(&self, song: &GpuSong, start: Start<'_>, frames: usize, first: usize) -> Result<()> {
        let (gpu, working, rows) = (&song.gpu, &song.backbone, frames * song.batch);
        let from = (None, song.drawn.codes());
        gpu.embed_frames(
            &self.table,
            from,
            (rows, song.batch),
            &working.stream,
            self.backbone.first_norm(),
            &working.parts,
        )?;
        let pass = Pass { start, rows, batch: song.batch, first_batch: 0, appended: frames };
        self.backbone.pass(gpu, working, (&song.kv, &song.scratch), pass, Some((&song.hidden, first)))
    }

    /// One pass of the depth decoder over frames whose codes are on the GPU. Its outputs are rows of the decoder's parts:
    /// position after position, of a position frame after frame, of a frame its batch rows.
    pub(super) fn depth_pass(&self, song: &GpuSong, pass: DepthPass) -> Result<()> {
        let DepthPass { from, count, frames, output, normed, first_batch } = pass;
        let (gpu, working, beside) = (&song.gpu, &song.decoder, frames * song.batch);
        let coded = (from.max(1), if from == 0 { count - 1 } else { count });
        if coded.1 > 0 {
            gpu.embed_codes(&self.table, song.drawn.codes(), coded, (frames, song.batch), &song.entering)?;
        }
        let entering = Input { parts: &song.entering, first: 0, count: coded.1 * beside, normed: false, behind: None };
        let input = match from {
            0 => Input {
                parts: &song.hidden,
                first: output,
                count: beside,
                normed,
                behind: Some((&song.entering, coded.1 * beside)).filter(|behind| behind.1 > 0),
            },
            _ => entering,
        };
        let begin = Epilogue::Residual {
            add: false,
            stream: &working.stream,
            scale: self.decoder.first_norm(),
            parts: &working.parts,
            first: 0,
        };
        gpu.product(&self.projection, input, self.backbone.eps(), begin)?;
        let rows = count * beside;
        let pass = Pass { start: Start::At(from), rows, batch: beside, first_batch, appended: count };
        self.decoder.pass(gpu, working, (&song.depth, &song.scratch), pass, None)
    }

    /// Guided logits of one codebook from `frames` frames' rows of `parts` from row `row` on: list `list` and those behind it.
    pub(super) fn head(
        &self,
        song: &GpuSong,
        codebook: usize,
        (parts, row, normed): (&Bf16Rows, usize, bool),
        frames: usize,
        (list, guidance): (usize, f64),
    ) -> Result<()> {
        let eps = if codebook == 0 { self.backbone.eps() } else { self.decoder.eps() };
        let input = Input { parts, first: row, count: frames * song.batch, normed, behind: None };
        let epilogue = Epilogue::Guide { logits: &song.logits, first: list, batch: song.batch, guidance };
        Ok(song.gpu.product(&self.heads[codebook], input, eps, epilogue)?)
    }

    /// Brings lists of logits to the host.
    pub(super) fn lists(&self, song: &GpuSong, first: usize, count: usize) -> Result<Vec<Vec<f32>>> {
        let vocabulary = self.config.audio_vocab_size;
        let numbers = song.logits.read(&song.gpu, first * vocabulary, count * vocabulary)?;
        Ok(numbers.chunks_exact(vocabulary).map(<[f32]>::to_vec).collect())
    }

    /// Begins the backbone's residual stream with rows that are given.
    pub(super) fn enter(&self, song: &mut GpuSong, rows: &[f32]) -> Result<usize> {
        let count = rows.len() / self.config.backbone.embed_dim;
        song.given.write(&song.gpu, 0, rows)?;
        let working = &song.backbone;
        let from: (Option<&Buffer<f32>>, _) = (Some(&song.given), song.drawn.codes());
        let scale = self.backbone.first_norm();
        song.gpu.embed_frames(&self.table, from, (count, 1), &working.stream, scale, &working.parts)?;
        Ok(count)
    }
}
