//! Split rows, and the partial results of their products.

use candle_core::{D, DType, Device, Result, Tensor, bail};

use super::{
    SHARED,
    launch::{
        Argument::{Array, Float, Int, Long},
        Launch, Module, unwritten,
    },
};
use crate::kernels::gpu::contiguous_aligned;

#[cfg(feature = "cuda")]
const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rows.fatbin"));
#[cfg(not(feature = "cuda"))]
const IMAGE: &[u8] = &[];
const MODULE: Module = Module { name: "rows", image: IMAGE };
/// Threads that share a row.
const THREADS: usize = 256;
/// Numbers that a thread reads at once.
const AT_ONCE: usize = 4;

/// Where the two halves of rows lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrangement {
    /// All high halves, then all low ones: \[2, rows, width\]. A product with a weight of one half has two parts.
    Stacked,
    /// Each row's high half, then its low one: \[rows, 2, width\]. A product with a weight of two halves sums over both.
    SideBySide,
}

/// Rows as the sums of two f16 numbers each, times a power of two for each row.
#[derive(Debug, Clone)]
pub struct SplitRows {
    /// As `arrangement` says.
    pub(super) halves: Tensor,
    pub(super) arrangement: Arrangement,
    /// What the sums of a row are multiplied with, \[rows\].
    pub(super) unscale: Tensor,
    /// The dimensions that the rows are, all but the last.
    pub(super) outer: Vec<usize>,
}

/// A product's results: the sum of the parts, times the row's power of two.
#[derive(Debug, Clone)]
pub struct PartialResults {
    /// \[parts, rows, width\], one part or two.
    pub(super) numbers: Tensor,
    pub(super) unscale: Tensor,
    pub(super) outer: Vec<usize>,
}

/// Whether a row of this length can be split.
pub fn fits(width: usize) -> bool {
    width.is_multiple_of(AT_ONCE) && width * size_of::<f32>() <= SHARED
}

pub(super) fn launch(name: &'static str, rows: usize, width: usize) -> Launch {
    Launch { module: MODULE, name, blocks: [rows, 1], threads: THREADS, shared: width * size_of::<f32>() }
}

impl SplitRows {
    pub(super) fn unwritten(outer: &[usize], width: usize, arrangement: Arrangement, device: &Device) -> Result<Self> {
        if !fits(width) {
            bail!("rows of {width} numbers cannot be split: a multiple of {AT_ONCE} that {SHARED} bytes hold can")
        }
        let rows = outer.iter().product();
        let shape = match arrangement {
            Arrangement::Stacked => [2, rows, width],
            Arrangement::SideBySide => [rows, 2, width],
        };
        Ok(Self {
            halves: unwritten(&shape, DType::F16, device)?,
            arrangement,
            unscale: unwritten(&[rows], DType::F32, device)?,
            outer: outer.to_vec(),
        })
    }

    /// Splits rows.
    ///
    /// # Shapes
    /// - `xs` \[…, width\]
    ///
    /// # Errors
    /// When they are too long, or do not lie on a GPU.
    pub fn of(xs: &Tensor, arrangement: Arrangement) -> Result<Self> {
        let xs = contiguous_aligned(xs)?;
        let Some((width, outer)) = xs.dims().split_last() else { bail!("a number alone is no row") };
        let split = Self::unwritten(outer, *width, arrangement, xs.device())?;
        let [stride, apart] = split.strides()?;
        let arguments =
            [Array(&xs), Array(&split.halves), Array(&split.unscale), Int(*width), Int(stride), Long(apart)];
        launch("split_rows", split.rows(), *width).run(xs.device(), &arguments)?;
        Ok(split)
    }

    /// Splits, for each place, itself and the places around it, `taps` in all, with zeros beyond both ends.
    ///
    /// # Shapes
    /// - `xs` and `beside` \[B, T, any\]: the channels of a place, one after the other
    ///
    /// # Errors
    /// When they are too many, or the shapes do not fit.
    pub fn windows(xs: &Tensor, beside: Option<&Tensor>, taps: usize, arrangement: Arrangement) -> Result<Self> {
        let (batch, positions, first) = xs.dims3()?;
        let (xs, beside) = (contiguous_aligned(xs)?, beside.map(contiguous_aligned).transpose()?);
        let second = beside.as_ref().map_or(Ok(0), |beside| beside.dim(D::Minus1))?;
        if beside.as_ref().is_some_and(|beside| beside.dims()[..2] != [batch, positions])
            || !first.is_multiple_of(AT_ONCE)
            || !second.is_multiple_of(AT_ONCE)
        {
            bail!("channels {:?} beside {:?}", beside.as_ref().map(Tensor::dims), xs.dims())
        }
        let split = Self::unwritten(&[batch, positions], taps * (first + second), arrangement, xs.device())?;
        let [stride, apart] = split.strides()?;
        let arguments = [
            Array(&xs),
            Array(beside.as_ref().unwrap_or(&xs)),
            Array(&split.halves),
            Array(&split.unscale),
            Int(first),
            Int(second),
            Int(positions),
            Int(taps),
            Int(stride),
            Long(apart),
        ];
        launch("split_windows", split.rows(), taps * (first + second)).run(xs.device(), &arguments)?;
        Ok(split)
    }

    pub(super) fn rows(&self) -> usize {
        self.outer.iter().product()
    }

    pub(super) fn width(&self) -> Result<usize> {
        self.halves.dim(D::Minus1)
    }

    /// Numbers from one row to the next one, and from its high half to its low one.
    pub(super) fn strides(&self) -> Result<[usize; 2]> {
        let width = self.width()?;
        Ok(match self.arrangement {
            Arrangement::Stacked => [width, self.rows() * width],
            Arrangement::SideBySide => [2 * width, width],
        })
    }
}

impl PartialResults {
    pub(super) fn width(&self) -> Result<usize> {
        self.numbers.dim(D::Minus1)
    }

    /// Numbers from one part to the other; 0 where there is one.
    pub(super) fn apart(&self) -> Result<usize> {
        let (parts, rows, width) = self.numbers.dims3()?;
        Ok(if parts == 2 { rows * width } else { 0 })
    }

    pub(super) fn rows(&self) -> usize {
        self.outer.iter().product()
    }

    /// The results in f32, with a bias where there is one.
    ///
    /// # Shapes
    /// - `bias` \[width\], result \[…, width\]
    ///
    /// # Errors
    /// When the bias has another width.
    pub fn finish(&self, bias: Option<&Tensor>) -> Result<Tensor> {
        let width = self.width()?;
        if bias.is_some_and(|bias| bias.dims() != [width]) {
            bail!("a bias of {:?} for {width} results", bias.map(Tensor::dims))
        }
        let out = unwritten(&[&self.outer[..], &[width]].concat(), DType::F32, self.numbers.device())?;
        let arguments = [
            Array(&self.numbers),
            Array(&self.unscale),
            Array(bias.unwrap_or(&self.unscale)),
            Array(&out),
            Long(self.apart()?),
            Int(width),
            Int(usize::from(bias.is_some())),
        ];
        Launch { shared: 0, ..launch("finish_rows", self.rows(), 0) }.run(out.device(), &arguments)?;
        Ok(out)
    }
}

/// A weight in f32, times `scale`, as high and low halves in f16.
pub(super) fn split_weight(weight: &Tensor, scale: f32) -> Result<[Tensor; 2]> {
    let weight = contiguous_aligned(weight)?;
    let halves = || unwritten(weight.dims(), DType::F16, weight.device());
    let (high, low) = (halves()?, halves()?);
    let count = weight.elem_count();
    let arguments = [Array(&weight), Array(&high), Array(&low), Long(count), Float(scale)];
    let blocks = count.div_ceil(THREADS).clamp(1, 1 << 12);
    Launch { module: MODULE, name: "split_weight", blocks: [blocks, 1], threads: THREADS, shared: 0 }
        .run(weight.device(), &arguments)?;
    Ok([high, low])
}
