//! Velocity estimator of flow matching: a transformer that is evaluated at each Euler step.

use candle_core::{Device, Tensor};

use super::{
    config::HeartCodecConfig,
    flow_matching::StopCheck,
    modulation::{Modulation, StageModulation},
    tensors::TIME_FEATURES,
};
use crate::{
    error::{ModelError, Result},
    kernels::{
        AdaLnModulation, FullAttention, GrowingRotary, Linear, Operand, RmsNorm, RotaryTable, base_frequencies, gated,
        gated_sum, layer_norm, taps_as_product,
    },
    weights::TensorStore,
};

#[cfg(test)]
mod tests;

// All from the reference's transformer.py.
const NORM_EPS: f64 = 1e-6;
const ROTARY_BASE: f64 = 10_000.0;
const TIME_BASE: f64 = 10_000.0;
const TIME_SCALE: f32 = 1000.0;
const PROJECTION_TAPS: usize = 3;

/// Two stages of transformer blocks with full attention, modulated by the time step (AdaLN). Clones share the weights.
#[derive(Debug, Clone)]
pub struct Estimator {
    enter: Projection,
    first: Stage,
    connect: Projection,
    second: Stage,
    leave: Projection,
    in_channels: usize,
    device: Device,
    /// Where the modulation of the blocks is computed.
    modulation: Device,
}

impl Estimator {
    /// Reads the weights.
    ///
    /// # Errors
    /// When a tensor is not there in its shape.
    pub fn load(config: &HeartCodecConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        let HeartCodecConfig { in_channels, out_channels, num_layers, num_layers_2, .. } = *config;
        let (first, second) = (config.inner_dim(), 2 * config.inner_dim());
        // It follows from a few numbers alone, and so the host can compute it; a GPU's memory has no room to spare.
        let on_host = device.is_cuda() && !store.are_in_memory();
        let modulation = if on_host { Device::Cpu } else { device.clone() };
        let devices = (device, &modulation);
        Ok(Self {
            enter: Projection::load(store, "proj_in", in_channels, first, device)?,
            first: Stage::load(config, store, "", (first, num_layers), devices)?,
            connect: Projection::load(store, "connection_proj", in_channels + first, second, device)?,
            second: Stage::load(config, store, "_2", (second, num_layers_2), devices)?,
            leave: Projection::load(store, "proj_out", second, out_channels, device)?,
            in_channels,
            device: device.clone(),
            modulation,
        })
    }

    /// Channels of the input: state, in-context latents, condition.
    pub fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// The same weights, with the modulation of the blocks brought to `device`.
    pub(super) fn on(&self, device: &Device) -> Self {
        let modulation = if self.modulation.is_cpu() { Device::Cpu } else { device.clone() };
        Self { device: device.clone(), modulation, ..self.clone() }
    }

    /// The velocity at `time` (0 is noise, 1 is music).
    ///
    /// # Shapes
    /// - `xs` \[B, L, in_channels\]: state, in-context latents, condition
    /// - `times` one for each entry of the batch
    /// - result \[B, L, out_channels\]
    ///
    /// # Errors
    /// When a shape does not fit.
    pub fn forward(&self, xs: &Tensor, times: &[f32]) -> Result<Tensor> {
        let velocity = self.forward_unless(xs, times, &|| false)?;
        velocity.ok_or_else(|| ModelError::shape("velocity", "one that nothing cancels", "none"))
    }

    /// As [`Estimator::forward`]; `None` when `stopped` said so before one of the blocks.
    ///
    /// # Errors
    /// When a shape does not fit.
    pub fn forward_unless(&self, xs: &Tensor, times: &[f32], stopped: StopCheck<'_>) -> Result<Option<Tensor>> {
        let (batch, length, channels) = xs.dims3()?;
        if batch == 0 || length == 0 || channels != self.in_channels || times.len() != batch {
            let expected = format!("[B, L, {}] and B times", self.in_channels);
            return Err(ModelError::shape(
                "input of the estimator",
                expected,
                format!("{:?} and {}", xs.dims(), times.len()),
            ));
        }
        if batch < 2 || !xs.device().is_cpu() || xs.track_op() || rayon::current_num_threads() < 2 {
            return self.together(xs, times, stopped);
        }
        // Entries are independent. With threads of its own for each, no entry waits for the other at the end of every
        // product. An entry that is done early helps with the rest of the other.
        let half = batch / 2;
        let part = |from, count| self.forward_unless(&xs.narrow(0, from, count)?, &times[from..from + count], stopped);
        let (first, second) = rayon::join(|| part(0, half), || part(half, batch - half));
        match (first?, second?) {
            (Some(first), Some(second)) => Ok(Some(Tensor::cat(&[first, second], 0)?)),
            _ => Ok(None),
        }
    }

    fn together(&self, xs: &Tensor, times: &[f32], stopped: StopCheck<'_>) -> Result<Option<Tensor>> {
        self.modulated_unless(xs, &self.modulation(times)?.on(&self.device)?, stopped)
    }

    /// The modulation of all blocks at these times, an entry for each. It follows from the times alone, and lies where it was
    /// computed.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub(super) fn modulation(&self, times: &[f32]) -> Result<Modulation> {
        let features = time_features(times, &self.modulation)?;
        Ok(Modulation([self.first.modulation(&features)?, self.second.modulation(&features)?]))
    }

    /// The velocity where the blocks are modulated so: each entry as it is told, or, on a GPU's tensor cores, all as
    /// one entry says.
    ///
    /// # Shapes
    /// - `xs` and result as [`Estimator::forward`] has them
    ///
    /// # Errors
    /// When a shape does not fit.
    #[cfg(feature = "cuda")]
    pub(super) fn modulated(&self, xs: &Tensor, modulation: &Modulation) -> Result<Tensor> {
        let velocity = self.modulated_unless(xs, modulation, &|| false)?;
        velocity.ok_or_else(|| ModelError::shape("velocity", "one that nothing cancels", "none"))
    }

    /// As `modulated`; `None` when `stopped` said so before one of the blocks.
    fn modulated_unless(
        &self,
        xs: &Tensor,
        Modulation([first, second]): &Modulation,
        stopped: StopCheck<'_>,
    ) -> Result<Option<Tensor>> {
        let Some(inner) = self.first.forward(self.enter.forward(xs, None)?, first, stopped)? else { return Ok(None) };
        let xs = self.connect.forward(xs, Some(&inner))?;
        let Some(outer) = self.second.forward(xs, second, stopped)? else { return Ok(None) };
        Ok(Some(self.leave.forward(&outer, None)?))
    }

    /// Whether all products with many rows are made on a GPU's tensor cores.
    #[cfg(feature = "cuda")]
    pub(super) fn is_on_tensor_cores(&self) -> bool {
        let projections = [&self.enter, &self.connect, &self.leave];
        projections.iter().all(|projection| projection.is_on_tensor_cores())
            && [&self.first, &self.second].iter().all(|stage| stage.blocks.iter().all(Block::is_on_tensor_cores))
    }

    /// Prepares angles for `positions`; those of fewer are then the same numbers in the same place.
    ///
    /// # Errors
    /// When the device has no memory for them.
    #[cfg(feature = "cuda")]
    pub(super) fn angles_up_to(&self, positions: usize) -> Result<[RotaryTable; 2]> {
        Ok([self.first.rotary.of(positions, &self.device)?, self.second.rotary.of(positions, &self.device)?])
    }
}

/// A product in the form that is fastest for many rows on this device. Tensors in memory may be trained, so they stay
/// as they are.
fn ready(product: Linear, store: &TensorStore) -> Result<Linear> {
    if store.are_in_memory() { Ok(product) } else { Ok(product.on_tensor_cores(store.flow_precision())?) }
}

/// A centred convolution of width 3, scaled, and a linear layer: `ProjectLayer` of the reference.
#[derive(Debug, Clone)]
struct Projection {
    convolution: Linear,
    linear: Linear,
}

impl Projection {
    fn load(store: &TensorStore, name: &str, inputs: usize, outputs: usize, device: &Device) -> Result<Self> {
        let name = format!("flow_matching.estimator.{name}");
        // Folding the scale into the weights costs nothing later.
        let scale = (PROJECTION_TAPS as f64).powf(-0.5);
        let weight = store.tensor(&format!("{name}.ffn_1.weight"), &[outputs, inputs, PROJECTION_TAPS], device)?;
        let bias = store.tensor(&format!("{name}.ffn_1.bias"), &[outputs], device)?;
        Ok(Self {
            convolution: ready(taps_as_product(&(weight * scale)?, (bias * scale)?)?, store)?,
            linear: ready(Linear::load(store, &format!("{name}.ffn_2"), [outputs, outputs], true, device)?, store)?,
        })
    }

    /// # Shapes
    /// - `xs` \[B, L, any\], the channels `beside` come behind its own; result \[B, L, outputs\]
    fn forward(&self, xs: &Tensor, beside: Option<&Tensor>) -> Result<Tensor> {
        let windows = Operand::windows(xs, beside, PROJECTION_TAPS, &self.convolution)?;
        Ok(self.linear.forward(&self.convolution.multiply(&windows)?.tensor()?)?)
    }

    #[cfg(feature = "cuda")]
    fn is_on_tensor_cores(&self) -> bool {
        self.convolution.is_on_tensor_cores() && self.linear.is_on_tensor_cores()
    }
}

/// Blocks of one width with their time embedding and the norm behind them.
#[derive(Debug, Clone)]
struct Stage {
    width: usize,
    time_1: Linear,
    time_2: Linear,
    modulation: Linear,
    blocks: Vec<Block>,
    /// Shift and scale behind the last block, \[2, D\]; the time embedding is added to both.
    out_table: Tensor,
    rotary: GrowingRotary,
}

impl Stage {
    fn load(
        config: &HeartCodecConfig,
        store: &TensorStore,
        suffix: &str,
        (width, layers): (usize, usize),
        (device, modulation): (&Device, &Device),
    ) -> Result<Self> {
        let adaln = format!("flow_matching.estimator.adaln_single{suffix}");
        let linear = |name: &str, outputs, inputs| {
            Linear::load(store, &format!("{adaln}.{name}"), [outputs, inputs], true, modulation)
        };
        let head_dim = width / config.num_attention_heads;
        let block = |layer| {
            let name = format!("flow_matching.estimator.transformer_blocks{suffix}.{layer}");
            Block::load(store, &name, (width, head_dim), (device, modulation))
        };
        Ok(Self {
            width,
            time_1: linear("emb.timestep_embedder.linear_1", width, TIME_FEATURES)?,
            time_2: linear("emb.timestep_embedder.linear_2", width, width)?,
            modulation: linear("linear", 6 * width, width)?,
            blocks: (0..layers).map(block).collect::<Result<_>>()?,
            out_table: store.tensor(
                &format!("flow_matching.estimator.scale_shift_table{suffix}"),
                &[2, width],
                modulation,
            )?,
            rotary: GrowingRotary::new(base_frequencies(ROTARY_BASE, head_dim)),
        })
    }

    /// # Shapes
    /// - `features` \[B, 512\]
    fn modulation(&self, features: &Tensor) -> Result<StageModulation> {
        let batch = features.dim(0)?;
        let time = self.time_2.forward(&self.time_1.forward(features)?.silu()?)?;
        let modulation = self.modulation.forward(&time.silu()?)?.reshape((batch, 6, self.width))?;
        let of_block = |block: &Block| Ok(modulation.broadcast_add(&block.table)?);
        let blocks = self.blocks.iter().map(of_block).collect::<Result<_>>()?;
        Ok(StageModulation { blocks, out: time.unsqueeze(1)?.broadcast_add(&self.out_table)? })
    }

    /// # Shapes
    /// - `xs` and result \[B, L, D\]
    fn forward(&self, mut xs: Tensor, modulation: &StageModulation, stopped: StopCheck<'_>) -> Result<Option<Tensor>> {
        let rotary = self.rotary.of(xs.dim(1)?, xs.device())?;
        let mut blocks =
            self.blocks.iter().zip(&modulation.blocks).map(|(block, table)| Modulated { block, table }).peekable();
        let mut normed = blocks.peek().map(|first| first.enter(&xs)).transpose()?;
        while let (Some(block), Some(entered)) = (blocks.next(), normed.take()) {
            if stopped() {
                return Ok(None);
            }
            (xs, normed) = block.forward(xs, entered, &rotary, blocks.peek().copied())?;
        }
        Ok(Some(layer_norm(&xs, NORM_EPS, AdaLnModulation { table: &modulation.out, shift: 0, scale: 1 })?))
    }
}

/// A block and its modulation, \[B, 6, D\].
#[derive(Clone, Copy)]
struct Modulated<'a> {
    block: &'a Block,
    table: &'a Tensor,
}

impl Modulated<'_> {
    fn attention_steer(&self) -> AdaLnModulation<'_> {
        AdaLnModulation { table: self.table, shift: 0, scale: 1 }
    }

    /// What the block's attention takes of the residual stream.
    fn enter(&self, xs: &Tensor) -> Result<Operand> {
        let Block { attention_norm, attention, .. } = self.block;
        Ok(attention_norm.operand(xs, self.attention_steer(), attention.product())?)
    }

    /// The residual stream behind the block, and what the next one's attention takes of it. Each result is let go as soon as
    /// nothing needs it: gates and what they gate take most of a window's memory, and these would be held beside them.
    ///
    /// # Shapes
    /// - `xs` and result \[B, L, D\]
    fn forward(
        &self,
        xs: Tensor,
        normed: Operand,
        rotary: &RotaryTable,
        next: Option<Modulated<'_>>,
    ) -> Result<(Tensor, Option<Operand>)> {
        let Self { block, table } = *self;
        let attended = block.attention.forward(&normed, rotary)?;
        drop(normed);
        let found = block.output.multiply(&Operand::of(attended, &block.output)?)?;
        let modulated = AdaLnModulation { table, shift: 3, scale: 4 };
        let (xs, normed) =
            block.feed_forward_norm.operand_of_sum((&xs, &found), (table, 2), modulated, &block.gate_up)?;
        drop(found);
        let gates = block.gate_up.multiply(&normed)?;
        drop(normed);
        let hidden = gated(gates, &block.down)?;
        let (made, gate) = (block.down.multiply(&hidden)?, (table, 5));
        drop(hidden);
        let Some(next) = next else { return Ok((gated_sum(&xs, &made, gate.0, gate.1)?, None)) };
        let Block { attention_norm, attention, .. } = next.block;
        let (xs, normed) =
            attention_norm.operand_of_sum((&xs, &made), gate, next.attention_steer(), attention.product())?;
        Ok((xs, Some(normed)))
    }
}

#[derive(Debug, Clone)]
struct Block {
    attention_norm: RmsNorm,
    attention: FullAttention,
    output: Linear,
    feed_forward_norm: RmsNorm,
    /// The gate's outputs, then those that it gates.
    gate_up: Linear,
    down: Linear,
    /// Shift, scale and gate of attention, then of feed-forward, \[6, D\].
    table: Tensor,
}

impl Block {
    fn load(
        store: &TensorStore,
        prefix: &str,
        (width, head_dim): (usize, usize),
        (device, modulation): (&Device, &Device),
    ) -> Result<Self> {
        let hidden = HeartCodecConfig::hidden_dim(width);
        let norm = |name: &str| RmsNorm::load(store, &format!("{prefix}.{name}.weight"), width, NORM_EPS, device);
        let linear =
            |name: &str, shape| ready(Linear::load(store, &format!("{prefix}.{name}"), shape, false, device)?, store);
        let names = ["gate", "up"].map(|name| format!("{prefix}.mlp.{name}.weight"));
        let both = [(names[0].as_str(), hidden), (names[1].as_str(), hidden)];
        let [query, key, value] = ["q", "k", "v"].map(|name| format!("{prefix}.attn.{name}_proj"));
        Ok(Self {
            attention_norm: norm("attn_norm")?,
            attention: FullAttention::load(store, [&query, &key, &value], width, head_dim, device)?,
            output: linear("attn.o_proj", [width, width])?,
            feed_forward_norm: norm("mlp_norm")?,
            gate_up: ready(Linear::load_joined(store, &both, width, None, device)?, store)?,
            down: linear("mlp.down", [width, hidden])?,
            table: store.tensor(&format!("{prefix}.scale_shift_table"), &[6, width], modulation)?,
        })
    }

    #[cfg(feature = "cuda")]
    fn is_on_tensor_cores(&self) -> bool {
        [self.attention.product(), &self.output, &self.gate_up, &self.down]
            .iter()
            .all(|product| product.is_on_tensor_cores())
    }
}

/// A time step as 256 cosines and 256 sines.
///
/// # Shapes
/// - result \[B, 512\]
fn time_features(times: &[f32], device: &Device) -> Result<Tensor> {
    let half = TIME_FEATURES / 2;
    // Angles reach 1000 rad, so they are rounded just where the reference rounds them.
    let frequency = |i: usize| (-(TIME_BASE.ln()) as f32 * i as f32 / half as f32).exp();
    let angle = |time: f32, i: usize| f64::from(time * frequency(i) * TIME_SCALE);
    let row = |time: f32| {
        let cosines = (0..half).map(move |i| angle(time, i).cos() as f32);
        cosines.chain((0..half).map(move |i| angle(time, i).sin() as f32))
    };
    let features: Vec<f32> = times.iter().flat_map(|time| row(*time)).collect();
    Ok(Tensor::from_vec(features, (times.len(), TIME_FEATURES), device)?)
}
