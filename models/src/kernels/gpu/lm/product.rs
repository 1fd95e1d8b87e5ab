//! Products of a few rows with a large weight.

use candle_core::{
    DType, Result, Storage, Tensor, bail,
    cuda_backend::{WrapErr, cudarc::driver::DevicePtr},
};

use super::{Bf16Rows, Buffer, CHUNK, GpuStream, TILE};
use crate::kernels::cpu::WeightDtype;

/// Rows that a block takes at most, in units of 4; `ROWS` in `product.cuh`.
const MOST_QUADS: usize = 8;
/// Tiles from which on a block computes two: then there are blocks enough (measured on an H200, 2026-11-29: 11.1 us
/// instead of 12.2 for 320 tiles, 7.7 instead of 6.5 for 192).
const MANY_TILES: usize = 300;

/// A weight \[outputs, inputs\], packed for tensor cores: as bf16, or as the sum of several bf16 planes.
#[derive(Debug)]
pub(crate) struct Matrix {
    packed: Buffer<u16>,
    outputs: usize,
    inputs: usize,
    planes: usize,
    gates: bool,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct PackArgs {
    from: u64,
    to: u64,
    output_step: i64,
    input_step: i64,
    outputs: i32,
    inputs: i32,
    chunks: i32,
    row_chunks: i32,
    plane: i32,
    gates: i32,
    is_bf16: i32,
    first: i32,
}

impl Matrix {
    /// Packs a weight \[outputs, inputs\] whose values are those of `dtype`. With `gates`, its first half are gates and
    /// its second half what they gate.
    ///
    /// # Errors
    /// When it is no matrix on this GPU, or the GPU has no memory for it.
    pub fn new(gpu: &GpuStream, weight: &Tensor, dtype: WeightDtype, gates: bool) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let is_bf16 = weight.dtype() == DType::BF16;
        let planes = match dtype {
            WeightDtype::Bf16 => 1,
            WeightDtype::F16 => 2, // 11 bits are two times 8
            WeightDtype::F32 => 3,
        };
        let gated = if gates { outputs / 2 } else { 0 };
        let tiles = if gates { gated.div_ceil(TILE / 2) } else { outputs.div_ceil(TILE) };
        let row_chunks = inputs.div_ceil(CHUNK);
        let packed = Buffer::zeros(gpu, tiles * TILE * planes * row_chunks * CHUNK)?;
        weight.device().synchronize()?;
        let (storage, layout) = weight.storage_and_layout();
        let Storage::Cuda(storage) = &*storage else { bail!("a weight for a GPU lies elsewhere") };
        let stream = gpu.cuda();
        let (from, size) = if is_bf16 {
            (storage.as_cuda_slice::<half::bf16>()?.device_ptr(stream).0, size_of::<half::bf16>())
        } else {
            (storage.as_cuda_slice::<f32>()?.device_ptr(stream).0, size_of::<f32>())
        };
        for plane in 0..planes {
            let arguments = PackArgs {
                from: from + (layout.start_offset() * size) as u64,
                to: packed.address_of(0, packed.len())?,
                output_step: layout.stride()[0] as i64,
                input_step: layout.stride()[1] as i64,
                outputs: if gates { tiles * TILE } else { outputs } as i32,
                inputs: inputs as i32,
                chunks: (planes * row_chunks) as i32,
                row_chunks: row_chunks as i32,
                plane: plane as i32,
                gates: gated as i32,
                is_bf16: i32::from(is_bf16),
                first: 0,
            };
            let blocks = (tiles * TILE * row_chunks * CHUNK).div_ceil(256);
            // SAFETY: the kernel reads the weight by its own strides, and writes the tiles that there is room for.
            unsafe { gpu.launch("pack", [blocks, 1, 1], 256, 0, arguments)? };
        }
        // The weight belongs to another stream, which may let it go as soon as this returns.
        gpu.cuda().synchronize().w()?;
        Ok(Self { packed, outputs, inputs, planes, gates })
    }

    /// Outputs; of gates, those that are gated.
    pub fn outputs(&self) -> usize {
        if self.gates { self.outputs / 2 } else { self.outputs }
    }

    /// How many bf16 planes it has.
    pub fn planes(&self) -> usize {
        self.planes
    }
}

/// The rows that are multiplied.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    /// `count` rows from row `first` on.
    pub parts: &'a Bf16Rows,
    pub first: usize,
    pub count: usize,
    /// Whether they are to be divided by the root of their mean square.
    pub normed: bool,
    /// Rows behind them, which are taken as they are.
    pub behind: Option<(&'a Bf16Rows, usize)>,
}

/// What becomes of the results.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<'a> {
    /// They are kept.
    Store(&'a Buffer<f32>),
    /// They are added to (`add`) or begin the residual stream; its rows, multiplied with `scale`, are what comes next.
    Residual { add: bool, stream: &'a Buffer<f32>, scale: &'a Buffer<f32>, parts: &'a Bf16Rows, first: usize },
    /// The gated half becomes the next rows.
    Gate(&'a Bf16Rows),
    /// Logits of frames from their one or two rows; list `first` and those behind it.
    Guide { logits: &'a Buffer<f32>, first: usize, batch: usize, guidance: Guidance<'a> },
}

/// How much the conditional row of a frame counts beside the unconditional one.
#[derive(Clone, Copy)]
pub(crate) enum Guidance<'a> {
    /// As much in each frame.
    Of(f64),
    /// As much as these say, one for each frame.
    OfEach(&'a Buffer<f32>),
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ProductArgs {
    weight: u64,
    rows0: u64,
    rows1: u64,
    squares: u64,
    guidances: u64,
    out: u64,
    out_scale: u64,
    out_parts: u64,
    out_squares: u64,
    split: i32,
    square_parts: i32,
    width: i32,
    eps: f32,
    rows: i32,
    stride: i32,
    chunks: i32,
    row_chunks: i32,
    outputs: i32,
    out_stride: i32,
    parts_stride: i32,
    batch: i32,
    guidance: f32,
}

impl GpuStream {
    /// Multiplies rows with a weight; `eps` is that of the norm.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn product(&self, weight: &Matrix, input: Input<'_>, eps: f64, epilogue: Epilogue<'_>) -> Result<()> {
        let Input { parts, first, count, normed, behind } = input;
        let rows = count + behind.map_or(0, |behind| behind.1);
        let fits = |parts: &Bf16Rows| parts.width() == weight.inputs;
        if !fits(parts) || behind.is_some_and(|behind| !fits(behind.0)) || rows == 0 {
            bail!("{rows} rows of {} channels do not fit a weight of {} inputs", parts.width(), weight.inputs)
        }
        let row_chunks = weight.inputs.div_ceil(CHUNK);
        let rows0 = parts.rows(first, count)?;
        let mut arguments = ProductArgs {
            weight: weight.packed.address_of(0, weight.packed.len())?,
            rows0,
            rows1: behind.map_or(Ok(rows0), |(behind, count)| behind.rows(0, count))?,
            squares: if normed { parts.squares(first, count)? } else { 0 },
            guidances: 0,
            out: 0,
            out_scale: 0,
            out_parts: 0,
            out_squares: 0,
            split: count as i32,
            square_parts: parts.tiles() as i32,
            width: parts.width() as i32,
            eps: eps as f32,
            rows: rows as i32,
            stride: parts.stride() as i32,
            chunks: (weight.planes * row_chunks) as i32,
            row_chunks: row_chunks as i32,
            outputs: weight.outputs as i32,
            out_stride: weight.outputs as i32,
            parts_stride: 0,
            batch: 1,
            guidance: 1.0,
        };
        let outputs = weight.outputs();
        let of_width = |parts: &Bf16Rows| match parts.width() == outputs
            && weight.gates == matches!(epilogue, Epilogue::Gate(_))
        {
            true => Ok(parts.stride() as i32),
            false => bail!("{outputs} results do not fit rows of {} channels", parts.width()),
        };
        let name = match epilogue {
            Epilogue::Store(out) => {
                arguments.out = out.address_of(0, rows * outputs)?;
                "store"
            }
            Epilogue::Residual { add, stream, scale, parts, first } => {
                arguments.out = stream.address_of(0, rows * outputs)?;
                arguments.out_scale = scale.address_of(0, outputs)?;
                arguments.out_parts = parts.rows(first, rows)?;
                arguments.out_squares = parts.squares(first, rows)?;
                arguments.parts_stride = of_width(parts)?;
                if add { "add" } else { "begin" }
            }
            Epilogue::Gate(parts) => {
                arguments.out_parts = parts.rows(0, rows)?;
                arguments.parts_stride = of_width(parts)?;
                "gate"
            }
            Epilogue::Guide { logits, first, batch, guidance } => {
                if !(1..=2).contains(&batch) || !rows.is_multiple_of(batch) {
                    bail!("{rows} rows are no frames of {batch} rows")
                }
                arguments.out = logits.address_of(first * outputs, rows / batch * outputs)?;
                arguments.batch = batch as i32;
                match guidance {
                    Guidance::Of(guidance) => arguments.guidance = guidance as f32,
                    Guidance::OfEach(guidances) => arguments.guidances = guidances.address_of(0, rows / batch)?,
                }
                "guide"
            }
        };
        if weight.gates {
            arguments.outputs = (2 * outputs) as i32;
        }
        let quads = rows.div_ceil(4).next_power_of_two().min(MOST_QUADS);
        let tiles = weight.packed.len() / (weight.planes * row_chunks * CHUNK * TILE);
        let per_block = if tiles >= MANY_TILES { 2 } else { 1 };
        let blocks = [tiles.div_ceil(per_block), rows.div_ceil(4 * quads), 1];
        // SAFETY: every address was given out for as many numbers as the kernel takes from the sizes above.
        unsafe { self.launch(&format!("product_{name}_{quads}_{per_block}"), blocks, 256, 0, arguments) }
    }
}
