//! Dilated convolutions of few channels, and the activation behind them, with gradients.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendStorage};

use super::contiguous_aligned;
#[cfg(feature = "cuda")]
use super::launch::{self, Grid, launched, numbers as numbers_there};

/// Most channels of either side: with more, a matrix product over rows side by side is as fast.
const MOST_CHANNELS: usize = 48;
/// Outputs that a block computes at once, where they divide the outputs.
#[cfg(feature = "cuda")]
const GROUPS: [usize; 3] = [12, 4, 1];
/// Threads of a block.
#[cfg(feature = "cuda")]
const THREADS: usize = 256;
/// Parts that a weight's gradient is summed in, and the fewest rows of one.
const PARTS: usize = 256;
const FEWEST_ROWS: usize = 256;

/// A dilated causal convolution with a zero history: row r of the result reads rows r, r - step, r - 2 step … of the
/// input, of which the first tap reads the oldest.
///
/// # Shapes
/// - input \[rows, in\], weight \[out, taps · in\], result \[rows, out\]
#[derive(Debug, Clone, Copy)]
pub struct DilatedConv {
    /// How many rows an output reads.
    pub taps: usize,
    /// Rows between two of them; negative for an anticausal one.
    pub step: i64,
}

/// The gradient of a [`DilatedConv`]' weight in parts, \[parts, out · taps · in\], from its input and its result's
/// gradient.
#[derive(Debug, Clone, Copy)]
struct DilatedConvGradient(DilatedConv);

/// Rows and channels of both inputs of an operation here.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl DilatedConv {
    /// Whether the kernels take this number of channels.
    pub fn fits(self, inputs: usize, outputs: usize) -> bool {
        inputs <= MOST_CHANNELS && outputs <= MOST_CHANNELS
    }

    /// The convolution.
    ///
    /// # Errors
    /// When shapes do not fit each other or the kernels.
    pub fn apply(self, xs: &Tensor, weight: &Tensor) -> Result<Tensor> {
        contiguous_aligned(xs)?.apply_op2(&contiguous_aligned(weight)?, self)
    }

    fn sizes(self, xs: &Layout, weight: &Layout) -> Result<Sizes> {
        let ((rows, inputs), (outputs, width)) = (xs.shape().dims2()?, weight.shape().dims2()?);
        if width != self.taps * inputs || !self.fits(inputs, outputs) {
            bail!("a convolution of {} taps from {inputs} channels was given weights {:?}", self.taps, weight.shape())
        }
        Ok(Sizes { rows, inputs, outputs })
    }

    /// How far back tap `tap` reads.
    fn back(self, tap: usize) -> i64 {
        (self.taps - 1 - tap) as i64 * self.step
    }

    /// Calls `each` with every row and every row that it reads through a tap.
    fn heard(self, rows: usize, mut each: impl FnMut(usize, usize, usize)) {
        for row in 0..rows {
            for tap in 0..self.taps {
                let seen = row as i64 - self.back(tap);
                if (0..rows as i64).contains(&seen) {
                    each(row, tap, seen as usize);
                }
            }
        }
    }
}

fn numbers<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("contiguous numbers are needed") };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

impl CustomOp2 for DilatedConv {
    fn name(&self) -> &'static str {
        "convolution over rows"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, x: &Layout, weight: &CpuStorage, w: &Layout) -> Result<(CpuStorage, Shape)> {
        let Sizes { rows, inputs, outputs } = self.sizes(x, w)?;
        let (xs, weight) = (numbers(xs, x)?, numbers(weight, w)?);
        let mut ys = vec![0f32; rows * outputs];
        self.heard(rows, |row, tap, seen| {
            for (output, y) in ys[row * outputs..][..outputs].iter_mut().enumerate() {
                let weights = &weight[(output * self.taps + tap) * inputs..][..inputs];
                *y += weights.iter().zip(&xs[seen * inputs..]).map(|(w, x)| w * x).sum::<f32>();
            }
        });
        Ok((CpuStorage::F32(ys), Shape::from((rows, outputs))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, xs: &CudaStorage, x: &Layout, weight: &CudaStorage, w: &Layout) -> Result<(CudaStorage, Shape)> {
        let Sizes { rows, inputs, outputs } = self.sizes(x, w)?;
        let group = GROUPS.into_iter().find(|group| outputs.is_multiple_of(*group)).unwrap_or(1);
        let grid = Grid {
            grid_dim: (rows.div_ceil(THREADS).clamp(1, 1 << 16) as u32, (outputs / group) as u32, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: (size_of::<f32>() * self.taps * inputs * group) as u32,
        };
        let ys = launched!(
            xs.device(),
            &format!("taps_forward_{group}"),
            grid,
            rows * outputs,
            [input = numbers_there::<f32>(xs, x)?, filters = numbers_there::<f32>(weight, w)?],
            [
                count = rows as i64,
                ins = inputs as i32,
                outs = outputs as i32,
                taps = self.taps as i32,
                step = self.step
            ]
        );
        Ok((ys, Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (inputs, outputs) = (xs.dim(1)?, weight.dim(0)?);
        let gradient = contiguous_aligned(gradient)?;
        // An input is read by later rows, through the same taps.
        let of_xs = if xs.track_op() {
            let transposed = weight.detach().reshape((outputs, self.taps, inputs))?.permute((2, 1, 0))?;
            let transposed = transposed.contiguous()?.reshape((inputs, self.taps * outputs))?;
            Some(gradient.apply_op2_no_bwd(&transposed, &Self { step: -self.step, ..*self })?)
        } else {
            None
        };
        let of_weight = if weight.track_op() {
            let parts = xs.detach().apply_op2_no_bwd(&gradient, &DilatedConvGradient(*self))?;
            Some(parts.sum(0)?.reshape(weight.shape())?)
        } else {
            None
        };
        Ok((of_xs, of_weight))
    }
}

impl DilatedConvGradient {
    fn sizes(self, xs: &Layout, gradient: &Layout) -> Result<(Sizes, usize)> {
        let ((rows, inputs), (others, outputs)) = (xs.shape().dims2()?, gradient.shape().dims2()?);
        if rows != others || self.0.step < 0 || !self.0.fits(inputs, outputs) {
            bail!("a convolution of {:?} was given a gradient {:?}", xs.shape(), gradient.shape())
        }
        Ok((Sizes { rows, inputs, outputs }, rows.div_ceil(PARTS).max(FEWEST_ROWS)))
    }
}

impl CustomOp2 for DilatedConvGradient {
    fn name(&self) -> &'static str {
        "gradient of a convolution over rows"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, x: &Layout, gradient: &CpuStorage, g: &Layout) -> Result<(CpuStorage, Shape)> {
        let (Sizes { rows, inputs, outputs }, chunk) = self.sizes(x, g)?;
        let (xs, gradient) = (numbers(xs, x)?, numbers(gradient, g)?);
        let (parts, size) = (rows.div_ceil(chunk), outputs * self.0.taps * inputs);
        let mut sums = vec![0f32; parts * size];
        self.0.heard(rows, |row, tap, seen| {
            for output in 0..outputs {
                let place = row / chunk * size + (output * self.0.taps + tap) * inputs;
                for (sum, x) in sums[place..][..inputs].iter_mut().zip(&xs[seen * inputs..]) {
                    *sum += x * gradient[row * outputs + output];
                }
            }
        });
        Ok((CpuStorage::F32(sums), Shape::from((parts, size))))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        xs: &CudaStorage,
        x: &Layout,
        gradient: &CudaStorage,
        g: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (Sizes { rows, inputs, outputs }, chunk) = self.sizes(x, g)?;
        let tile = |channels: usize| if channels.is_multiple_of(4) { 4 } else { 1 };
        let (wide, high) = (tile(inputs), tile(outputs));
        let pairs = inputs / wide * (outputs / high);
        if pairs > THREADS {
            bail!("{inputs} by {outputs} channels are more pairs than a block has threads")
        }
        let (parts, size) = (rows.div_ceil(chunk), outputs * self.0.taps * inputs);
        let grid = Grid {
            grid_dim: (parts as u32, self.0.taps as u32, 1),
            block_dim: (THREADS as u32, 1, 1),
            shared_mem_bytes: (size_of::<f32>() * (THREADS / pairs) * inputs * outputs) as u32,
        };
        let sums = launched!(
            xs.device(),
            &format!("taps_gradient_{wide}_{high}"),
            grid,
            parts * size,
            [input = numbers_there::<f32>(xs, x)?, of_result = numbers_there::<f32>(gradient, g)?],
            [
                count = rows as i64,
                ins = inputs as i32,
                outs = outputs as i32,
                taps = self.0.taps as i32,
                step = self.0.step,
                length = chunk as i64
            ]
        );
        Ok((sums, Shape::from((parts, size))))
    }
}

/// The parametric ReLU: x where x is positive, slope · x elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Prelu(pub f32);

/// Its gradient, from its input and its result's gradient.
#[derive(Debug, Clone, Copy)]
struct PreluGradient(f32);

impl Prelu {
    /// The activation.
    ///
    /// # Errors
    /// When the device fails.
    pub fn apply(self, xs: &Tensor) -> Result<Tensor> {
        contiguous_aligned(xs)?.apply_op1(self)
    }
}

impl CustomOp1 for Prelu {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let ys = numbers(xs, layout)?.iter().map(|x| if *x > 0.0 { *x } else { self.0 * x }).collect();
        Ok((CpuStorage::F32(ys), layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, xs: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let count = layout.shape().elem_count();
        let grid = Grid::for_num_elems(count.min(1 << 28) as u32);
        let ys = launched!(
            xs.device(),
            "prelu_forward",
            grid,
            count,
            [input = numbers_there::<f32>(xs, layout)?],
            [many = count as i64, slope = self.0]
        );
        Ok((ys, layout.shape().clone()))
    }

    fn bwd(&self, xs: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(xs.detach().apply_op2_no_bwd(&contiguous_aligned(gradient)?, &PreluGradient(self.0))?))
    }
}

impl CustomOp2 for PreluGradient {
    fn name(&self) -> &'static str {
        "gradient of prelu"
    }

    fn cpu_fwd(&self, xs: &CpuStorage, x: &Layout, gradient: &CpuStorage, g: &Layout) -> Result<(CpuStorage, Shape)> {
        let both = numbers(xs, x)?.iter().zip(numbers(gradient, g)?);
        let found = both.map(|(x, gradient)| if *x > 0.0 { *gradient } else { self.0 * gradient }).collect();
        Ok((CpuStorage::F32(found), x.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        xs: &CudaStorage,
        x: &Layout,
        gradient: &CudaStorage,
        g: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let count = x.shape().elem_count();
        if g.shape().elem_count() != count {
            bail!("a gradient {:?} for {:?}", g.shape(), x.shape())
        }
        let grid = Grid::for_num_elems(count.min(1 << 28) as u32);
        let found = launched!(
            xs.device(),
            "prelu_gradient",
            grid,
            count,
            [input = numbers_there::<f32>(xs, x)?, of_result = numbers_there::<f32>(gradient, g)?],
            [many = count as i64, slope = self.0]
        );
        Ok((found, x.shape().clone()))
    }
}

#[cfg(test)]
mod tests;
