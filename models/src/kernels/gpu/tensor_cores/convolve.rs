//! Implicit-GEMM convolutions over time. A row's result does not depend on how many rows are beside it.

use candle_core::{DType, Result, Tensor, bail};

use super::launch::{
    Argument::{Array, Float, Int, Long, Signed},
    Launch, Module, unwritten, unwritten_weight,
};
use crate::kernels::gpu::contiguous_aligned;

#[cfg(feature = "cuda")]
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/convolve.fatbin"));
#[cfg(not(feature = "cuda"))]
const IMAGE: &[u8] = &[];
const MODULE: Module = Module { name: "convolve", image: IMAGE };
/// Numbers of a row that are multiplied before their sum is added to the others; a weight's rows are a multiple.
const DEEP: usize = 32;
/// Numbers from one row to the next in shared memory, and tiles that lie there.
const WIDE: usize = DEEP + 8;
const STAGES: usize = 2;
/// Numbers that are read at once.
const AT_ONCE: usize = 8;
const SPLIT_THREADS: usize = 256;

/// A kernel, and how many results a block of it has.
#[derive(Debug, Clone, Copy)]
struct Tile {
    name: &'static str,
    /// The kernel that keeps the rows that a block's taps reach in shared memory, and its stages of the weight; none where
    /// outputs are few.
    span: Option<(&'static str, usize)>,
    rows: usize,
    outputs: usize,
    threads: usize,
}

const SMALL: Tile = Tile { name: "convolve_64_32", span: Some(("span_64_32", 3)), rows: 64, outputs: 32, threads: 128 };
const MIDDLE: Tile =
    Tile { name: "convolve_64_64", span: Some(("span_64_64", 2)), rows: 64, outputs: 64, threads: 128 };
const LARGE: Tile =
    Tile { name: "convolve_128_64", span: Some(("span_128_64", 2)), rows: 128, outputs: 64, threads: 256 };
const TALL: Tile = Tile { name: "convolve_256_16", span: None, rows: 256, outputs: 16, threads: 256 };
/// Tiles from the largest on, each with the blocks that it takes to keep an H200's multiprocessors busy.
const LARGE_ENOUGH: [(Tile, usize); 2] = [(LARGE, 256), (MIDDLE, 256)];
/// Rows that taps may reach beside a block's own: those of a block then have room in shared memory on every GPU.
const MOST_REACH: usize = 108;

impl Tile {
    /// The tile for a number of results. It changes no result.
    fn of(rows: usize, outputs: usize) -> Self {
        if outputs <= TALL.outputs {
            return TALL;
        }
        let busy = |(tile, least): &&(Self, usize)| tile.blocks(rows, outputs).iter().product::<usize>() >= *least;
        LARGE_ENOUGH.iter().find(busy).map_or(SMALL, |(tile, _)| *tile)
    }

    fn blocks(self, rows: usize, outputs: usize) -> [usize; 2] {
        [rows.div_ceil(self.rows), outputs.div_ceil(self.outputs)]
    }

    /// The kernel for a number of inputs of each tap and a span of rows that the taps reach, and its bytes of shared memory: both
    /// halves of rows and weight. Which of the two it is, which sum in different orders, follows from the weight alone.
    fn kernel(self, inputs: usize, reach: usize) -> (&'static str, usize) {
        let halves = 2 * WIDE * size_of::<u16>();
        match self.span {
            Some((span, stages)) if (1..=MOST_REACH).contains(&reach) && inputs.is_multiple_of(DEEP) => {
                (span, halves * (2 * (self.rows + reach) + stages * self.outputs))
            }
            _ => (self.name, STAGES * halves * (self.rows + self.outputs)),
        }
    }
}

/// A convolution's weight as bf16 halves, and its bias.
#[derive(Debug, Clone)]
pub struct TapWeight {
    /// \[depth / 32, 2, out, 32\], the high halves first: what is read together is contiguous. Depth is taps · in, filled up
    /// with zeros.
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

/// Operations fused behind the product: activation, then residual sum; and how results are stored.
#[derive(Debug, Clone, Copy)]
pub struct TapEpilogue<'a> {
    /// The slope.
    pub slope: Option<f64>,
    /// What is added, of the results' shape.
    pub add: Option<&'a Tensor>,
    /// Whether results are kept in f32.
    pub numbers: bool,
    /// Whether they are kept as halves, for the next convolution.
    pub halves: bool,
}

/// A signal over time as bf16 halves, in f32, or both.
#[derive(Debug, Clone)]
pub struct HalvedSignal {
    /// \[2, T, B, C\], the high halves first.
    halves: Option<Tensor>,
    /// \[T, B, C\].
    numbers: Option<Tensor>,
}

impl HalvedSignal {
    /// Splits a signal that lies on a GPU.
    ///
    /// # Shapes
    /// - `xs` \[T, B, C\], of an even count of numbers
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn of(xs: &Tensor) -> Result<Self> {
        Ok(Self { halves: Some(split(xs)?), numbers: Some(xs.clone()) })
    }

    /// The signal in f32.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn tensor(&self) -> Result<Tensor> {
        match (&self.numbers, &self.halves) {
            (Some(numbers), _) => Ok(numbers.clone()),
            (None, Some(halves)) => halves.to_dtype(DType::F32)?.sum(0),
            (None, None) => bail!("a signal that nothing was kept of"),
        }
    }

    /// Its halves.
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn halves(&self) -> Result<Tensor> {
        match &self.halves {
            Some(halves) => Ok(halves.clone()),
            None => split(&self.tensor()?),
        }
    }

    /// Each place so often, one after the other.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn repeated(&self, times: usize) -> Result<Self> {
        let halves = contiguous_aligned(&self.halves()?)?;
        let (parts, length, batch, channels) = halves.dims4()?;
        let width = batch * channels;
        if !width.is_multiple_of(AT_ONCE) {
            bail!("places of {width} numbers are repeated {AT_ONCE} at a time")
        }
        let repeated = unwritten(&[parts, length * times, batch, channels], DType::BF16, halves.device())?;
        let threads = parts * length * times * width / AT_ONCE;
        if threads > 0 {
            let arguments = [Array(&halves), Array(&repeated), Long(parts * length), Int(width), Int(times)];
            copies("repeat_places", threads).run(halves.device(), &arguments)?;
        }
        Ok(Self { halves: Some(repeated), numbers: None })
    }
}

/// Of halves \[2, any, B, C\] before and behind the first row, the last `kept`.
///
/// # Errors
/// When there are fewer, or the device has no memory for them.
pub fn last_of(old: &Tensor, xs: &Tensor, kept: usize) -> Result<Tensor> {
    let ((_, olds, batch, channels), (_, length, ..)) = (old.dims4()?, xs.dims4()?);
    let (old, xs, inputs) = (contiguous_aligned(old)?, contiguous_aligned(xs)?, batch * channels);
    if kept > olds + length || !inputs.is_multiple_of(AT_ONCE) || xs.dims()[2..] != [batch, channels] {
        bail!("the last {kept} of {:?} and {:?}", old.shape(), xs.shape())
    }
    let last = unwritten(&[2, kept, batch, channels], DType::BF16, xs.device())?;
    let arguments = [Array(&old), Array(&xs), Array(&last), Int(olds), Int(length), Int(kept), Int(inputs)];
    copies("last_rows", 2 * kept * inputs / AT_ONCE).run(xs.device(), &arguments)?;
    Ok(last)
}

fn copies(name: &'static str, threads: usize) -> Launch {
    Launch { module: MODULE, name, blocks: [threads.div_ceil(SPLIT_THREADS), 1], threads: SPLIT_THREADS, shared: 0 }
}

/// Numbers as halves, \[2, …\].
fn split(xs: &Tensor) -> Result<Tensor> {
    let (xs, count) = (contiguous_aligned(xs)?, xs.elem_count());
    if !count.is_multiple_of(2) {
        bail!("a signal {:?} is split two numbers at a time", xs.shape())
    }
    let halves = unwritten(&[&[2], xs.dims()].concat(), DType::BF16, xs.device())?;
    if count > 0 {
        let blocks = (count / 2).div_ceil(SPLIT_THREADS).min(1 << 12);
        Launch { module: MODULE, name: "split_signal", blocks: [blocks, 1], threads: SPLIT_THREADS, shared: 0 }
            .run(xs.device(), &[Array(&xs), Array(&halves), Long(count)])?;
    }
    Ok(halves)
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
        let weight = contiguous_aligned(weight)?;
        let depth = width.next_multiple_of(DEEP);
        let halves = unwritten_weight(&[depth / DEEP, 2, outputs, DEEP], DType::BF16, weight.device())?;
        let blocks = (outputs * depth).div_ceil(SPLIT_THREADS).min(1 << 12);
        Launch { module: MODULE, name: "split_taps", blocks: [blocks, 1], threads: SPLIT_THREADS, shared: 0 }
            .run(weight.device(), &[Array(&weight), Array(&halves), Int(outputs), Int(width), Int(depth)])?;
        // Other streams read what this one wrote.
        weight.device().synchronize()?;
        Ok(Some(Self { halves, bias: contiguous_aligned(bias)?, inputs, taps }))
    }

    /// How many outputs there are.
    pub fn outputs(&self) -> usize {
        self.bias.elem_count()
    }

    /// No inputs before the first ones: the halves of silence.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn zero_history(&self, reach: usize, batch: usize) -> Result<Tensor> {
        Tensor::zeros((2, reach, batch, self.inputs), DType::BF16, self.halves.device())
    }

    /// The convolution of the halves `xs` after `old`, which was before.
    ///
    /// # Shapes
    /// - `xs` \[2, T, B, in\], `old` \[2, any, B, in\], result \[T · stride, B, out / stride\]
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn convolve(&self, xs: &Tensor, old: &Tensor, reach: Reach, epilogue: TapEpilogue<'_>) -> Result<HalvedSignal> {
        let ((_, length, batch, inputs), (_, olds, old_batch, old_inputs)) = (xs.dims4()?, old.dims4()?);
        let (outputs, stride) = (self.outputs(), reach.stride);
        if inputs != self.inputs || (old_batch, old_inputs) != (batch, inputs) {
            bail!("a convolution of {} inputs was given {:?} after {:?}", self.inputs, xs.shape(), old.shape())
        }
        if !outputs.is_multiple_of(stride) || (!(outputs / stride).is_multiple_of(2) && (epilogue.halves || stride > 1))
        {
            bail!("a convolution of {outputs} outputs cannot have {stride} rows of an even count of them")
        }
        let shape = [length * stride, batch, outputs / stride];
        if epilogue.add.is_some_and(|add| add.dims() != shape) {
            bail!("a convolution makes {shape:?}, to which {:?} was to be added", epilogue.add.map(Tensor::dims))
        }
        let (xs, add, device) =
            (contiguous_aligned(xs)?, epilogue.add.map(contiguous_aligned).transpose()?, xs.device());
        let old = if olds == 0 { xs.clone() } else { contiguous_aligned(old)? };
        let numbers = if epilogue.numbers { Some(unwritten(&shape, DType::F32, device)?) } else { None };
        let doubled = [&[2], &shape[..]].concat();
        let halves = if epilogue.halves { Some(unwritten(&doubled, DType::BF16, device)?) } else { None };
        let (rows, depth) = (length * batch, self.halves.dim(0)? * DEEP);
        let flag = |set: bool| Int(usize::from(set));
        let arguments = [
            Array(&old),
            Array(&xs),
            Array(&self.halves),
            Array(&self.bias),
            Array(add.as_ref().unwrap_or(&self.bias)),
            Array(numbers.as_ref().unwrap_or(&self.bias)),
            Array(halves.as_ref().unwrap_or(&xs)),
            Int(rows),
            Int(olds * batch),
            Int(inputs),
            Int(self.taps),
            Int(outputs),
            Int(depth),
            Signed(reach.first * batch as i64),
            Signed(reach.step * batch as i64),
            Int(batch),
            Int(stride),
            flag(add.is_some()),
            flag(epilogue.numbers),
            flag(epilogue.halves),
            flag(epilogue.slope.is_some()),
            Float(epilogue.slope.unwrap_or(1.0) as f32),
        ];
        if rows > 0 {
            let tile = Tile::of(rows, outputs);
            let all_taps = (self.taps - 1) * reach.step.unsigned_abs() as usize * batch;
            let (name, shared) = tile.kernel(inputs, all_taps);
            let blocks = tile.blocks(rows, outputs);
            Launch { module: MODULE, name, blocks, threads: tile.threads, shared }.run(device, &arguments)?;
        }
        Ok(HalvedSignal { halves, numbers })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a block may have on GPUs of compute capability 8.6 and 12.0, which have the least.
    const LEAST_SHARED: usize = 99 << 10;

    #[test]
    fn few_results_are_shared_among_many_blocks_and_every_tile_has_room_on_every_gpu() {
        let name = |rows, outputs| Tile::of(rows, outputs).name;
        assert_eq!(name(640, 1024), SMALL.name);
        assert_eq!(name(2560, 512), MIDDLE.name);
        assert_eq!(name(10240, 256), LARGE.name);
        assert_eq!(name(100_000, 1), TALL.name);
        for tile in [SMALL, MIDDLE, LARGE, TALL] {
            for reach in [0, 12, MOST_REACH, MOST_REACH + 1] {
                let (name, shared) = tile.kernel(64, reach);
                assert!(shared <= LEAST_SHARED, "{name}: {shared} bytes");
            }
        }
    }
}
