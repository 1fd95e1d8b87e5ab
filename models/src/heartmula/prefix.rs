//! Prefill that is computed once: the unconditional row at one position, and the prompt of the last song.
//!
//! In the unconditional row every position of a prompt holds the same embedding. So by induction over the layers its
//! hidden state is the same at every position: attention over equal values gives that value. One position is computed
//! and stands for all, and guidance costs one row more among hundreds. Its keys before RoPE and its values are kept,
//! from which the rows of the cache follow.

use candle_core::Tensor;

use super::{PromptTokens, kv_cache::KvCache, model::prompt_positions, transformer::Transformer};
use crate::error::Result;

/// A prefill is cached for the next song if its keys and values take at most this: 290 positions of the published
/// model.
pub(super) const MOST_BYTES: usize = 64 << 20;

/// A computed prefill.
#[derive(Debug)]
pub(super) struct Prefix {
    prompt: PromptTokens,
    /// Keys before RoPE and values of each layer, \[1, T, kv heads · head width\]; with guidance T + 1 positions,
    /// of which the last stands for the unconditional row.
    layers: Vec<(Tensor, Tensor)>,
    /// \[B, D\]: the backbone's output at the last position of each row.
    hidden: Tensor,
}

impl Prefix {
    /// Computes a prompt into `cache`, which is empty and has 2 rows with guidance, 1 without. `None` when
    /// `stopped` says so before one of the layers; the cache is of no use then.
    ///
    /// # Shapes
    /// - `xs` \[1, T, D\]; with guidance \[1, T + 1, D\], the last being what every unconditional position holds
    pub(super) fn compute(
        transformer: &Transformer,
        prompt: &PromptTokens,
        xs: &Tensor,
        cache: &mut KvCache,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Option<Self>> {
        let count = prompt_positions(prompt);
        let (_, rows, _) = xs.dims3()?;
        let batch = rows - count + 1;
        cache.check_room(count)?;
        let mut xs = xs.clone();
        let mut layers = Vec::new();
        for (layer, index) in transformer.layers().iter().zip(0..) {
            if stopped() {
                return Ok(None);
            }
            let layer = layer.for_prompts();
            let [query, key, value] = layer.projected(&xs)?;
            let ys = cache.attend(
                index,
                &spread(&query, count, batch)?,
                &spread(&key, count, batch)?,
                &spread(&value, count, batch)?,
            )?;
            let ys = match batch {
                1 => ys,
                // The first position of the unconditional row attends only to itself, so its value has no rounding.
                _ => Tensor::cat(&[&ys.narrow(0, 0, 1)?, &ys.narrow(0, 1, 1)?.narrow(1, 0, 1)?], 1)?,
            };
            xs = layer.after_attention(&xs, &ys)?;
            layers.push((key, value));
        }
        cache.advance(count);
        let last = xs.narrow(1, count - 1, batch)?.contiguous()?;
        Ok(Some(Self { prompt: prompt.clone(), layers, hidden: transformer.last_norm(&last)?.squeeze(0)? }))
    }

    /// Whether this is `prompt`, with all that `batch` rows need.
    pub(super) fn serves(&self, prompt: &PromptTokens, batch: usize) -> bool {
        self.prompt == *prompt && self.hidden.dims()[0] >= batch
    }

    /// Whether it is small enough to be cached.
    pub(super) fn is_worth_keeping(&self) -> bool {
        let numbers: usize = self.layers.iter().map(|(keys, values)| keys.elem_count() + values.elem_count()).sum();
        numbers * size_of::<f32>() <= MOST_BYTES
    }

    /// Fills an empty cache of `batch` rows as computing would.
    pub(super) fn restore(&self, cache: &mut KvCache, batch: usize, query_width: usize) -> Result<()> {
        let count = prompt_positions(&self.prompt);
        cache.check_room(count)?;
        for ((keys, values), index) in self.layers.iter().zip(0..) {
            // A cache appends only when it attends. The result is discarded; it costs a hundredth of a prefill.
            let nothing = Tensor::zeros((batch, count, query_width), keys.dtype(), keys.device())?;
            cache.attend(index, &nothing, &spread(keys, count, batch)?, &spread(values, count, batch)?)?;
        }
        cache.advance(count);
        Ok(())
    }

    /// The backbone's output from which the first frame follows.
    ///
    /// # Shapes
    /// - result \[B, D\]
    pub(super) fn hidden(&self, batch: usize) -> Result<Tensor> {
        Ok(self.hidden.narrow(0, 0, batch)?.contiguous()?)
    }
}

/// The rows of a batch: the first `count` positions, and the one behind them as often as there are those.
///
/// # Shapes
/// - `xs` \[1, T or T + 1, D\], result \[B, T, D\]
fn spread(xs: &Tensor, count: usize, batch: usize) -> Result<Tensor> {
    let words = xs.narrow(1, 0, count)?;
    if batch == 1 {
        return Ok(words.contiguous()?);
    }
    let nothing = xs.narrow(1, count, 1)?.broadcast_as((1, count, xs.dim(2)?))?;
    Ok(Tensor::cat(&[&words, &nothing], 0)?.contiguous()?)
}
