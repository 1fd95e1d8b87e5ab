//! Full attention with online softmax; scores stay in registers.

use std::f64::consts::LOG2_E;

use candle_core::{DType, Result, Tensor, bail};

use super::{
    PartialResults,
    launch::{
        Argument::{Array, Float, Int, Long},
        Launch, Module, unwritten,
    },
};
use crate::kernels::gpu::contiguous_aligned;

#[cfg(feature = "cuda")]
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attend.fatbin"));
#[cfg(not(feature = "cuda"))]
const IMAGE: &[u8] = &[];
const MODULE: Module = Module { name: "attend", image: IMAGE };
/// Queries of a thread block.
const QUERIES: usize = 64;
/// Threads of a block.
const THREADS: usize = 128;
/// Threads of a block that splits.
const SPLIT_THREADS: usize = 256;
/// High and low halves of queries, keys and values.
const MATRICES: usize = 6;
/// Padding of rows in shared memory, against bank conflicts.
const MARGIN: usize = 8;

/// The kernel for heads of such a width, and the keys that it has in shared memory at once.
fn kernel(head_dim: usize) -> Option<(&'static str, usize)> {
    match head_dim {
        16 => Some(("attention_16", 64)),
        32 => Some(("attention_32", 64)),
        64 => Some(("attention_64", 64)),
        128 => Some(("attention_128", 32)),
        _ => None,
    }
}

/// Whether there is a kernel for heads of such a width.
pub fn attends(head_dim: usize) -> bool {
    kernel(head_dim).is_some()
}

/// Attention with queries, keys and values as one product makes them, rotated by the angles of their positions.
///
/// # Shapes
/// - `joined` \[B, L, 3 · heads · D\]: queries, keys, values; `cos`, `sin` \[at least L, D / 2\]
/// - result \[B, L, heads · D\]
///
/// # Errors
/// When the shapes do not fit, or there is no kernel for such heads ([`attends`]).
pub fn attend(joined: &PartialResults, head_dim: usize, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (&[batch, positions], width) = (&joined.outer[..], joined.width()? / 3) else {
        bail!("an attention of rows {:?}", joined.outer)
    };
    let (Some((name, keys)), heads) = (kernel(head_dim), width / head_dim) else {
        bail!("there is no attention with heads of {head_dim} channels")
    };
    let (angles, pairs) = cos.dims2()?;
    if 3 * heads * head_dim != joined.width()?
        || angles < positions
        || 2 * pairs != head_dim
        || sin.dims() != cos.dims()
    {
        bail!("an attention of {:?} with angles {:?}", joined.numbers.shape(), cos.shape())
    }
    let device = joined.numbers.device();
    let (cos, sin) = (contiguous_aligned(cos)?, contiguous_aligned(sin)?);
    let rows = batch * positions;
    let split = unwritten(&[MATRICES, rows, width], DType::BF16, device)?;
    // The softmax uses exp2, so scores are scaled by log2(e).
    let scale = (LOG2_E / (head_dim as f64).sqrt()) as f32;
    let arguments = [
        Array(&joined.numbers),
        Array(&joined.unscale),
        Array(&cos),
        Array(&sin),
        Array(&split),
        Long(joined.apart()?),
        Int(positions),
        Int(heads),
        Int(head_dim),
        Float(scale),
    ];
    Launch { module: MODULE, name: "attention_split", blocks: [rows, 1], threads: SPLIT_THREADS, shared: 0 }
        .run(device, &arguments)?;
    let out = unwritten(&[batch, positions, width], DType::F32, device)?;
    // Two stages of high and low halves of keys and values.
    let shared = 2 * 4 * keys * (head_dim + MARGIN) * size_of::<u16>();
    let blocks = [positions.div_ceil(QUERIES), batch * heads];
    Launch { module: MODULE, name, blocks, threads: THREADS, shared }
        .run(device, &[Array(&split), Array(&out), Int(positions), Int(heads)])?;
    Ok(out)
}
