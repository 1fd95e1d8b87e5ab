//! Training songs of a drafter: the model writes them, and the outputs that their frames followed from are stored.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use heartstream_models::{
    Result,
    heartmula::{CodeSampler, HeartMula, KeyedSampler, PromptTokens, SongTarget, VerifyBuffers},
    speculation::{DraftContext, DrafterName, DrafterWeights, Frame, FrameDrafter, Heads, NextState},
};

/// A song of the teacher, with what the drafter learns from it.
pub struct TaughtSong {
    pub(super) sampler: KeyedSampler,
    pub(super) frames: Vec<Frame>,
    pub(super) guidance: f64,
    /// Outputs of the backbone \[B, T, D\].
    pub(super) outputs: Tensor,
    /// Embeddings of whole frames \[T, D\].
    pub(super) embeddings: Tensor,
    /// Embeddings of the codes of a frame but the last \[T, K - 1, D\].
    pub(super) codes: Tensor,
}

impl TaughtSong {
    /// Has the model write a song of at most `frames` frames; `sampler` draws it. It ends before a frame with a code
    /// from `audio_eos` on.
    ///
    /// # Errors
    /// When prompt and frames need more positions than the model has.
    pub fn write(
        model: &HeartMula,
        prompt: &PromptTokens,
        guidance: f64,
        frames: usize,
        audio_eos: u32,
        mut sampler: KeyedSampler,
    ) -> Result<Self> {
        let codebooks = model.config().audio_num_codebooks;
        let mut state = model.start(prompt, guidance, frames)?;
        let mut buffers = VerifyBuffers::default();
        let mut target = SongTarget::new(model, &mut state, &mut buffers);
        let (kept, mut written) = (sampler.clone(), Vec::new());
        let (mut outputs, mut embeddings, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        for place in 0..frames as u64 {
            let first = target.open(&[])?.swap_remove(0);
            let mut codes = vec![sampler.sample(place, 0, &first)?];
            for codebook in 1..codebooks {
                let logits = target.finish_logits(0, &codes, codebook)?.swap_remove(0);
                codes.push(sampler.sample(place, codebook, &logits)?);
            }
            if codes.iter().any(|code| *code >= audio_eos) {
                break;
            }
            outputs.push(target.outputs(1)?.unsqueeze(1)?);
            embeddings.push(model.frame_embedding(&codes)?);
            for (codebook, code) in codes.iter().enumerate().take(codebooks - 1) {
                tables.push(model.code_embedding(codebook, *code)?);
            }
            target.commit(std::slice::from_ref(&codes))?;
            written.push(codes);
        }
        let (count, width) = (written.len(), model.config().backbone.embed_dim);
        // Candle joins no tensors where there are none.
        let joined = |parts: &[Tensor], place: usize, empty: &[usize]| match parts {
            [] => Tensor::zeros(empty, DType::F32, &Device::Cpu),
            parts => Tensor::cat(parts, place),
        };
        Ok(Self {
            sampler: kept,
            guidance,
            outputs: joined(&outputs, 1, &[1, 0, width])?,
            embeddings: joined(&embeddings, 0, &[0, width])?,
            codes: joined(&tables, 0, &[0, width])?.reshape((count, codebooks - 1, width))?,
            frames: written,
        })
    }

    /// The same song, its numbers on `device`.
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn on(&self, device: &Device) -> Result<Self> {
        let to = |tensor: &Tensor| tensor.to_device(device);
        Ok(Self {
            sampler: self.sampler.clone(),
            frames: self.frames.clone(),
            guidance: self.guidance,
            outputs: to(&self.outputs)?,
            embeddings: to(&self.embeddings)?,
            codes: to(&self.codes)?,
        })
    }

    /// Its frames.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Passes of the backbone that the song would take if it were drafted, each followed by at least one frame: what
    /// comes of rounds of draft and verify, without the verifying.
    ///
    /// # Errors
    /// When the drafter is none that is trained, or cannot compute.
    pub fn passes(
        &self,
        model: &Arc<HeartMula>,
        weights: &Arc<DrafterWeights>,
        drafter: DrafterName,
        frames: usize,
    ) -> Result<usize> {
        let (model, weights) = (Arc::clone(model), Arc::clone(weights));
        let mut drafter: Box<dyn FrameDrafter> = match drafter {
            DrafterName::NextState => Box::new(NextState::new(model, weights)),
            name => Box::new(Heads::new(model, weights, name == DrafterName::HeadsViterbi)),
        };
        let (mut written, mut passes, mut last) = (0, 0, 0);
        while written < self.frames() {
            let trail = if last == 0 { None } else { Some(self.outputs.narrow(1, written - last, last)?) };
            let context = DraftContext {
                past: &self.frames[..written],
                drafted: &[],
                trail: trail.as_ref(),
                guidance: self.guidance,
                sampler: &self.sampler,
            };
            let drafts = drafter.draft(&context, frames)?;
            let right = drafts.iter().zip(&self.frames[written..]).take_while(|(draft, frame)| draft.codes == **frame);
            last = (right.count() + 1).min(self.frames() - written);
            (written, passes) = (written + last, passes + 1);
        }
        Ok(passes)
    }
}
