//! Quality of a drafter: how often it draws the teacher's code, with the same noise, in songs that it was not trained
//! on.

use candle_core::{Device, Tensor};
use heartstream_models::{Result, heartmula::CodeSampler};

use super::{Distillation, MOST_POSITIONS, TaughtSong};

/// Shares of codes and frames that come out as the teacher draws them, each under the right codes before it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matches {
    /// Of the next frame, as the layer predicts it: of each codebook.
    pub next: Vec<f64>,
    /// Of the next frame as a whole.
    pub next_frames: f64,
    /// Of the frame behind it, as the second head predicts it (the layer itself, where there is only one head).
    pub head: Vec<f64>,
}

impl Matches {
    /// One number to be made large: what the layer is for counts most.
    pub fn score(&self) -> f64 {
        let mean = |shares: &[f64]| shares.iter().sum::<f64>() / shares.len().max(1) as f64;
        mean(&self.next) + self.next_frames + 0.1 * mean(&self.head)
    }
}

impl Distillation {
    /// How often the drafter draws the teacher's codes in `songs`.
    ///
    /// # Errors
    /// When the device cannot compute.
    pub fn matches(&self, songs: &[TaughtSong]) -> Result<Matches> {
        let codebooks = self.teacher.codebooks();
        let mut right = [vec![0f64; codebooks], vec![0f64; codebooks]];
        let (mut whole, mut counts) = (0f64, [0f64; 2]);
        let weights = self.weights()?;
        let far = weights.reach().min(2);
        for song in songs {
            for start in (0..song.frames()).step_by(MOST_POSITIONS) {
                let count = (song.frames() - start).min(MOST_POSITIONS);
                let (outputs, frames) =
                    (song.outputs.narrow(1, start, count)?, song.embeddings.narrow(0, start, count)?);
                let frames = frames.unsqueeze(0)?.repeat((outputs.dim(0)?, 1, 1))?;
                let mut cache = weights.cache(outputs.dim(0)?, &self.device)?;
                let next = weights.next(&weights.fed(&outputs, &frames)?, &mut cache)?.detach();
                for (way, ahead) in [1, far].into_iter().enumerate() {
                    let count = count.min(song.frames().saturating_sub(start + ahead));
                    if count == 0 {
                        continue;
                    }
                    let predicted = weights.ahead(ahead, &next.narrow(1, 0, count)?)?.detach();
                    let first = start + ahead;
                    let before: Vec<u32> =
                        song.frames[first - 1..first - 1 + count].iter().map(|frame| frame[0]).collect();
                    let links = (ahead > 1).then(|| {
                        Ok::<_, heartstream_models::ModelError>(
                            weights.transitions(&Tensor::from_vec(before, count, &self.device)?)?.detach(),
                        )
                    });
                    let drawn = self.draws(song, &predicted, first, links.transpose()?.as_ref())?;
                    for (place, codes) in drawn.iter().enumerate() {
                        let frame = &song.frames[first + place];
                        for (right, (code, drawn)) in right[way].iter_mut().zip(frame.iter().zip(codes)) {
                            *right += f64::from(u8::from(code == drawn));
                        }
                        whole += f64::from(u8::from(way == 0 && codes == frame));
                    }
                    counts[way] += count as f64;
                }
            }
        }
        let share = |way: usize| right[way].iter().map(|right| right / counts[way].max(1.0)).collect::<Vec<f64>>();
        Ok(Matches { next: share(0), next_frames: whole / counts[0].max(1.0), head: share(1) })
    }

    /// What is drawn from `predicted` \[B, T, D\] for the frames from number `first` of the song on.
    fn draws(
        &self,
        song: &TaughtSong,
        predicted: &Tensor,
        first: usize,
        links: Option<&Tensor>,
    ) -> Result<Vec<Vec<u32>>> {
        let count = predicted.dim(1)?;
        let outputs = predicted.transpose(0, 1)?.contiguous()?;
        let mut logits = self.teacher.first(&outputs, song.guidance)?;
        if let Some(links) = links {
            logits = (logits + links)?;
        }
        let mut all = vec![logits];
        all.extend(self.teacher.others(&outputs, &song.codes.narrow(0, first, count)?, song.guidance)?);
        let mut sampler = song.sampler.clone();
        let mut drawn = vec![Vec::with_capacity(all.len()); count];
        for (codebook, logits) in all.iter().enumerate() {
            let rows = logits.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
            for ((place, codes), row) in (first as u64..).zip(&mut drawn).zip(rows) {
                codes.push(sampler.sample(place, codebook, &row)?);
            }
        }
        Ok(drawn)
    }
}
