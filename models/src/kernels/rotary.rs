//! Rotary position embedding (RoPE): pairs of neighbouring channels are rotated by an angle that grows with the
//! position.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{D, Device, Result, Tensor};

use super::{
    cpu::{self, Angles, KernelSet},
    cpu_dispatch::{fused, with_numbers},
};

/// Sines and cosines of the first positions, computed once.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    cos: Tensor,
    sin: Tensor,
}

impl RotaryTable {
    /// Angles of `positions` positions for the given frequencies in radians per position, one for each pair of
    /// channels.
    ///
    /// # Errors
    /// When the device has no memory for the table.
    pub fn new(frequencies: &[f32], positions: usize, device: &Device) -> Result<Self> {
        let shape = (positions, frequencies.len());
        // The reference multiplies in f32 before it takes the sine; at position 8000 that rounding shows.
        let angles =
            || (0..positions).flat_map(|position| frequencies.iter().map(move |f| f64::from(position as f32 * f)));
        let cos: Vec<f32> = angles().map(|angle| angle.cos() as f32).collect();
        let sin: Vec<f32> = angles().map(|angle| angle.sin() as f32).collect();
        Ok(Self { cos: Tensor::from_vec(cos, shape, device)?, sin: Tensor::from_vec(sin, shape, device)? })
    }

    /// How many positions the table has.
    pub fn positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Cosines and sines \[positions, pairs\].
    ///
    /// # Errors
    /// When the device does not give them.
    #[cfg(feature = "cuda")]
    pub(crate) fn numbers(&self) -> Result<[Vec<f32>; 2]> {
        Ok([self.cos.flatten_all()?.to_vec1()?, self.sin.flatten_all()?.to_vec1()?])
    }

    /// Cosines and sines, \[positions, pairs\].
    pub(super) fn tensors(&self) -> (&Tensor, &Tensor) {
        (&self.cos, &self.sin)
    }

    /// Calls `read` with the table in host memory.
    pub(super) fn with_angles<T>(&self, read: impl FnOnce(Angles<'_>) -> T) -> Result<T> {
        with_numbers([&self.cos, &self.sin], |[cos, sin]| read(Angles { cos, sin }))
    }

    /// Rotates `xs`, whose first position is `start`.
    ///
    /// # Shapes
    /// - `xs` and result \[B, heads, T, head width\]
    ///
    /// # Errors
    /// When `start + T` is beyond the table.
    pub fn apply(&self, xs: &Tensor, start: usize) -> Result<Tensor> {
        let (batch, heads, positions, width) = xs.dims4()?;
        let (cos, sin) = (self.cos.narrow(0, start, positions)?, self.sin.narrow(0, start, positions)?);
        if width != 2 * cos.dim(1)? {
            candle_core::bail!("angles of {} pairs cannot turn heads of {width} channels", cos.dim(1)?)
        }
        let kernel = |[xs, cos, sin]: [&[f32]; 3], out: &mut [f32]| {
            cpu::rotary(KernelSet::chosen(), xs, width, cos, sin, out);
        };
        match fused([xs, &cos, &sin], xs.shape(), kernel)? {
            Some(ys) => Ok(ys),
            None if xs.track_op() => {
                let pairs = xs.reshape((batch, heads, positions, width / 2, 2))?;
                let (a, b) = (pairs.get_on_dim(D::Minus1, 0)?, pairs.get_on_dim(D::Minus1, 1)?);
                let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
                let second = (a.broadcast_mul(&sin)? + b.broadcast_mul(&cos)?)?;
                Tensor::stack(&[first, second], D::Minus1)?.reshape((batch, heads, positions, width))
            }
            None => candle_nn::rotary_emb::rope_i(&xs.contiguous()?, &cos, &sin),
        }
    }
}

/// A table that grows on demand: the sines of many positions take longer than rotating heads by them. Clones share it.
#[derive(Debug, Clone)]
pub struct GrowingRotary {
    frequencies: Vec<f32>,
    table: Arc<Mutex<Option<RotaryTable>>>,
}

impl GrowingRotary {
    /// For these frequencies, in radians per position.
    pub fn new(frequencies: Vec<f32>) -> Self {
        Self { frequencies, table: Arc::default() }
    }

    /// A table of at least `positions` positions on `device`, which is the same at each call.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn of(&self, positions: usize, device: &Device) -> Result<RotaryTable> {
        let mut kept = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = kept.as_ref().filter(|table| table.positions() >= positions) {
            return Ok(table.clone());
        }
        let table = RotaryTable::new(&self.frequencies, positions, device)?;
        *kept = Some(table.clone());
        Ok(table)
    }
}

/// `base^(-2i / head_dim)` for each pair i of a head's channels, rounded to f32 in the order torch rounds.
pub fn base_frequencies(base: f64, head_dim: usize) -> Vec<f32> {
    (0..head_dim / 2).map(|pair| 1.0 / (base as f32).powf((2 * pair) as f32 / head_dim as f32)).collect()
}
