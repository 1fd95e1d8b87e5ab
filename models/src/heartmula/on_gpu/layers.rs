//! The layers of a transformer on a GPU, and one pass over them.

use std::sync::Arc;

use candle_core::Device;

use crate::{
    error::Result,
    heartmula::{TransformerConfig, kv_cache::scaled_frequencies},
    kernels::{
        RotaryTable,
        cpu::HeadDims,
        lm::{Attention, Bf16Rows, Buffer, Epilogue, GpuStream, Input, Matrix, PagedKvCache, Scratch, Start},
    },
    weights::TensorStore,
};

/// The weights of one transformer, its last norm included.
#[derive(Debug)]
pub(super) struct Layers {
    layers: Vec<Layer>,
    norm: Buffer<f32>,
    /// Cosines and sines of every position.
    angles: Arc<[Buffer<f32>; 2]>,
    config: TransformerConfig,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Buffer<f32>,
    query_key_value: Matrix,
    output: Matrix,
    feed_forward_norm: Buffer<f32>,
    gate_up: Matrix,
    down: Matrix,
}

/// Working memory of a pass, for a number of rows at most.
#[derive(Debug)]
pub(super) struct Working {
    /// The residual stream.
    pub stream: Buffer<f32>,
    /// Its rows, multiplied with the next norm's weights.
    pub parts: Bf16Rows,
    joined: Buffer<f32>,
    attended: Bf16Rows,
    gated: Bf16Rows,
}

/// Which positions a pass is over.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub start: Start<'a>,
    pub rows: usize,
    pub batch: usize,
    pub first_batch: usize,
    /// Positions in the KV cache; more than rows have where one row stands for several.
    pub appended: usize,
}

impl Layers {
    pub fn load(
        gpu: &GpuStream,
        config: &TransformerConfig,
        store: &TensorStore,
        prefix: &str,
        device: &Device,
    ) -> Result<Self> {
        let layers = (0..config.num_layers)
            .map(|index| Layer::load(gpu, config, store, &format!("{prefix}.layers.{index}"), device));
        let layers = layers.collect::<Result<_>>()?;
        let table = RotaryTable::new(&scaled_frequencies(config), config.max_seq_len, &Device::Cpu)?;
        let [cosines, sines] = table.numbers()?;
        Ok(Self {
            layers,
            norm: norm(gpu, store, &format!("{prefix}.norm.scale"), config.embed_dim)?,
            angles: Arc::new([Buffer::of(gpu, &cosines)?, Buffer::of(gpu, &sines)?]),
            config: config.clone(),
        })
    }

    pub fn heads(&self) -> HeadDims {
        let TransformerConfig { num_heads, num_kv_heads, .. } = self.config;
        HeadDims { heads: num_heads, kv_heads: num_kv_heads, head_dim: self.config.head_dim() }
    }

    pub fn angles(&self) -> Arc<[Buffer<f32>; 2]> {
        Arc::clone(&self.angles)
    }

    pub fn count(&self) -> usize {
        self.layers.len()
    }

    pub fn eps(&self) -> f64 {
        self.config.norm_eps
    }

    /// The weights of the norm that comes first.
    pub fn first_norm(&self) -> &Buffer<f32> {
        self.layers.first().map_or(&self.norm, |layer| &layer.attention_norm)
    }

    pub fn working(&self, gpu: &GpuStream, rows: usize) -> Result<Working> {
        let TransformerConfig { embed_dim, intermediate_dim, num_kv_heads, .. } = self.config;
        let joined = embed_dim + 2 * num_kv_heads * self.config.head_dim();
        Ok(Working {
            stream: Buffer::zeros(gpu, rows * embed_dim)?,
            parts: Bf16Rows::new(gpu, rows, embed_dim)?,
            joined: Buffer::zeros(gpu, rows * joined)?,
            attended: Bf16Rows::new(gpu, rows, embed_dim)?,
            gated: Bf16Rows::new(gpu, rows, intermediate_dim)?,
        })
    }

    /// One pass over rows that `working` begins with; what comes out is in rows `first` and those behind it of `out`, or of
    /// `working`'s own.
    pub fn pass(
        &self,
        gpu: &GpuStream,
        working: &Working,
        (kv, scratch): (&PagedKvCache, &Scratch),
        pass: Pass<'_>,
        out: Option<(&Bf16Rows, usize)>,
    ) -> Result<()> {
        let (rows, eps) = (pass.rows, self.eps());
        let plain = |parts| Input { parts, first: 0, count: rows, normed: false, behind: None };
        let normed = Input { normed: true, ..plain(&working.parts) };
        let own = (&working.parts, 0);
        for (index, layer) in self.layers.iter().enumerate() {
            gpu.product(&layer.query_key_value, normed, eps, Epilogue::Store(&working.joined))?;
            let Pass { start, batch, first_batch, appended, .. } = pass;
            let of = Attention {
                joined: &working.joined,
                layer: index,
                start,
                rows,
                batch,
                first_batch,
                appended,
                out: &working.attended,
            };
            gpu.attend(kv, scratch, of)?;
            let residual =
                |scale, (parts, first)| Epilogue::Residual { add: true, stream: &working.stream, scale, parts, first };
            gpu.product(&layer.output, plain(&working.attended), eps, residual(&layer.feed_forward_norm, own))?;
            gpu.product(&layer.gate_up, normed, eps, Epilogue::Gate(&working.gated))?;
            let (scale, to) = match self.layers.get(index + 1) {
                Some(next) => (&next.attention_norm, own),
                None => (&self.norm, out.unwrap_or(own)),
            };
            gpu.product(&layer.down, plain(&working.gated), eps, residual(scale, to))?;
        }
        Ok(())
    }
}

impl Layer {
    fn load(
        gpu: &GpuStream,
        config: &TransformerConfig,
        store: &TensorStore,
        prefix: &str,
        device: &Device,
    ) -> Result<Self> {
        let (width, hidden) = (config.embed_dim, config.intermediate_dim);
        let keys = config.num_kv_heads * config.head_dim();
        let joined = |parts: &[(&str, usize)], inputs: usize, gates: bool| -> Result<Matrix> {
            let name = |part: &str| format!("{prefix}.{part}.weight");
            let dtype = store.matrix_type(&name(parts[0].0));
            let read = parts.iter().map(|(part, outputs)| store.matrix(&name(part), &[*outputs, inputs], device));
            let read = read.collect::<Result<Vec<_>>>()?;
            let weight = if read.len() == 1 { read[0].clone() } else { candle_core::Tensor::cat(&read, 0)? };
            Ok(Matrix::new(gpu, &weight, dtype, gates)?)
        };
        Ok(Self {
            attention_norm: norm(gpu, store, &format!("{prefix}.sa_norm.scale"), width)?,
            query_key_value: joined(
                &[("attn.q_proj", width), ("attn.k_proj", keys), ("attn.v_proj", keys)],
                width,
                false,
            )?,
            output: joined(&[("attn.output_proj", width)], width, false)?,
            feed_forward_norm: norm(gpu, store, &format!("{prefix}.mlp_norm.scale"), width)?,
            gate_up: joined(&[("mlp.w1", hidden), ("mlp.w3", hidden)], width, true)?,
            down: joined(&[("mlp.w2", width)], hidden, false)?,
        })
    }
}

fn norm(gpu: &GpuStream, store: &TensorStore, name: &str, width: usize) -> Result<Buffer<f32>> {
    let weights: Vec<f32> = store.tensor(name, &[width], &Device::Cpu)?.to_vec1()?;
    Ok(Buffer::of(gpu, &weights)?)
}
