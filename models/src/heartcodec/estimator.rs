//! Velocity estimator of flow matching: a transformer that is evaluated at each Euler step.

use candle_core::{Device, Tensor};

use super::{config::HeartCodecConfig, tensors::TIME_FEATURES};
use crate::{
    error::{ModelError, Result},
    kernels::{
        AdaLnModulation, FullAttention, GrowingRotary, Linear, Operand, RmsNorm, RotaryTable, base_frequencies,
        centred_windows, gated, gated_sum, layer_norm, taps_as_product,
    },
    weights::TensorStore,
};

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
}

impl Estimator {
    /// Reads the weights.
    ///
    /// # Errors
    /// When a tensor is not there in its shape.
    pub fn load(config: &HeartCodecConfig, store: &TensorStore, device: &Device) -> Result<Self> {
        let HeartCodecConfig { in_channels, out_channels, num_layers, num_layers_2, .. } = *config;
        let (first, second) = (config.inner_dim(), 2 * config.inner_dim());
        Ok(Self {
            enter: Projection::load(store, "proj_in", in_channels, first, device)?,
            first: Stage::load(config, store, "", first, num_layers, device)?,
            connect: Projection::load(store, "connection_proj", in_channels + first, second, device)?,
            second: Stage::load(config, store, "_2", second, num_layers_2, device)?,
            leave: Projection::load(store, "proj_out", second, out_channels, device)?,
            in_channels,
            device: device.clone(),
        })
    }

    /// Channels of the input: state, in-context latents, condition.
    pub(crate) fn in_channels(&self) -> usize {
        self.in_channels
    }

    /// The same weights, with the time features allocated on `device`.
    pub(super) fn on(&self, device: &Device) -> Self {
        Self { device: device.clone(), ..self.clone() }
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
            return self.together(xs, times);
        }
        // Entries are independent. With threads of its own for each, no entry waits for the other at the end of every
        // product. An entry that is done early helps with the rest of the other.
        let half = batch / 2;
        let part = |from, count| self.forward(&xs.narrow(0, from, count)?, &times[from..from + count]);
        let (first, second) = rayon::join(|| part(0, half), || part(half, batch - half));
        Ok(Tensor::cat(&[first?, second?], 0)?)
    }

    fn together(&self, xs: &Tensor, times: &[f32]) -> Result<Tensor> {
        let features = time_features(times, &self.device)?;
        let inner = self.first.forward(self.enter.forward(xs)?, &features)?;
        let joined = Tensor::cat(&[xs, &inner], 2)?.contiguous()?;
        let outer = self.second.forward(self.connect.forward(&joined)?, &features)?;
        self.leave.forward(&outer)
    }
}

/// A product in the form that is fastest for many rows on this device. Tensors in memory may be trained, so they stay
/// as they are.
fn ready(product: Linear, store: &TensorStore) -> Result<Linear> {
    if store.are_in_memory() { Ok(product) } else { Ok(product.on_tensor_cores()?) }
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

    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        Ok(self.linear.forward(&self.convolution.forward(&centred_windows(xs, PROJECTION_TAPS)?)?)?)
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
        width: usize,
        layers: usize,
        device: &Device,
    ) -> Result<Self> {
        let adaln = format!("flow_matching.estimator.adaln_single{suffix}");
        let linear = |name: &str, outputs, inputs| {
            Linear::load(store, &format!("{adaln}.{name}"), [outputs, inputs], true, device)
        };
        let head_dim = width / config.num_attention_heads;
        let block = |layer| {
            let name = format!("flow_matching.estimator.transformer_blocks{suffix}.{layer}");
            Block::load(store, &name, width, head_dim, device)
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
                device,
            )?,
            rotary: GrowingRotary::new(base_frequencies(ROTARY_BASE, head_dim)),
        })
    }

    /// # Shapes
    /// - `xs` and result \[B, L, D\], `features` \[B, 512\]
    fn forward(&self, mut xs: Tensor, features: &Tensor) -> Result<Tensor> {
        let (batch, length, _) = xs.dims3()?;
        let time = self.time_2.forward(&self.time_1.forward(features)?.silu()?)?;
        let modulation = self.modulation.forward(&time.silu()?)?.reshape((batch, 6, self.width))?;
        let rotary = self.rotary.of(length, xs.device())?;
        for block in &self.blocks {
            xs = block.forward(&xs, &modulation, &rotary)?;
        }
        let modulation = time.unsqueeze(1)?.broadcast_add(&self.out_table)?; // [B, 2, D]
        Ok(layer_norm(&xs, NORM_EPS, AdaLnModulation { table: &modulation, shift: 0, scale: 1 })?)
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
    fn load(store: &TensorStore, prefix: &str, width: usize, head_dim: usize, device: &Device) -> Result<Self> {
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
            table: store.tensor(&format!("{prefix}.scale_shift_table"), &[6, width], device)?,
        })
    }

    fn forward(&self, xs: &Tensor, modulation: &Tensor, rotary: &RotaryTable) -> Result<Tensor> {
        let table = &modulation.broadcast_add(&self.table)?; // [B, 6, D]
        let modulation = AdaLnModulation { table, shift: 0, scale: 1 };
        let normed = self.attention_norm.operand(xs, modulation, self.attention.product())?;
        let found = Operand::of(self.attention.forward(&normed, rotary)?, &self.output)?;
        let xs = gated_sum(xs, &self.output.multiply(&found)?, table, 2)?;
        let normed =
            self.feed_forward_norm.operand(&xs, AdaLnModulation { table, shift: 3, scale: 4 }, &self.gate_up)?;
        let hidden = gated(self.gate_up.multiply(&normed)?, &self.down)?;
        Ok(gated_sum(&xs, &self.down.multiply(&hidden)?, table, 5)?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_step_is_written_as_cosines_then_sines() {
        let features: Vec<f32> =
            time_features(&[0.0, 0.001], &Device::Cpu).and_then(|t| Ok(t.get(1)?.to_vec1()?)).expect("features");
        assert!((features[0] - 1f32.cos()).abs() < 1e-6 && (features[256] - 1f32.sin()).abs() < 1e-6);
        assert!(features[..256].windows(2).all(|pair| pair[0] <= pair[1]), "frequencies must fall");
        let zero: Vec<f32> =
            time_features(&[0.0], &Device::Cpu).and_then(|t| Ok(t.get(0)?.to_vec1()?)).expect("features");
        assert!(zero[..256].iter().all(|x| *x == 1.0) && zero[256..].iter().all(|x| *x == 0.0));
    }
}
