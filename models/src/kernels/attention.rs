//! Attention: of every position to every other, and of new positions to a KV cache.

use candle_core::{DType, Device, Result, Tensor, bail};

use half::f16;

use super::{
    Linear, Operand, ProductResult, RotaryTable,
    activation::softmax,
    cpu::{self, Angles, HeadDims, KernelSet, KvNumber, KvStore, STEP, WeightDtype},
    cpu_dispatch::{fused, is_plain, with_numbers},
    gpu::tensor_cores,
};
use crate::weights::TensorStore;

/// Attention of every position to every other, with the products that make queries, keys and values.
#[derive(Debug, Clone)]
pub struct FullAttention {
    products: Products,
    head_dim: usize,
}

#[derive(Debug, Clone)]
enum Products {
    /// Queries, keys, values.
    Each(Box<[Linear; 3]>),
    /// All of them, one after the other: on tensor cores a larger product is faster.
    Joined(Linear),
}

impl FullAttention {
    /// Reads the weights \[width, width\] of queries, keys and values.
    ///
    /// # Errors
    /// When a tensor is not there in that shape.
    pub fn load(
        store: &TensorStore,
        names: [&str; 3],
        width: usize,
        head_dim: usize,
        device: &Device,
    ) -> crate::Result<Self> {
        // Tensors in memory may be trained, one by one.
        if store.are_in_memory() {
            Self::each(store, names, width, head_dim, device)
        } else {
            Self::joined(store, names, width, head_dim, device)
        }
    }

    /// The three weights as one on a GPU's tensor cores, where they can be made so.
    pub(super) fn joined(
        store: &TensorStore,
        names: [&str; 3],
        width: usize,
        head_dim: usize,
        device: &Device,
    ) -> crate::Result<Self> {
        if device.is_cuda() && tensor_cores::attends(head_dim) {
            let weights = names.map(|name| format!("{name}.weight"));
            let weights = [&weights[0], &weights[1], &weights[2]].map(|name| (name.as_str(), width));
            let joined =
                Linear::load_joined(store, &weights, width, None, device)?.on_tensor_cores(store.flow_precision())?;
            if joined.arrangement().is_some() {
                return Ok(Self { products: Products::Joined(joined), head_dim });
            }
        }
        Self::each(store, names, width, head_dim, device)
    }

    fn each(
        store: &TensorStore,
        names: [&str; 3],
        width: usize,
        head_dim: usize,
        device: &Device,
    ) -> crate::Result<Self> {
        let load = |name| Linear::load(store, name, [width, width], false, device);
        let each = Box::new([load(names[0])?, load(names[1])?, load(names[2])?]);
        Ok(Self { products: Products::Each(each), head_dim })
    }

    /// The product that reads the input first.
    pub fn product(&self) -> &Linear {
        match &self.products {
            Products::Each(each) => &each[0],
            Products::Joined(joined) => joined,
        }
    }

    /// # Shapes
    /// - `xs` \[B, L, width\], ready for [`FullAttention::product`]; result \[B, L, width\]
    ///
    /// # Errors
    /// When the shapes do not fit, or `rotary` has too few positions.
    pub fn forward(&self, xs: &Operand, rotary: &RotaryTable) -> Result<Tensor> {
        match &self.products {
            Products::Each(each) => {
                let part = |product: &Linear| product.multiply(xs)?.tensor();
                full_attention(&part(&each[0])?, &part(&each[1])?, &part(&each[2])?, self.head_dim, rotary)
            }
            Products::Joined(joined) => {
                let ProductResult::Partial(parts) = joined.multiply(xs)? else {
                    bail!("queries, keys and values as one product come in parts")
                };
                let (cos, sin) = rotary.tensors();
                tensor_cores::attend(&parts, self.head_dim, cos, sin)
            }
        }
    }
}

/// Attention of every position to every other, with as many key heads as query heads.
///
/// # Shapes
/// - `q`, `k`, `v` and result \[B, L, heads · head width\], before RoPE
///
/// # Errors
/// When the shapes differ, or `rotary` has too few positions.
pub(super) fn full_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    head_dim: usize,
    rotary: &RotaryTable,
) -> Result<Tensor> {
    let (batch, length, width) = q.dims3()?;
    if k.shape() != q.shape() || v.shape() != q.shape() || length > rotary.positions() {
        bail!("an attention of {:?} to keys {:?} and values {:?}", q.shape(), k.shape(), v.shape())
    }
    let heads = width / head_dim;
    if [q, k, v].into_iter().all(is_plain) {
        let sizes = HeadDims { heads, kv_heads: heads, head_dim };
        let ys = rotary.with_angles(|angles| {
            fused([q, k, v], q.shape(), |qkv, out| {
                cpu::full_attention(KernelSet::chosen(), qkv, batch, sizes, angles, out);
            })
        })??;
        if let Some(ys) = ys {
            return Ok(ys);
        }
    }
    // [B, L, heads · D] -> [B, heads, L, D]
    let split = |xs: &Tensor| xs.reshape((batch, length, heads, head_dim))?.transpose(1, 2)?.contiguous();
    let query = (rotary.apply(&split(q)?, 0)? * (1.0 / (head_dim as f64).sqrt()))?;
    let ys = attention(&query, &rotary.apply(&split(k)?, 0)?, &split(v)?, None)?;
    ys.transpose(1, 2)?.reshape((batch, length, width))
}

/// Softmax attention without a mask of its own.
///
/// # Shapes
/// - `q` \[B, heads, T, D\], already scaled; `k`, `v` \[B, heads, L, D\]
/// - `mask` broadcasts to \[B, heads, T, L\]: 0 where a query may attend, -inf where not
/// - result \[B, heads, T, D\]
fn attention(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let mut scores = q.matmul(&k.transpose(2, 3)?.contiguous()?)?;
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    softmax(&scores)?.matmul(v)
}

/// KV cache of one layer.
#[derive(Debug)]
pub struct KvLayer {
    sizes: HeadDims,
    batch: usize,
    capacity: usize,
    kv: KvStorage,
}

#[derive(Debug)]
enum KvStorage {
    /// On a processor, in f32.
    Host(KvStore<f32>),
    /// On a processor, in f16.
    HostHalf(KvStore<f16>),
    /// Elsewhere, in f32. Keys and values, both \[B, kv heads, positions, head width\]; nothing before the first
    /// position.
    Device(Device, Option<(Tensor, Tensor)>),
}

impl KvLayer {
    /// Room for `capacity` positions of `batch` rows, their numbers kept as `dtype`: in f32, or on a processor in
    /// f16 (as which bf16 counts, too). It grows by [`STEP`] positions at a time.
    pub fn new(sizes: HeadDims, batch: usize, capacity: usize, dtype: WeightDtype, device: &Device) -> Self {
        let kv = match (device.is_cpu(), Self::stored_as(dtype, device)) {
            (true, WeightDtype::F32) => KvStorage::Host(KvStore::new(sizes, batch, capacity)),
            (true, _) => KvStorage::HostHalf(KvStore::new(sizes, batch, capacity)),
            (false, _) => KvStorage::Device(device.clone(), None),
        };
        Self { sizes, batch, capacity, kv }
    }

    /// The dtype of the cache on `device` where `dtype` was asked for.
    pub fn stored_as(dtype: WeightDtype, device: &Device) -> WeightDtype {
        match (device.is_cpu(), dtype) {
            (true, WeightDtype::F16 | WeightDtype::Bf16) => WeightDtype::F16,
            (true, WeightDtype::F32) | (false, _) => WeightDtype::F32,
        }
    }

    /// Bytes of keys and values at present.
    pub fn bytes(&self) -> usize {
        match &self.kv {
            KvStorage::Host(store) => store.bytes(),
            KvStorage::HostHalf(store) => store.bytes(),
            KvStorage::Device(_, tensors) => {
                tensors.as_ref().map_or(0, |(keys, _)| 2 * keys.elem_count() * size_of::<f32>())
            }
        }
    }

    /// Appends new positions, the first of them `start`, and attends with them; each attends to the positions up to its
    /// own.
    ///
    /// While gradients are tracked nothing is cached, and `start` must be 0.
    ///
    /// # Shapes
    /// - `q` and result \[B, T, heads · head width\]; `k`, `v` \[B, T, kv heads · head width\]; before RoPE
    ///
    /// # Errors
    /// When the shapes do not fit, or there is no room.
    pub fn attend(&mut self, q: &Tensor, k: &Tensor, v: &Tensor, rotary: &RotaryTable, start: usize) -> Result<Tensor> {
        let HeadDims { heads, kv_heads, head_dim } = self.sizes;
        let (batch, count, width) = q.dims3()?;
        let keys = (batch, count, kv_heads * head_dim);
        if width != heads * head_dim || batch != self.batch || k.dims3()? != keys || v.dims3()? != keys {
            bail!("an attention of {:?} to keys {:?} and values {:?}", q.shape(), k.shape(), v.shape())
        }
        if start + count > self.capacity.min(rotary.positions()) {
            bail!("no room for {} positions where there is some for {}", start + count, self.capacity)
        }
        let tracked = [q, k, v].into_iter().any(Tensor::track_op);
        match &mut self.kv {
            KvStorage::Host(store) if !tracked => {
                return rotary.with_angles(|angles| attend_in_store(store, [q, k, v], angles, start))?;
            }
            KvStorage::HostHalf(store) if !tracked => {
                return rotary.with_angles(|angles| attend_in_store(store, [q, k, v], angles, start))?;
            }
            _ => (),
        }
        // [B, T, heads · D] -> [B, heads, T, D]
        let split =
            |xs: &Tensor, heads: usize| xs.reshape((batch, count, heads, head_dim))?.transpose(1, 2)?.contiguous();
        let query = rotary.apply(&split(q, heads)?, start)?;
        let (key, value) = (rotary.apply(&split(k, kv_heads)?, start)?, split(v, kv_heads)?);
        let (keys, values) = if tracked {
            if start > 0 {
                bail!("gradients do not reach back to positions in the KV cache")
            }
            (key, value)
        } else {
            self.append(&key, &value, start)?
        };
        // Query heads h = kv · group + g share the key head kv, so a group's heads stand below each other as rows.
        let group = heads / kv_heads;
        let query = (query * (1.0 / (head_dim as f64).sqrt()))?;
        let query = query.reshape((batch, kv_heads, group * count, head_dim))?;
        let mask = if count > 1 { Some(causal_mask(count, start, group, q.device())?) } else { None };
        let ys = attention(&query, &keys, &values, mask.as_ref())?;
        ys.reshape((batch, heads, count, head_dim))?.transpose(1, 2)?.reshape((batch, count, width))
    }

    /// Appends on a device, and returns keys and values of all positions up to the last of the new ones.
    fn append(&mut self, key: &Tensor, value: &Tensor, start: usize) -> Result<(Tensor, Tensor)> {
        let end = start + key.dim(2)?;
        let (keys, values) = self.reserve(end)?;
        keys.slice_set(key, 2, start)?;
        values.slice_set(value, 2, start)?;
        Ok((keys.narrow(2, 0, end)?.contiguous()?, values.narrow(2, 0, end)?.contiguous()?))
    }

    /// Keys and values of a device with room for `end` positions: larger tensors take over the contents of the smaller
    /// ones.
    fn reserve(&mut self, end: usize) -> Result<(Tensor, Tensor)> {
        let KvStorage::Device(device, tensors) = &mut self.kv else {
            bail!("keys and values in host memory were asked for as those of a device")
        };
        if let Some((keys, values)) = tensors.as_ref().filter(|(keys, _)| keys.dims()[2] >= end) {
            return Ok((keys.clone(), values.clone()));
        }
        let room = end.next_multiple_of(STEP).min(self.capacity);
        let grown = |old: Option<Tensor>| {
            let shape = (self.batch, self.sizes.kv_heads, room, self.sizes.head_dim);
            let new = Tensor::zeros(shape, DType::F32, device)?;
            if let Some(old) = old {
                new.slice_set(&old, 2, 0)?;
            }
            Ok::<_, candle_core::Error>(new)
        };
        // The old keys are freed before new values are allocated: only one of the two exists twice. A layer that the
        // device has no memory for is left without a cache.
        let (keys, values) = tensors.take().unzip();
        let new = (grown(keys)?, grown(values)?);
        *tensors = Some(new.clone());
        Ok(new)
    }

    /// Copies the first `positions` positions of the batch rows of `other` from `first` on, as many rows as there are
    /// here.
    ///
    /// # Errors
    /// When `other` has too few rows or positions, other sizes, or is on another device.
    pub fn copy_rows(&mut self, other: &Self, first: usize, positions: usize) -> Result<()> {
        if self.sizes != other.sizes || first + self.batch > other.batch || positions > self.capacity {
            bail!("keys and values of {} rows from {first} on are not there", self.batch)
        }
        let theirs = match (&mut self.kv, &other.kv) {
            (KvStorage::Host(store), KvStorage::Host(theirs)) => {
                store.copy_rows(theirs, first, positions);
                return Ok(());
            }
            (KvStorage::HostHalf(store), KvStorage::HostHalf(theirs)) => {
                store.copy_rows(theirs, first, positions);
                return Ok(());
            }
            (KvStorage::Device(..), KvStorage::Device(_, theirs)) => theirs,
            _ => bail!("keys and values lie on different devices, or are numbers of different types"),
        };
        if let Some((their_keys, their_values)) = theirs {
            let (keys, values) = self.reserve(positions)?;
            let part = |theirs: &Tensor| theirs.narrow(0, first, self.batch)?.narrow(2, 0, positions)?.contiguous();
            keys.slice_set(&part(their_keys)?, 2, 0)?;
            values.slice_set(&part(their_values)?, 2, 0)?;
        }
        Ok(())
    }
}

/// Writes keys and values to a store from position `start` on, and attends with the queries.
fn attend_in_store<N: KvNumber>(
    store: &mut KvStore<N>,
    [q, k, v]: [&Tensor; 3],
    angles: Angles<'_>,
    start: usize,
) -> Result<Tensor> {
    let set = KernelSet::chosen();
    with_numbers([k, v], |[k, v]| store.write(set, start, k, v, angles))?;
    let ys = fused([q], q.shape(), |[q], out| store.attend(set, start, q, angles, out))?;
    ys.map_or_else(|| bail!("an attention takes f32"), Ok)
}

/// 0 where a query may attend, -inf at later positions; the rows once for each query head of a group.
///
/// # Shapes
/// - result \[group · count, start + count\]
fn causal_mask(count: usize, start: usize, group: usize, device: &Device) -> Result<Tensor> {
    let rows = (0..group * count).map(|row| row % count);
    let mask: Vec<f32> = rows
        .flat_map(|row| (0..start + count).map(move |seen| if seen <= start + row { 0.0 } else { f32::NEG_INFINITY }))
        .collect();
    Tensor::from_vec(mask, (group * count, start + count), device)
}
