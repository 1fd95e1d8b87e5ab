//! Convolutions over time whose products find their rows where they lie. A row's result does not depend on how many rows
//! are beside it.

use candle_core::{DType, Result, Tensor, bail};

use super::run::{
    Argument::{Float, Int, Signed, Tensor as Numbers},
    Launch, Module, unwritten,
};
use crate::kernels::gpu::together;

#[cfg(feature = "cuda")]
const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/convolve.ptx"));
#[cfg(not(feature = "cuda"))]
const PTX: &str = "";
const MODULE: Module = Module { name: "heartstream convolve", ptx: PTX };
/// Numbers of a row that are multiplied before their sum is added to the others; a weight's rows are a multiple.
const DEEP: usize = 32;
/// Numbers from one row to the next in shared memory, and tiles that lie there.
const WIDE: usize = DEEP + 8;
const STAGES: usize = 2;
/// Numbers that are read at once.
const AT_ONCE: usize = 4;
const SPLIT_THREADS: usize = 256;

/// A kernel, and how many results a block of it has.
#[derive(Debug, Clone, Copy)]
struct Tile {
    name: &'static str,
    rows: usize,
    outputs: usize,
    threads: usize,
}

const SMALL: Tile = Tile { name: "convolve_64_32", rows: 64, outputs: 32, threads: 128 };
const LARGE: Tile = Tile { name: "convolve_128_64", rows: 128, outputs: 64, threads: 256 };
const TALL: Tile = Tile { name: "convolve_256_16", rows: 256, outputs: 16, threads: 256 };
/// Blocks from which on large tiles keep every multiprocessor busy.
const MANY_BLOCKS: usize = 256;

impl Tile {
    /// The tile for so many results. It changes no result.
    fn of(rows: usize, outputs: usize) -> Self {
        if outputs <= TALL.outputs {
            TALL
        } else if LARGE.blocks(rows, outputs).iter().product::<usize>() >= MANY_BLOCKS {
            LARGE
        } else {
            SMALL
        }
    }

    fn blocks(self, rows: usize, outputs: usize) -> [usize; 2] {
        [rows.div_ceil(self.rows), outputs.div_ceil(self.outputs)]
    }

    /// Bytes of shared memory: rows in f32, and both halves of the weight.
    fn shared(self) -> usize {
        STAGES * WIDE * (self.rows * size_of::<f32>() + 2 * self.outputs * size_of::<u16>())
    }
}

/// A convolution's weight as bf16 halves, and its bias.
#[derive(Debug, Clone)]
pub struct TapWeight {
    /// \[2, out, depth\], the high halves first; depth is taps · in, filled up with zeros.
    halves: Tensor,
    bias: Tensor,
    inputs: usize,
    taps: usize,
}

/// Where the inputs of a convolution's row lie, in places in time before or after its own.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// Where the first tap's input lies.
    pub first: i64,
    /// How far each further one lies behind it.
    pub step: i64,
    /// How many rows one after the other each row of results is.
    pub stride: usize,
}

/// What becomes of results: an activation with this slope, then something is added.
#[derive(Debug, Clone, Copy)]
pub struct Finish<'a> {
    /// The slope.
    pub slope: Option<f64>,
    /// What is added, of the results' shape.
    pub add: Option<&'a Tensor>,
}

impl TapWeight {
    /// Splits a weight on a GPU; `None` where the kernels do not take it.
    ///
    /// # Shapes
    /// - `weight` \[out, taps · in\], `bias` \[out\]
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn of(weight: &Tensor, bias: &Tensor, taps: usize) -> Result<Option<Self>> {
        let (outputs, width) = weight.dims2()?;
        let inputs = width / taps;
        let plain = !weight.track_op() && !bias.track_op() && weight.dtype() == DType::F32;
        if !weight.device().is_cuda() || !plain || !inputs.is_multiple_of(AT_ONCE) || bias.dims() != [outputs] {
            return Ok(None);
        }
        let weight = together(weight)?;
        let depth = width.next_multiple_of(DEEP);
        let halves = unwritten(&[2, outputs, depth], DType::BF16, weight.device())?;
        let blocks = (outputs * depth).div_ceil(SPLIT_THREADS).min(1 << 12);
        Launch { module: MODULE, name: "split_taps", blocks: [blocks, 1], threads: SPLIT_THREADS, shared: 0 }.run(
            weight.device(),
            &[Numbers(&weight), Numbers(&halves), Int(outputs), Int(width), Int(depth)],
        )?;
        // Other streams read what this one wrote.
        weight.device().synchronize()?;
        Ok(Some(Self { halves, bias: together(bias)?, inputs, taps }))
    }

    /// How many outputs there are.
    pub fn outputs(&self) -> usize {
        self.bias.elem_count()
    }

    /// The convolution of `xs` after `old`, which was before.
    ///
    /// # Shapes
    /// - `xs` \[T, B, in\], `old` \[any, B, in\], result \[T · stride, B, out / stride\]
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn convolve(&self, xs: &Tensor, old: &Tensor, reach: Reach, finish: Finish<'_>) -> Result<Tensor> {
        let ((length, batch, inputs), (olds, old_batch, old_inputs)) = (xs.dims3()?, old.dims3()?);
        let outputs = self.outputs();
        if inputs != self.inputs || (old_batch, old_inputs) != (batch, inputs) || !outputs.is_multiple_of(reach.stride)
        {
            bail!("a convolution of {} inputs was given {:?} after {:?}", self.inputs, xs.shape(), old.shape())
        }
        let shape = [length * reach.stride, batch, outputs / reach.stride];
        if finish.add.is_some_and(|add| add.dims() != shape) {
            bail!("a convolution makes {shape:?}, to which {:?} was to be added", finish.add.map(Tensor::dims))
        }
        let (xs, add) = (together(xs)?, finish.add.map(together).transpose()?);
        let old = if olds == 0 { xs.clone() } else { together(old)? };
        let out = unwritten(&shape, DType::F32, xs.device())?;
        if length == 0 {
            return Ok(out);
        }
        let (rows, depth) = (length * batch, self.halves.dim(2)?);
        let arguments = [
            Numbers(&old),
            Numbers(&xs),
            Numbers(&self.halves),
            Numbers(&self.bias),
            Numbers(add.as_ref().unwrap_or(&xs)),
            Numbers(&out),
            Int(rows),
            Int(olds * batch),
            Int(inputs),
            Int(self.taps),
            Int(outputs),
            Int(depth),
            Signed(reach.first * batch as i64),
            Signed(reach.step * batch as i64),
            Int(batch),
            Int(reach.stride),
            Int(usize::from(add.is_some())),
            Int(usize::from(finish.slope.is_some())),
            Float(finish.slope.unwrap_or(1.0) as f32),
        ];
        let tile = Tile::of(rows, outputs);
        let (blocks, shared) = (tile.blocks(rows, outputs), tile.shared());
        Launch { module: MODULE, name: tile.name, blocks, threads: tile.threads, shared }.run(out.device(), &arguments)?;
        Ok(out)
    }
}
