//! What does a Llama-style transformer do, and what does it remember? The same code is backbone and depth decoder.

use candle_core::{DType, Device, Tensor};

use super::config::{ROPE_HIGH_FREQUENCY_FACTOR, ROPE_LOW_FREQUENCY_FACTOR, ROPE_OLD_CONTEXT, TransformerConfig};
use crate::{
    error::{ModelError, Result},
    kernels::{Linear, RmsNorm, RotaryTable, attention, base_frequencies},
    weights::Shards,
};

/// The weights of one transformer, its last norm included; no embedding and no head.
#[derive(Debug)]
pub struct Transformer {
    config: TransformerConfig,
    layers: Vec<Layer>,
    norm: RmsNorm,
}

#[derive(Debug)]
struct Layer {
    attention_norm: RmsNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    feed_forward_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// Keys and values of the positions seen so far. Allocated once; forgetting is setting a counter back.
#[derive(Debug)]
pub struct KvCache {
    /// For each layer keys and values, both \[B, kv heads, capacity, head width\].
    layers: Vec<(Tensor, Tensor)>,
    rotary: RotaryTable,
    length: usize,
    capacity: usize,
}

impl KvCache {
    /// Room for `capacity` positions of `batch` rows.
    ///
    /// # Errors
    /// When `capacity` is beyond the positions of the model, or the device has no memory for it.
    pub fn new(config: &TransformerConfig, batch: usize, capacity: usize, device: &Device) -> Result<Self> {
        if capacity > config.max_seq_len {
            return Err(ModelError::shape(
                "positions of a KV cache",
                format!("at most {}", config.max_seq_len),
                capacity,
            ));
        }
        let shape = (batch, config.num_kv_heads, capacity, config.head_dim());
        let buffer = || Tensor::zeros(shape, DType::F32, device);
        let layers = (0..config.num_layers).map(|_| Ok((buffer()?, buffer()?))).collect::<Result<_>>()?;
        Ok(Self {
            layers,
            rotary: RotaryTable::new(&scaled_frequencies(config), capacity, device)?,
            length: 0,
            capacity,
        })
    }

    /// Forgets all positions from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Transformer {
    /// Reads the tensors whose names begin with `prefix`.
    ///
    /// # Errors
    /// When one is not there in its shape.
    pub fn load(config: &TransformerConfig, shards: &Shards, prefix: &str, device: &Device) -> Result<Self> {
        let layers = (0..config.num_layers)
            .map(|index| Layer::load(config, shards, &format!("{prefix}.layers.{index}"), device));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            norm: RmsNorm::load(shards, &format!("{prefix}.norm.scale"), config.embed_dim, config.norm_eps, device)?,
            config: config.clone(),
        })
    }

    /// Computes the positions after those in `cache` and remembers them.
    ///
    /// # Shapes
    /// - `xs` and result \[B, T, D\]
    ///
    /// # Errors
    /// When the cache has no room for T more positions.
    pub fn forward(&self, xs: &Tensor, cache: &mut KvCache) -> Result<Tensor> {
        let (_, count, _) = xs.dims3()?;
        let (start, end) = (cache.length, cache.length + count);
        if end > cache.capacity {
            return Err(ModelError::shape("positions of a song", format!("at most {}", cache.capacity), end));
        }
        let group = self.config.num_heads / self.config.num_kv_heads;
        let mask = if count > 1 { Some(causal_mask(count, start, group, xs.device())?) } else { None };
        let mut xs = xs.clone();
        for (layer, index) in self.layers.iter().zip(0..) {
            xs = (&xs
                + layer.attend(&self.config, &layer.attention_norm.forward(&xs)?, cache, index, mask.as_ref())?)?;
            xs = (&xs + layer.feed_forward(&layer.feed_forward_norm.forward(&xs)?)?)?;
        }
        cache.length = end;
        Ok(self.norm.forward(&xs)?)
    }

    /// Computes all positions of a sequence at once and remembers none. It has a gradient: for training.
    ///
    /// # Shapes
    /// - `xs` and result \[B, T, D\]
    ///
    /// # Errors
    /// When T is beyond the positions of the model.
    pub fn forward_whole(&self, xs: &Tensor) -> Result<Tensor> {
        let (_, count, _) = xs.dims3()?;
        if count > self.config.max_seq_len {
            let most = format!("at most {}", self.config.max_seq_len);
            return Err(ModelError::shape("positions of a sequence", most, count));
        }
        let rotary = RotaryTable::new(&scaled_frequencies(&self.config), count, xs.device())?;
        let mask = causal_mask(count, 0, self.config.num_heads / self.config.num_kv_heads, xs.device())?;
        let mut xs = xs.clone();
        for layer in &self.layers {
            xs = (&xs + layer.attend_whole(&self.config, &layer.attention_norm.forward(&xs)?, &rotary, &mask)?)?;
            xs = (&xs + layer.feed_forward(&layer.feed_forward_norm.forward(&xs)?)?)?;
        }
        Ok(self.norm.forward(&xs)?)
    }
}

impl Layer {
    fn load(config: &TransformerConfig, shards: &Shards, prefix: &str, device: &Device) -> Result<Self> {
        let (width, hidden) = (config.embed_dim, config.intermediate_dim);
        let keys = config.num_kv_heads * config.head_dim();
        let norm =
            |name: &str| RmsNorm::load(shards, &format!("{prefix}.{name}.scale"), width, config.norm_eps, device);
        let linear = |name: &str, shape| Linear::load(shards, &format!("{prefix}.{name}"), shape, false, device);
        Ok(Self {
            attention_norm: norm("sa_norm")?,
            query: linear("attn.q_proj", [width, width])?,
            key: linear("attn.k_proj", [keys, width])?,
            value: linear("attn.v_proj", [keys, width])?,
            output: linear("attn.output_proj", [width, width])?,
            feed_forward_norm: norm("mlp_norm")?,
            gate: linear("mlp.w1", [hidden, width])?,
            up: linear("mlp.w3", [hidden, width])?,
            down: linear("mlp.w2", [width, hidden])?,
        })
    }

    fn attend(
        &self,
        config: &TransformerConfig,
        xs: &Tensor,
        cache: &mut KvCache,
        layer: usize,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (batch, count, width) = xs.dims3()?;
        let (heads, kv_heads, head_dim) = (config.num_heads, config.num_kv_heads, config.head_dim());
        let start = cache.length;
        // [B, T, heads · D] -> [B, heads, T, D]
        let split =
            |xs: Tensor, heads: usize| xs.reshape((batch, count, heads, head_dim))?.transpose(1, 2)?.contiguous();
        let query = cache.rotary.apply(&split(self.query.forward(xs)?, heads)?, start)?;
        let key = cache.rotary.apply(&split(self.key.forward(xs)?, kv_heads)?, start)?;
        let value = split(self.value.forward(xs)?, kv_heads)?;
        let (keys, values) = &cache.layers[layer];
        keys.slice_set(&key, 2, start)?;
        values.slice_set(&value, 2, start)?;
        // Query heads h = kv · group + g share the key head kv, so a group's heads stand below each other as rows.
        let query = (query * (1.0 / (head_dim as f64).sqrt()))?.reshape((
            batch,
            kv_heads,
            heads / kv_heads * count,
            head_dim,
        ))?;
        let (keys, values) = (keys.narrow(2, 0, start + count)?, values.narrow(2, 0, start + count)?);
        let ys = attention(&query, &keys, &values, mask)?;
        let ys = ys.reshape((batch, heads, count, head_dim))?.transpose(1, 2)?.reshape((batch, count, width))?;
        Ok(self.output.forward(&ys)?)
    }

    fn attend_whole(
        &self,
        config: &TransformerConfig,
        xs: &Tensor,
        rotary: &RotaryTable,
        mask: &Tensor,
    ) -> Result<Tensor> {
        let (batch, count, width) = xs.dims3()?;
        let (heads, kv_heads, head_dim) = (config.num_heads, config.num_kv_heads, config.head_dim());
        let split =
            |xs: Tensor, heads: usize| xs.reshape((batch, count, heads, head_dim))?.transpose(1, 2)?.contiguous();
        let query = (rotary.apply(&split(self.query.forward(xs)?, heads)?, 0)? * (1.0 / (head_dim as f64).sqrt()))?;
        let query = query.reshape((batch, kv_heads, heads / kv_heads * count, head_dim))?;
        let key = rotary.apply(&split(self.key.forward(xs)?, kv_heads)?, 0)?;
        let ys = attention(&query, &key, &split(self.value.forward(xs)?, kv_heads)?, Some(mask))?;
        let ys = ys.reshape((batch, heads, count, head_dim))?.transpose(1, 2)?.reshape((batch, count, width))?;
        Ok(self.output.forward(&ys)?)
    }

    fn feed_forward(&self, xs: &Tensor) -> Result<Tensor> {
        let gated = (self.gate.forward(xs)?.silu()? * self.up.forward(xs)?)?;
        Ok(self.down.forward(&gated)?)
    }
}

/// 0 where a query may look, -inf at later positions; the rows once for each query head of a group.
///
/// # Shapes
/// - result \[group · count, start + count\]
fn causal_mask(count: usize, start: usize, group: usize, device: &Device) -> Result<Tensor> {
    let rows = (0..group * count).map(|row| row % count);
    let mask: Vec<f32> = rows
        .flat_map(|row| (0..start + count).map(move |seen| if seen <= start + row { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Ok(Tensor::from_vec(mask, (group * count, start + count), device)?)
}

/// The rotary frequencies with Llama 3.1's scaling: slow ones are divided by the scale factor, fast ones stay, those
/// between are mixed (`Llama3ScaledRoPE` of torchtune, which computes in f32).
fn scaled_frequencies(config: &TransformerConfig) -> Vec<f32> {
    let scale = config.rope_scale_factor as f32;
    let (low, high, context) =
        (ROPE_LOW_FREQUENCY_FACTOR as f32, ROPE_HIGH_FREQUENCY_FACTOR as f32, ROPE_OLD_CONTEXT as f32);
    let scaled = |frequency: f32| {
        let wavelength = (2.0 * std::f64::consts::PI) as f32 / frequency;
        if wavelength < context / high {
            return frequency;
        }
        if wavelength > context / low {
            return frequency / scale;
        }
        let smooth = (context / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / scale + smooth * frequency
    };
    base_frequencies(config.rope_base, config.head_dim()).into_iter().map(scaled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{signal::KeyedNoise, synth::tiny};

    const POSITIONS: usize = 12;

    /// The backbone of the smallest model, a cache for it, and what it is fed: normal noise \[batch, 12, D\].
    fn setting(batch: usize) -> (Transformer, KvCache, Tensor) {
        let (_folder, directory) = tiny();
        let (config, shards) = (&directory.lm.backbone, directory.lm_shards().expect("files"));
        let transformer = Transformer::load(config, &shards, "backbone", &Device::Cpu).expect("weights");
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

    fn assert_close(a: &[f32], b: &[f32]) {
        assert_eq!(a.len(), b.len());
        for (place, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= 1e-5, "number {place}: {a} and {b}");
        }
    }

    #[test]
    fn positions_one_by_one_are_what_they_are_all_at_once() {
        for batch in [1, 2] {
            let (transformer, mut cache, xs) = setting(batch);
            let whole = fed(&transformer, &mut cache, &xs, 0, &[POSITIONS]);
            for pieces in [&[1; POSITIONS][..], &[5, 1, 6], &[1, 11], &[11, 1]] {
                cache.truncate(0);
                assert_close(&fed(&transformer, &mut cache, &xs, 0, pieces), &whole);
            }
        }
    }

    #[test]
    fn a_whole_sequence_without_a_cache_is_what_it_is_with_one_and_can_be_learnt_from() {
        let (_folder, directory) = tiny();
        let (config, shards) = (&directory.lm.backbone, directory.lm_shards().expect("files"));
        let held = shards.names().filter(|name| name.starts_with("backbone")).map(|name| {
            let shape = shards.shape(name).expect("a shape").to_vec();
            let tensor = shards.tensor(name, &shape, &Device::Cpu).expect("numbers");
            (name.to_owned(), candle_core::Var::from_tensor(&tensor).expect("a variable"))
        });
        let held: Vec<_> = held.collect();
        let tensors = held.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone()));
        let trained = Transformer::load(config, &Shards::from_tensors(tensors), "backbone", &Device::Cpu);
        let (transformer, mut cache, xs) = setting(2);
        let cached = fed(&transformer, &mut cache, &xs, 0, &[POSITIONS]);
        let whole = trained.expect("weights").forward_whole(&xs).expect("a sequence");
        assert_close(&numbers(&whole), &cached);
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
