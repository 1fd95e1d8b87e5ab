//! Loss of a drafter against its teacher, on a few pieces of songs.

use candle_core::{D, DType, Tensor};
use candle_nn::{
    loss::cross_entropy,
    ops::{log_softmax, softmax_last_dim},
};
use heartstream_models::{Result, signal::Draws, speculation::DrafterWeights};

use super::{DistillOptions, Distillation, TaughtSong};

/// How often the layer is fed with its own outputs in training.
pub(super) const UNROLLED: usize = 2;
/// Weight of a frame relative to the one before it, which is less far ahead.
const FURTHER: f64 = 0.8;
/// Share of the outputs that the layer is fed with that are its own, from the second frame ahead on.
const OWN: f64 = 0.5;
/// How much the numbers of an output count beside what the model makes of them.
const STATE: f64 = 0.5;
/// How much the cross entropy with the code itself counts for transitions.
const TRANSITION: f64 = 0.2;

/// Pieces of songs, S of them, of L frames and a few more behind these that are predicted.
pub(super) struct Batch {
    pieces: usize,
    frames: usize,
    guidance: f64,
    /// \[S · B, L + reach, D\]
    outputs: Tensor,
    /// \[S · B, L + reach, D\]
    embeddings: Tensor,
    /// \[S, L + reach, K - 1, D\]
    codes: Tensor,
    /// Code 0 of each frame \[S · (L + reach)\].
    firsts: Vec<u32>,
    reach: usize,
    /// Which of the S · L places all codes are learnt from.
    whole: Tensor,
}

impl Batch {
    /// Draws pieces of `songs`, all of which have more than `reach` + 1 frames.
    pub(super) fn draw(songs: &[&TaughtSong], options: &DistillOptions, reach: usize, rng: &mut Draws) -> Result<Self> {
        let pieces = options.pieces.max(1);
        let chosen: Vec<&TaughtSong> = (0..pieces).map(|_| songs[rng.below(songs.len())]).collect();
        let shortest = chosen.iter().map(|song| song.frames() - reach).min().unwrap_or(1);
        let frames = shortest.min(options.frames).min(super::MOST_POSITIONS);
        let (mut outputs, mut embeddings, mut codes, mut firsts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let length = frames + reach;
        for song in &chosen {
            let start = rng.below(song.frames() - length + 1);
            let batch = song.outputs.dim(0)?;
            outputs.push(song.outputs.narrow(1, start, length)?);
            embeddings.push(song.embeddings.narrow(0, start, length)?.unsqueeze(0)?.repeat((batch, 1, 1))?);
            codes.push(song.codes.narrow(0, start, length)?.unsqueeze(0)?);
            firsts.extend(song.frames[start..start + length].iter().map(|frame| frame[0]));
        }
        let device = chosen[0].outputs.device();
        let whole = options.whole_frames.clamp(1, pieces * frames);
        let whole: Vec<u32> = (0..whole).map(|_| rng.below(pieces * frames) as u32).collect();
        Ok(Self {
            pieces,
            frames,
            guidance: chosen[0].guidance,
            outputs: Tensor::cat(&outputs, 0)?,
            embeddings: Tensor::cat(&embeddings, 0)?,
            codes: Tensor::cat(&codes, 0)?,
            firsts,
            reach,
            whole: Tensor::from_vec(whole.clone(), whole.len(), device)?,
        })
    }

    /// The rows of each place side by side.
    ///
    /// # Shapes
    /// - `outputs` \[S · B, L, D\], result \[S · L, B, D\]
    fn by_place(&self, outputs: &Tensor) -> Result<Tensor> {
        let (rows, frames, width) = outputs.dims3()?;
        let batch = rows / self.pieces;
        let by_piece = outputs.reshape((self.pieces, batch, frames, width))?.transpose(1, 2)?.contiguous()?;
        Ok(by_piece.reshape((self.pieces * frames, batch, width))?)
    }

    /// Code 0 of the frames that come `ahead` frames behind each place \[S · L\].
    fn firsts(&self, ahead: usize) -> Result<Tensor> {
        let length = self.frames + self.reach;
        let pieces = self.firsts.chunks(length).flat_map(|piece| &piece[ahead..ahead + self.frames]);
        let codes: Vec<u32> = pieces.copied().collect();
        let count = codes.len();
        Ok(Tensor::from_vec(codes, count, self.outputs.device())?)
    }
}

impl Distillation {
    /// The loss of a step; of distributions it counts the total `variation`, or the Kullback-Leibler divergence. Each
    /// step learns to predict the next frame; what is further ahead costs as much and is worth less, so only some steps
    /// learn it.
    pub(super) fn loss(&self, batch: &Batch, variation: bool, rng: &mut Draws) -> Result<Tensor> {
        let weights = self.weights()?;
        let first = self.next(&weights, batch, &batch.outputs.narrow(1, 0, batch.frames)?, 0)?;
        let mut sum = self.frame_loss(batch, &first, (1, 1), None, variation)?;
        let (unrolled, heads) = (self.step % 2 == 1, self.step % 4 == 2);
        // Fed with its own outputs, among others that are the model's, as they are at work.
        let mut own = first.clone();
        for ahead in (2..=UNROLLED).filter(|_| unrolled) {
            let given = batch.outputs.narrow(1, ahead - 1, batch.frames)?;
            let (rows, frames, _) = given.dims3()?;
            let mask: Vec<f32> = (0..rows * frames).map(|_| f32::from(u8::from(rng.uniform() < OWN))).collect();
            let mask = Tensor::from_vec(mask, (rows, frames, 1), given.device())?;
            let fed = (&given + (own - &given)?.broadcast_mul(&mask)?)?;
            own = self.next(&weights, batch, &fed, ahead - 1)?;
            let part = self.frame_loss(batch, &own, (ahead, 2), None, variation)?;
            sum = (sum + (part * FURTHER.powi(ahead as i32 - 1))?)?;
        }
        // Heads learn from the layer, and it does not learn from them.
        let first = first.detach();
        for ahead in (2..=weights.reach()).filter(|_| heads) {
            let links = weights.transitions(&batch.firsts(ahead - 1)?)?;
            let output = weights.ahead(ahead, &first)?;
            let weight = FURTHER.powi(ahead as i32 - 1);
            let part = self.frame_loss(batch, &output, (ahead, 4), Some(&links), variation)?;
            sum = (sum + (part * weight)?)?;
            // What the heads' output does not know, transitions may: they learn from the codes themselves.
            let alone = self.teacher.first(&batch.by_place(&output.detach())?, batch.guidance)?;
            let part = cross_entropy(&(alone + links)?, &batch.firsts(ahead)?)?;
            sum = (sum + (part * (weight * TRANSITION))?)?;
        }
        Ok(sum)
    }

    /// What the layer expects behind each frame, fed with `outputs` \[S · B, L, D\] for the frames from `start` on.
    fn next(&self, weights: &DrafterWeights, batch: &Batch, outputs: &Tensor, start: usize) -> Result<Tensor> {
        let frames = batch.embeddings.narrow(1, start, batch.frames)?;
        weights.next(&weights.fed(outputs, &frames)?, &mut weights.cache(outputs.dim(0)?, &self.device)?)
    }

    /// How far `predicted` \[S · B, L, D\] is from the outputs `ahead` frames behind each place, and from what follows
    /// from these; all codes are compared at one in `parts` of the possible places.
    fn frame_loss(
        &self,
        batch: &Batch,
        predicted: &Tensor,
        (ahead, parts): (usize, usize),
        links: Option<&Tensor>,
        variation: bool,
    ) -> Result<Tensor> {
        let outputs = batch.outputs.narrow(1, ahead, batch.frames)?.contiguous()?;
        let size = outputs.sqr()?.mean_all()?;
        let mut sum = ((predicted - &outputs)?.sqr()?.mean_all()?.div(&size)? * STATE)?;
        let (predicted, outputs) = (batch.by_place(predicted)?, batch.by_place(&outputs)?);
        let mut first = self.teacher.first(&predicted, batch.guidance)?;
        if let Some(links) = links {
            first = (first + links)?;
        }
        sum = (sum + distance(&first, &self.teacher.first(&outputs, batch.guidance)?, variation)?)?;
        let codes = batch.codes.narrow(1, ahead, batch.frames)?.contiguous()?.flatten_to(1)?;
        let whole = batch.whole.narrow(0, 0, batch.whole.dim(0)?.div_ceil(parts))?;
        let codes = codes.index_select(&whole, 0)?;
        let others = |outputs: &Tensor| self.teacher.others(&outputs.index_select(&whole, 0)?, &codes, batch.guidance);
        for (found, expected) in others(&predicted)?.iter().zip(&others(&outputs)?) {
            sum = (sum + distance(found, expected, variation)?)?;
        }
        Ok(sum)
    }
}

/// Divergence of one distribution from another that is right, the mean over the rows; both given by their logits \[N,
/// vocabulary\].
fn distance(found: &Tensor, expected: &Tensor, variation: bool) -> Result<Tensor> {
    let expected = softmax_last_dim(&expected.detach().to_dtype(DType::F32)?.contiguous()?)?;
    let found = log_softmax(found, D::Minus1)?;
    Ok(if variation {
        ((found.exp()? - expected)?.abs()?.sum(1)?.mean(0)? * 2.0)?
    } else {
        (expected * found)?.sum(1)?.mean(0)?.neg()?
    })
}
