//! Verification of drafted frames on a GPU, and sampling on the host.

use candle_core::{Device, Tensor};

use super::{GpuModel, GpuSong, passes::DepthPass, state::WINDOW};
use crate::{
    error::{ModelError, Result},
    heartmula::CodeSampler,
    kernels::lm::{Guidance, Start},
};

/// The frames under verification between `open` and `commit`.
#[derive(Debug)]
pub(in crate::heartmula) struct GpuWindow {
    /// Positions of the backbone before the window was opened.
    positions: usize,
    /// Frames that have an output.
    frames: usize,
    /// Whether the first output was there before, so that it took no position.
    had_first: bool,
    /// First frame and count of the last depth pass.
    depth: Option<(usize, usize)>,
    /// The frame that is being completed, where its keys and values are, and of how many positions.
    finishing: Option<(usize, usize, usize)>,
}

impl GpuModel {
    /// A frame that `sampler` draws on the host, code after code.
    ///
    /// # Errors
    /// When there is no room, or a logit is not a number.
    pub fn sampled_frame(
        &self,
        song: &mut GpuSong,
        frame: u64,
        guidance: f64,
        sampler: &mut dyn CodeSampler,
    ) -> Result<Vec<u32>> {
        let (mut window, first) = self.open(song, &[], guidance)?;
        let mut codes = Vec::with_capacity(self.heads.len());
        let mut logits = first;
        while codes.len() < self.heads.len() {
            codes.push(sampler.sample(frame, codes.len(), &logits[0])?);
            if codes.len() < self.heads.len() {
                logits = self.finish_logits(song, &mut window, (0, &codes, codes.len()), guidance)?;
            }
        }
        self.commit(song, &window, std::slice::from_ref(&codes))?;
        Ok(codes)
    }

    /// Feeds a frame that was written before, without its codes being drawn.
    ///
    /// # Errors
    /// When there is no room.
    pub fn replay(&self, song: &mut GpuSong, codes: &[u32]) -> Result<()> {
        song.settle();
        if let Some(last) = song.last.take() {
            self.feed(song, std::iter::once(&last), 0)?;
        }
        song.has_output = false;
        song.last = Some(codes.to_vec());
        Ok(())
    }

    /// One pass over frames from the host; outputs are those of frame `first` of the window and those behind it.
    fn feed<'a>(&self, song: &mut GpuSong, frames: impl Iterator<Item = &'a Vec<u32>>, first: usize) -> Result<usize> {
        let codes = self.checked(frames.flatten())?;
        let count = codes.len() / self.heads.len();
        if count + first > WINDOW {
            return Err(ModelError::shape("frames of a window", format!("at most {WINDOW}"), count + first));
        }
        song.check_room(song.length, count)?;
        song.kv.reserve(&song.work.gpu, song.length + count)?;
        song.work.set_codes(&codes)?;
        self.backbone_pass(&song.work, (&song.kv, Start::At(song.length)), count, first * song.work.batch)?;
        song.length += count;
        Ok(count)
    }

    fn checked<'a>(&self, codes: impl Iterator<Item = &'a u32>) -> Result<Vec<i32>> {
        let vocabulary = self.config.audio_vocab_size;
        let checked = |code: &u32| match (*code as usize) < vocabulary {
            true => Ok(*code as i32),
            false => Err(ModelError::shape("code", format!("less than {vocabulary}"), code)),
        };
        codes.map(checked).collect()
    }

    /// Feeds the last frame and `drafts`; gives the logits of code 0 of each and of the frame behind them.
    ///
    /// # Errors
    /// When there is no room, or the song cannot go on.
    pub fn open(&self, song: &mut GpuSong, drafts: &[Vec<u32>], guidance: f64) -> Result<(GpuWindow, Vec<Vec<f32>>)> {
        song.settle();
        let (positions, had_first) = (song.length, song.has_output);
        let fed: Vec<Vec<u32>> = song.last.iter().chain(drafts).cloned().collect();
        let first = usize::from(had_first);
        let count = if fed.is_empty() { 0 } else { self.feed(song, fed.iter(), first)? };
        let frames = count + first;
        if frames == 0 {
            return Err(ModelError::shape("song", "one that can go on", "one that failed"));
        }
        let logits = self
            .head(&song.work, 0, (&song.work.hidden, 0, true), drafts.len() + 1, (0, Guidance::Of(guidance)))
            .and_then(|()| self.lists(&song.work, 0, drafts.len() + 1));
        let logits = logits.inspect_err(|_| song.length = positions)?;
        Ok((GpuWindow { positions, frames, had_first, depth: None, finishing: None }, logits))
    }

    /// One pass of the depth decoder over `frames`, number `first` of the window and those behind it.
    ///
    /// # Errors
    /// When they are outside of it.
    pub fn depth_logits(
        &self,
        song: &mut GpuSong,
        window: &mut GpuWindow,
        (first, frames): (usize, &[Vec<u32>]),
        guidance: f64,
    ) -> Result<Vec<Vec<Vec<f32>>>> {
        let (count, codebooks) = (frames.len(), self.heads.len());
        window.check(first, count)?;
        let codes = self.checked(frames.iter().flatten())?;
        song.work.set_codes(&codes)?;
        let output = first * song.work.batch;
        let pass = DepthPass { from: 0, count: codebooks, frames: count, output, normed: true, first_batch: 0 };
        self.depth_pass(&song.work, pass)?;
        (window.depth, window.finishing) = (Some((first, count)), None);
        for codebook in 1..codebooks {
            let rows = (&song.work.decoder.parts, codebook * count * song.work.batch, true);
            self.head(&song.work, codebook, rows, count, ((codebook - 1) * count, Guidance::Of(guidance)))?;
        }
        let mut logits = vec![Vec::with_capacity(codebooks - 1); count];
        for (place, list) in self.lists(&song.work, 0, (codebooks - 1) * count)?.into_iter().enumerate() {
            logits[place % count].push(list);
        }
        Ok(logits)
    }

    /// The logits of code `settled` of number `frame` of the window, and of as many more as `codes` has behind them.
    ///
    /// # Errors
    /// When the frame is outside of it.
    pub fn finish_logits(
        &self,
        song: &mut GpuSong,
        window: &mut GpuWindow,
        (frame, codes, settled): (usize, &[u32], usize),
        guidance: f64,
    ) -> Result<Vec<Vec<f32>>> {
        window.check(frame, 1)?;
        let (first_batch, known) = match (window.finishing, window.depth) {
            (Some((finishing, first_batch, positions)), _) if finishing == frame => (first_batch, positions),
            // The last depth pass has been over this frame and knows its first codes already.
            (_, Some((first, count))) if (first..first + count).contains(&frame) => {
                ((frame - first) * song.work.batch, self.heads.len())
            }
            _ => (0, 0),
        };
        let known = known.min(settled);
        let rows = (frame * song.work.batch, true);
        let logits = self.complete(song, (codes, known, settled), rows, first_batch, guidance)?;
        window.finishing = Some((frame, first_batch, codes.len() + 1));
        Ok(logits)
    }

    /// One pass over the positions of a frame from `known` on; the logits from code `settled` on.
    fn complete(
        &self,
        song: &mut GpuSong,
        (codes, known, settled): (&[u32], usize, usize),
        (output, normed): (usize, bool),
        first_batch: usize,
        guidance: f64,
    ) -> Result<Vec<Vec<f32>>> {
        let mut frame = self.checked(codes.iter())?;
        frame.resize(self.heads.len(), 0);
        song.work.set_codes(&frame)?;
        let count = codes.len() + 1 - known;
        self.depth_pass(&song.work, DepthPass { from: known, count, frames: 1, output, normed, first_batch })?;
        for codebook in settled..=codes.len() {
            let rows = (&song.work.decoder.parts, (codebook - known) * song.work.batch, true);
            self.head(&song.work, codebook, rows, 1, (codebook - settled, Guidance::Of(guidance)))?;
        }
        self.lists(&song.work, 0, codes.len() + 1 - settled)
    }

    /// Takes these as the next frames, all but the last of which were drafted so.
    ///
    /// # Errors
    /// When they are more than were opened.
    pub fn commit(&self, song: &mut GpuSong, window: &GpuWindow, frames: &[Vec<u32>]) -> Result<()> {
        let count = frames.len();
        if count == 0 || count > window.frames {
            return Err(ModelError::shape("frames", format!("1 to {}", window.frames), count));
        }
        song.length = window.positions + count - usize::from(window.had_first);
        song.has_output = false;
        song.last = frames.last().cloned();
        Ok(())
    }

    /// Forgets what was fed since the window was opened.
    pub fn roll_back(&self, song: &mut GpuSong, window: &GpuWindow) {
        song.length = window.positions;
    }

    /// Backbone outputs of the first `frames` frames of the window, the guidance rows of a frame side by side.
    ///
    /// # Shapes
    /// - result \[frames · B, D\]
    ///
    /// # Errors
    /// When it has fewer.
    pub fn outputs(&self, song: &GpuSong, window: &GpuWindow, frames: usize, device: &Device) -> Result<Tensor> {
        window.check(0, frames)?;
        let rows = frames * song.work.batch;
        let numbers = song.work.hidden.normed(&song.work.gpu, 0, rows, self.backbone.eps())?;
        Ok(Tensor::from_vec(numbers, (rows, song.work.hidden.width()), device)?)
    }

    /// The logits of code 0 that follow from an output of the backbone, for a drafter.
    ///
    /// # Shapes
    /// - `hidden` \[B, D\]
    ///
    /// # Errors
    /// When it has not these dimensions.
    pub fn first_logits(&self, hidden: &Tensor, guidance: f64) -> Result<Vec<f32>> {
        self.drafting(hidden.dim(0)?.clamp(1, 2), |song| {
            self.take_output(song, hidden)?;
            self.head(&song.work, 0, (&song.work.hidden, 0, false), 1, (0, Guidance::Of(guidance)))?;
            Ok(self.lists(&song.work, 0, 1)?.swap_remove(0))
        })
    }

    /// The codes of a frame whose code 0 is known, for a drafter.
    ///
    /// # Errors
    /// As [`GpuModel::first_logits`], or when a logit is not a number.
    pub fn codes_behind(
        &self,
        hidden: &Tensor,
        guidance: f64,
        (frame, first): (u64, u32),
        sampler: &mut dyn CodeSampler,
    ) -> Result<Vec<u32>> {
        self.drafting(hidden.dim(0)?.clamp(1, 2), |song| {
            self.take_output(song, hidden)?;
            let mut codes = vec![first];
            for codebook in 1..self.heads.len() {
                let known = if codebook == 1 { 0 } else { codebook };
                let logits = self.complete(song, (&codes, known, codebook), (0, false), 0, guidance)?.swap_remove(0);
                codes.push(sampler.sample(frame, codebook, &logits)?);
            }
            Ok(codes)
        })
    }

    /// Takes rows as they are for the backbone's output.
    fn take_output(&self, song: &mut GpuSong, hidden: &Tensor) -> Result<()> {
        let rows: Vec<f32> = hidden.flatten_all()?.to_vec1()?;
        song.given.write(&song.work.gpu, 0, &rows)?;
        let from = (Some(&song.given), &song.work.codes);
        let stream = &song.work.backbone.stream;
        Ok(song.work.gpu.embed_frames(
            &self.table,
            from,
            (song.work.batch, 1),
            stream,
            &song.ones,
            &song.work.hidden,
        )?)
    }
}

impl GpuWindow {
    fn check(&self, first: usize, count: usize) -> Result<()> {
        if first + count > self.frames {
            return Err(ModelError::shape("frames of a window", format!("at most {}", self.frames), first + count));
        }
        Ok(())
    }
}
