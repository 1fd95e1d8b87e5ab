//! KV cache of a transformer: keys and values of the positions so far.

use candle_core::{Device, Tensor};

use super::config::{ROPE_HIGH_FREQUENCY_FACTOR, ROPE_LOW_FREQUENCY_FACTOR, ROPE_OLD_CONTEXT, TransformerConfig};
use crate::{
    error::{ModelError, Result},
    kernels::{HeadDims, KvLayer, RotaryTable, base_frequencies, cpu::WeightDtype},
};

/// Keys and values of the positions seen so far. Memory grows by 256 positions at a time; truncating sets a counter
/// back.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<KvLayer>,
    batch: usize,
    rotary: RotaryTable,
    length: usize,
    capacity: usize,
}

impl KvCache {
    /// Room for `capacity` positions of `batch` rows, whose keys and values are kept in f32.
    ///
    /// # Errors
    /// When `capacity` is beyond the positions of the model, or the device has no memory for it.
    pub fn new(config: &TransformerConfig, batch: usize, capacity: usize, device: &Device) -> Result<Self> {
        Self::kept_as(WeightDtype::F32, config, batch, capacity, device)
    }

    /// As [`KvCache::new`], with keys and values kept as `dtype`; f16 on a processor only (`KvLayer`).
    ///
    /// # Errors
    /// As [`KvCache::new`].
    pub fn kept_as(
        dtype: WeightDtype,
        config: &TransformerConfig,
        batch: usize,
        capacity: usize,
        device: &Device,
    ) -> Result<Self> {
        if capacity > config.max_seq_len {
            return Err(ModelError::shape(
                "positions of a KV cache",
                format!("at most {}", config.max_seq_len),
                capacity,
            ));
        }
        let sizes = HeadDims { heads: config.num_heads, kv_heads: config.num_kv_heads, head_dim: config.head_dim() };
        Ok(Self {
            layers: (0..config.num_layers).map(|_| KvLayer::new(sizes, batch, capacity, dtype, device)).collect(),
            rotary: RotaryTable::new(&scaled_frequencies(config), capacity, device)?,
            batch,
            length: 0,
            capacity,
        })
    }

    /// Forgets all positions from `length` on.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// Rows of the batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Cached positions.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Positions there is still room for.
    pub fn room(&self) -> usize {
        self.capacity - self.length
    }

    /// Copies the batch rows of `other` from `first` on, as many as this cache has.
    ///
    /// # Errors
    /// When `other` has too few rows, or more positions than there is room for.
    pub fn copy_rows(&mut self, other: &Self, first: usize) -> Result<()> {
        for (layer, theirs) in self.layers.iter_mut().zip(&other.layers) {
            layer.copy_rows(theirs, first, other.length)?;
        }
        self.length = other.length;
        Ok(())
    }

    /// Bytes that keys and values take at present.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(KvLayer::bytes).sum()
    }

    /// Accepts `count` more positions, or says that there is no room for them.
    pub(super) fn check_room(&self, count: usize) -> Result<()> {
        let end = self.length + count;
        if end > self.capacity {
            return Err(ModelError::shape("positions of a song", format!("at most {}", self.capacity), end));
        }
        Ok(())
    }

    /// Appends the next positions to layer `layer`, and attends with them. They count once every layer has them:
    /// [`KvCache::advance`].
    ///
    /// # Shapes
    /// - `q` and result \[B, T, heads · head width\]; `k`, `v` \[B, T, kv heads · head width\]
    pub(super) fn attend(&mut self, layer: usize, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
        Ok(self.layers[layer].attend(q, k, v, &self.rotary, self.length)?)
    }

    /// Counts `count` positions that every layer has appended.
    pub(super) fn advance(&mut self, count: usize) {
        self.length += count;
    }
}

/// The rotary frequencies with Llama 3.1's scaling: slow ones are divided by the scale factor, fast ones stay, those
/// between are mixed (`Llama3ScaledRoPE` of torchtune, which computes in f32).
pub(super) fn scaled_frequencies(config: &TransformerConfig) -> Vec<f32> {
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
