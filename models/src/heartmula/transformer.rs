//! Llama-style transformer, the same code for backbone and depth decoder.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::{config::TransformerConfig, kv_cache::KvCache};
use crate::{
    error::{ModelError, Result},
    kernels::{Linear, RmsNorm, silu_up},
    weights::TensorStore,
};

/// The weights of one transformer, its last norm included; no embedding and no head.
#[derive(Debug)]
pub struct Transformer {
    layers: Vec<Layer>,
    norm: RmsNorm,
}

#[derive(Debug, Clone)]
pub(super) struct Layer {
    attention_norm: RmsNorm,
    /// The outputs of the queries, then those of the keys, then those of the values: one product, as each costs a wait
    /// for all threads.
    query_key_value: Linear,
    /// Outputs of the queries, and of the keys.
    widths: [usize; 2],
    output: Linear,
    feed_forward_norm: RmsNorm,
    /// The gate's outputs, then those that it gates.
    gate_up: Linear,
    down: Linear,
}

impl Transformer {
    /// Reads the tensors whose names begin with `prefix`.
    ///
    /// # Errors
    /// When one is not there in its shape.
    pub fn load(config: &TransformerConfig, store: &TensorStore, prefix: &str, device: &Device) -> Result<Self> {
        let layers =
            (0..config.num_layers).map(|index| Layer::load(config, store, &format!("{prefix}.layers.{index}"), device));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            norm: RmsNorm::load(store, &format!("{prefix}.norm.scale"), config.embed_dim, config.norm_eps, device)?,
        })
    }

    pub(super) fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The norm behind the last layer.
    pub(super) fn last_norm(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(self.norm.forward(xs)?)
    }

    /// Computes the positions after those in `cache` and appends them. While gradients are tracked nothing is cached,
    /// and `cache` must be new.
    ///
    /// # Shapes
    /// - `xs` and result \[B, T, D\]
    ///
    /// # Errors
    /// When the cache has no room for T more positions.
    pub fn forward(&self, xs: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        self.forward_songs(xs, &mut [cache])
    }

    /// As [`Transformer::forward`], for several songs in one pass over the weights: the rows of `xs` are those of the
    /// first cache, then those of the second, and so on. Each row is what it would be alone.
    ///
    /// # Shapes
    /// - `xs` and result \[B, T, D\], B the rows of all caches together
    ///
    /// # Errors
    /// When a cache has no room for T more positions, or the rows are not those of the caches; then no cache has
    /// changed.
    pub fn forward_songs(&self, xs: &Tensor, caches: &mut [&mut KvCache]) -> Result<Tensor> {
        let (rows, count, _) = xs.dims3()?;
        caches.iter().try_for_each(|cache| cache.check_room(count))?;
        let expected: usize = caches.iter().map(|cache| cache.batch()).sum();
        if rows != expected {
            return Err(ModelError::shape("rows of a pass", expected, rows));
        }
        let mut xs = xs.clone();
        for (layer, index) in self.layers.iter().zip(0..) {
            let found = attend(index, &layer.projected(&xs)?, caches)?;
            xs = layer.after_attention(&xs, &found)?;
        }
        let ys = self.norm.forward(&xs)?;
        caches.iter_mut().for_each(|cache| cache.advance(count));
        Ok(ys)
    }
}

/// Attention in layer `layer` of each cache's rows to its own positions.
///
/// # Shapes
/// - `projected` queries, keys and values \[B, T, heads · head width\], B the rows of all caches together; result as
///   the queries
fn attend(layer: usize, projected: &[Tensor; 3], caches: &mut [&mut KvCache]) -> Result<Tensor> {
    if let [cache] = caches {
        let [query, key, value] = projected;
        return cache.attend(layer, query, key, value);
    }
    let mut first = 0;
    let mut songs = Vec::with_capacity(caches.len());
    for cache in caches {
        let rows = cache.batch();
        let own = |part: usize| projected[part].narrow(0, first, rows);
        songs.push((own(0)?, own(1)?, own(2)?, &mut **cache));
        first += rows;
    }
    // Songs are independent of each other, so each thread takes whole ones before it helps with the heads of another.
    let found: Result<Vec<Tensor>> =
        songs.into_par_iter().with_max_len(1).map(|(q, k, v, cache)| cache.attend(layer, &q, &k, &v)).collect();
    Ok(Tensor::cat(&found?, 0)?)
}

impl Layer {
    fn load(config: &TransformerConfig, store: &TensorStore, prefix: &str, device: &Device) -> Result<Self> {
        let (width, hidden) = (config.embed_dim, config.intermediate_dim);
        let keys = config.num_kv_heads * config.head_dim();
        let norm = |name: &str| RmsNorm::load(store, &format!("{prefix}.{name}.scale"), width, config.norm_eps, device);
        let linear = |name: &str, shape| {
            Linear::load(store, &format!("{prefix}.{name}"), shape, false, device).map(Linear::without_tiles)
        };
        let joined = |parts: &[(&str, usize)]| {
            let names: Vec<_> = parts.iter().map(|(name, _)| format!("{prefix}.{name}.weight")).collect();
            let parts: Vec<_> = names.iter().zip(parts).map(|(name, part)| (name.as_str(), part.1)).collect();
            Linear::load_joined(store, &parts, width, None, device).map(Linear::without_tiles)
        };
        Ok(Self {
            attention_norm: norm("sa_norm")?,
            query_key_value: joined(&[("attn.q_proj", width), ("attn.k_proj", keys), ("attn.v_proj", keys)])?,
            widths: [width, keys],
            output: linear("attn.output_proj", [width, width])?,
            feed_forward_norm: norm("mlp_norm")?,
            gate_up: joined(&[("mlp.w1", hidden), ("mlp.w3", hidden)])?,
            down: linear("mlp.w2", [width, hidden])?,
        })
    }

    /// The same layer for the positions of a prompt, which are many: they may be multiplied in tiles. Frames are not,
    /// however many are verified at once, so that they are what they are alone.
    pub(super) fn for_prompts(&self) -> Self {
        Self {
            query_key_value: self.query_key_value.with_tiles(),
            output: self.output.with_tiles(),
            gate_up: self.gate_up.with_tiles(),
            down: self.down.with_tiles(),
            ..self.clone()
        }
    }

    /// Queries, keys and values of `xs` \[B, T, D\], before RoPE.
    pub(super) fn projected(&self, xs: &Tensor) -> Result<[Tensor; 3]> {
        let joined = self.query_key_value.forward(&self.attention_norm.forward(xs)?)?;
        let [queries, keys] = self.widths;
        let part = |first, width| joined.narrow(2, first, width)?.contiguous();
        Ok([part(0, queries)?, part(queries, keys)?, part(queries + keys, keys)?])
    }

    /// Output of the layer for `xs` with the attention's result `found`.
    pub(super) fn after_attention(&self, xs: &Tensor, found: &Tensor) -> Result<Tensor> {
        let xs = self.output.forward_added(found, xs)?;
        let hidden = silu_up(&self.gate_up.forward(&self.feed_forward_norm.forward(&xs)?)?)?;
        Ok(self.down.forward_added(&hidden, &xs)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{signal::KeyedNoise, test_checkpoints::tiny};

    const POSITIONS: usize = 12;

    /// The backbone of the smallest model, a cache for it, and what it is fed: normal noise \[batch, 12, D\].
    fn setting(batch: usize) -> (Transformer, KvCache, Tensor) {
        let (_folder, directory) = tiny();
        let (config, store) = (&directory.lm.backbone, directory.lm_store().expect("files"));
        let transformer = Transformer::load(config, &store, "backbone", &Device::Cpu).expect("weights");
        let cache = KvCache::new(config, batch, POSITIONS, &Device::Cpu).expect("a cache");
        let mut noise = vec![0f32; batch * POSITIONS * config.embed_dim];
        KeyedNoise::new(3).fill_latent(0, &mut noise);
        let xs = Tensor::from_vec(noise, (batch, POSITIONS, config.embed_dim), &Device::Cpu).expect("numbers");
        (transformer, cache, xs)
    }

    fn numbers(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers")
    }

    /// Feeds the positions from `from` on in pieces of these lengths.
    fn fed(transformer: &Transformer, cache: &mut KvCache, xs: &Tensor, from: usize, pieces: &[usize]) -> Vec<f32> {
        let mut start = from;
        let ys = pieces.iter().map(|length| {
            let piece = xs.narrow(1, start, *length).expect("positions");
            start += length;
            transformer.forward(&piece, cache).expect("room")
        });
        numbers(&Tensor::cat(&ys.collect::<Vec<_>>(), 1).expect("pieces"))
    }

    #[test]
    fn positions_one_by_one_are_what_they_are_all_at_once_bit_for_bit() {
        for batch in [1, 2] {
            let (transformer, mut cache, xs) = setting(batch);
            let whole = fed(&transformer, &mut cache, &xs, 0, &[POSITIONS]);
            for pieces in [&[1; POSITIONS][..], &[5, 1, 6], &[1, 11], &[11, 1]] {
                cache.truncate(0);
                assert!(fed(&transformer, &mut cache, &xs, 0, pieces) == whole, "{pieces:?}");
            }
        }
    }

    #[test]
    fn a_whole_sequence_is_the_same_where_it_is_learnt_from_and_every_weight_has_a_gradient() {
        let (_folder, directory) = tiny();
        let (config, store) = (&directory.lm.backbone, directory.lm_store().expect("files"));
        let held = store.names().filter(|name| name.starts_with("backbone")).map(|name| {
            let shape = store.shape(name).expect("a shape").to_vec();
            let tensor = store.tensor(name, &shape, &Device::Cpu).expect("numbers");
            (name.to_owned(), candle_core::Var::from_tensor(&tensor).expect("a variable"))
        });
        let held: Vec<_> = held.collect();
        let tensors = held.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let trained = Transformer::load(config, &TensorStore::from_tensors(tensors), "backbone", &Device::Cpu);
        let (transformer, mut cache, xs) = setting(2);
        let appended = fed(&transformer, &mut cache, &xs, 0, &[POSITIONS]);
        cache.truncate(0);
        let whole = trained.expect("weights").forward(&xs, &mut cache).expect("a sequence");
        for (found, expected) in numbers(&whole).iter().zip(&appended) {
            assert!((found - expected).abs() < 1e-4, "{found} for {expected}");
        }
        let gradients = whole.sqr().and_then(|ys| ys.sum_all()?.backward()).expect("a gradient");
        for (name, var) in &held {
            let gradient = gradients.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
            assert!(numbers(gradient).iter().any(|x| *x != 0.0), "{name}");
        }
    }

    #[test]
    fn what_is_forgotten_and_fed_again_is_as_if_it_had_never_been_there() {
        let (transformer, mut cache, xs) = setting(1);
        let singly = fed(&transformer, &mut cache, &xs, 0, &[1; POSITIONS]);
        let other = xs.affine(-3.0, 1.0).expect("numbers");
        let width = singly.len() / POSITIONS;
        for kept in [0, 1, 7, POSITIONS - 1] {
            cache.truncate(kept);
            fed(&transformer, &mut cache, &other, kept, &[POSITIONS - kept]);
            cache.truncate(kept);
            let again = fed(&transformer, &mut cache, &xs, kept, &vec![1; POSITIONS - kept]);
            assert_eq!(again, singly[kept * width..], "{kept} positions kept");
        }
    }

    #[test]
    fn no_position_sees_a_later_one() {
        let (transformer, mut cache, xs) = setting(1);
        let whole = fed(&transformer, &mut cache, &xs, 0, &[POSITIONS]);
        cache.truncate(0);
        let changed = Tensor::cat(&[&xs.narrow(1, 0, 8).expect("8"), &xs.narrow(1, 0, 4).expect("4")], 1).expect("12");
        let other = fed(&transformer, &mut cache, &changed, 0, &[POSITIONS]);
        let place = 8 * whole.len() / POSITIONS;
        assert_eq!(whole[..place], other[..place]);
        assert!(whole[place..] != other[place..], "the change would be seen");
    }

    #[test]
    fn a_position_too_many_is_refused() {
        let (transformer, mut cache, xs) = setting(1);
        fed(&transformer, &mut cache, &xs, 0, &[POSITIONS]);
        let error = transformer.forward(&xs.narrow(1, 0, 1).expect("one"), &mut cache).expect_err("full");
        assert!(error.to_string().contains("at most 12"), "{error}");
    }
}
