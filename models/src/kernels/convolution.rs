//! Convolutions over time as matrix products, time first: \[T, B, C\].
//!
//! The history of a causal convolution is a separate value, so a signal can be fed in pieces. With time first, the
//! history lies directly before the new inputs, and both channels of a stereo signal are rows of the same product.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::{
    Linear,
    cpu::{self, KernelSet, Rows, matmul},
    cpu_dispatch::{is_plain, with_numbers},
    gpu::{
        DilatedConv,
        tensor_cores::{self, Reach, TapWeight},
    },
    linear::add_bias,
};

mod signal;
#[cfg(test)]
mod tests;

use signal::Then;
pub use signal::{ConvEpilogue, ConvHistory, Results, Signal};

/// A convolution on tensor cores; updates its history.
fn convolve(
    weight: &TapWeight,
    xs: &Signal,
    history: &mut ConvHistory,
    reach: Reach,
    epilogue: ConvEpilogue,
) -> Result<Signal> {
    let xs = xs.halves()?;
    let old = history.exchange(&xs)?;
    let ConvEpilogue { slope, add, results } = epilogue;
    // The halves of what is added are let go here.
    let add = add.map(|signal| signal.tensor()).transpose()?;
    let fused = tensor_cores::TapEpilogue {
        slope,
        add: add.as_ref(),
        numbers: results != Results::Multiplied,
        halves: results != Results::Read,
    };
    Ok(Signal::Halved(weight.convolve(&xs, &old, reach, fused)?))
}

/// The product of a convolution.
#[derive(Debug, Clone)]
enum Product {
    /// Rows of inputs side by side.
    Rows(Linear),
    /// Inputs where they lie, on a GPU's tensor cores.
    Places(TapWeight),
}

impl Product {
    /// The zero history of `batch` channels.
    fn zero_history(&self, reach: usize, batch: usize, inputs: usize, device: &Device) -> Result<ConvHistory> {
        Ok(ConvHistory::zero_history(match self {
            Self::Rows(_) => Tensor::zeros((reach, batch, inputs), DType::F32, device)?,
            Self::Places(weight) => weight.zero_history(reach, batch)?,
        }))
    }

    fn on_tensor_cores(self, taps: usize) -> Result<Self> {
        if let Self::Rows(product) = &self
            && let Some((weight, Some(bias))) = product.tensors()
            && let Some(weight) = TapWeight::of(&weight, bias, taps)?
        {
            return Ok(Self::Places(weight));
        }
        Ok(self)
    }
}

/// A causal convolution.
#[derive(Debug, Clone)]
pub struct CausalConv {
    product: Product,
    taps: usize,
    dilation: usize,
    inputs: usize,
}

impl CausalConv {
    /// From a weight \[out, in, taps\] and a bias \[out\].
    ///
    /// # Errors
    /// When the weight has not three dimensions.
    pub fn new(weight: &Tensor, bias: Tensor, dilation: usize) -> Result<Self> {
        let (_, inputs, taps) = weight.dims3()?;
        Ok(Self { product: Product::Rows(taps_as_product(weight, bias)?), taps, dilation, inputs })
    }

    /// The same weights, on a GPU as its tensor cores take them with f32's accuracy, where they can be made so.
    /// Gradients do not come back through it.
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn on_tensor_cores(self) -> Result<Self> {
        Ok(Self { product: self.product.on_tensor_cores(self.taps)?, ..self })
    }

    /// Whether a row's result is independent of the number of rows.
    pub fn is_row_stable(&self) -> bool {
        is_row_stable(&self.product)
    }

    fn reach(&self) -> usize {
        (self.taps - 1) * self.dilation
    }

    /// The history before the first sample: zeros.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn zero_history(&self, batch: usize, device: &Device) -> Result<ConvHistory> {
        self.product.zero_history(self.reach(), batch, self.inputs, device)
    }

    /// # Shapes
    /// - `xs` \[T, B, in\], result \[T, B, out\]
    ///
    /// # Errors
    /// When batch or channels differ from those of the history.
    pub fn forward(&self, xs: impl Into<Signal>, history: &mut ConvHistory, epilogue: ConvEpilogue) -> Result<Signal> {
        let xs = xs.into();
        let product = match &self.product {
            Product::Rows(product) => product,
            Product::Places(weight) => {
                let reach = Reach { first: -(self.reach() as i64), step: self.dilation as i64, stride: 1 };
                return convolve(weight, &xs, history, reach, epilogue);
            }
        };
        let add = epilogue.add.as_ref().map(Signal::tensor).transpose()?;
        let then = Then { slope: epilogue.slope, add: add.as_ref() };
        Ok(Signal::Plain(self.forward_rows(product, &xs.tensor()?, history, then)?))
    }

    fn forward_rows(&self, product: &Linear, xs: &Tensor, history: &mut ConvHistory, then: Then<'_>) -> Result<Tensor> {
        let (length, batch, inputs) = xs.dims3()?;
        if history.0.dims() != [self.reach(), batch, inputs] || inputs != self.inputs {
            bail!("a convolution of {} inputs was given {:?} after {:?}", self.inputs, xs.shape(), history.0.shape())
        }
        let runs: Vec<usize> = (0..self.taps).map(|tap| tap * self.dilation * batch * inputs).collect();
        if let Some(ys) = fused_over_time(product, xs, history, &runs, then)? {
            return Ok(ys);
        }
        if let Some(ys) = self.with_zero_history(product, xs, history)? {
            return then.apply(ys);
        }
        let taps = if self.reach() == 0 {
            xs.clone()
        } else {
            let seen = history.see(xs)?;
            let taps = (0..self.taps).map(|tap| seen.narrow(0, tap * self.dilation, length));
            Tensor::cat(&taps.collect::<Result<Vec<_>>>()?, 2)?.contiguous()?
        };
        then.apply(product.forward(&taps)?)
    }

    /// The convolution of a signal with a zero history on a GPU, if there is a kernel for so few channels: in training,
    /// every history is zero.
    fn with_zero_history(&self, product: &Linear, xs: &Tensor, history: &mut ConvHistory) -> Result<Option<Tensor>> {
        let (length, batch, inputs) = xs.dims3()?;
        let kernel = DilatedConv { taps: self.taps, step: (self.dilation * batch) as i64 };
        if !xs.device().is_cuda() || !history.1 || self.taps == 1 || length < self.reach() {
            return Ok(None);
        }
        let outputs = product.outputs();
        let Some((weight, bias)) = product.tensors().filter(|_| kernel.fits(inputs, outputs)) else {
            return Ok(None);
        };
        if weight.dtype() != DType::F32 {
            return Ok(None);
        }
        let ys = kernel.apply(&xs.reshape((length * batch, inputs))?, &weight)?;
        let ys = if let Some(bias) = bias { add_bias(&ys, bias)? } else { ys };
        let last = xs.detach().narrow(0, length - self.reach(), self.reach())?.contiguous()?;
        *history = ConvHistory(last, false);
        Ok(Some(ys.reshape((length, batch, outputs))?))
    }
}

/// A transposed convolution whose kernel is twice its stride, cut at its right end by one stride: each input makes
/// `stride` outputs, to which the input before it adds.
#[derive(Debug, Clone)]
pub struct UpConv {
    product: Product,
    stride: usize,
    inputs: usize,
    outputs: usize,
}

impl UpConv {
    /// From a weight \[in, out, 2 · stride\] and a bias \[out\].
    ///
    /// # Errors
    /// When the weight has another shape.
    pub fn new(weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        let (inputs, outputs, taps) = weight.dims3()?;
        if taps != 2 * stride {
            bail!("a transposed convolution of stride {stride} needs {} taps, found {taps}", 2 * stride)
        }
        // [in, out, 2, stride] -> rows (which half, in), columns (place in the stride, out). The first half of the
        // kernel belongs to the input of this place, the second half to the input before it.
        let product = weight.reshape((inputs, outputs, 2, stride))?.permute((3, 1, 2, 0))?;
        let product = product.reshape((stride * outputs, 2 * inputs))?;
        let bias = Tensor::cat(&vec![bias; stride], 0)?;
        Ok(Self { product: Product::Rows(Linear::new(&product, Some(bias))?), stride, inputs, outputs })
    }

    /// As [`CausalConv::on_tensor_cores`].
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn on_tensor_cores(self) -> Result<Self> {
        if !self.outputs.is_multiple_of(2) {
            return Ok(self);
        }
        Ok(Self { product: self.product.on_tensor_cores(2)?, ..self })
    }

    /// Whether a row's result is independent of the number of rows.
    pub fn is_row_stable(&self) -> bool {
        is_row_stable(&self.product)
    }

    /// The history before the first sample: zeros.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn zero_history(&self, batch: usize, device: &Device) -> Result<ConvHistory> {
        self.product.zero_history(1, batch, self.inputs, device)
    }

    /// # Shapes
    /// - `xs` \[T, B, in\], result \[stride · T, B, out\]
    ///
    /// # Errors
    /// When batch or channels differ from those of the history.
    pub fn forward(&self, xs: impl Into<Signal>, history: &mut ConvHistory) -> Result<Signal> {
        let xs = xs.into();
        match &self.product {
            Product::Rows(product) => Ok(Signal::Plain(self.forward_rows(product, &xs.tensor()?, history)?)),
            Product::Places(weight) => {
                let reach = Reach { first: 0, step: -1, stride: self.stride };
                convolve(weight, &xs, history, reach, ConvEpilogue::default())
            }
        }
    }

    fn forward_rows(&self, product: &Linear, xs: &Tensor, history: &mut ConvHistory) -> Result<Tensor> {
        let (length, batch, inputs) = xs.dims3()?;
        if history.0.dims() != [1, batch, self.inputs] || inputs != self.inputs {
            bail!("a convolution of {} inputs was given {:?} after {:?}", self.inputs, xs.shape(), history.0.shape())
        }
        let ys = match fused_over_time(product, xs, history, &[batch * inputs, 0], Then::default())? {
            Some(ys) => ys,
            None => {
                let seen = history.see(xs)?;
                product.forward(&Tensor::cat(&[xs, &seen.narrow(0, 0, length)?], 2)?.contiguous()?)?
            }
        };
        // [T, B, stride · out] -> [stride · T, B, out]
        let ys = ys.reshape((length, batch, self.stride, self.outputs))?.transpose(1, 2)?;
        ys.contiguous()?.reshape((length * self.stride, batch, self.outputs))
    }
}

/// Whether a row's result is independent of the number of rows: true for the kernels of this crate, false for candle's
/// product.
fn is_row_stable(product: &Product) -> bool {
    match product {
        Product::Rows(product) => product.kernel().is_some(),
        Product::Places(_) => true,
    }
}

/// The product of packed weights with rows that begin at every place of old and new inputs, each made of the inputs at
/// `runs`, counted from its beginning. `None` when there is no kernel for it; the history is then as it was.
fn fused_over_time(
    product: &Linear,
    xs: &Tensor,
    history: &mut ConvHistory,
    runs: &[usize],
    then: Then<'_>,
) -> Result<Option<Tensor>> {
    let ((reach, ..), (length, batch, inputs)) = (history.0.dims3()?, xs.dims3()?);
    let shape = [length, batch, product.outputs()];
    let fits = |add: &Tensor| is_plain(add) && add.dims() == shape;
    let Some((weights, bias)) = product.kernel().filter(|_| is_plain(xs) && is_plain(&history.0)) else {
        return Ok(None);
    };
    if !then.add.is_none_or(fits) {
        return Ok(None);
    }
    let mut out = vec![0f32; shape.iter().product()];
    // Without an addend the tensor is not read, so any may stand for it.
    let kernel = |[old, new, add]: [&[f32]; 3]| {
        let add = then.add.map(|_| add);
        let slope = then.slope.map(|slope| slope as f32);
        let step = batch * inputs;
        // Only the first results depend on old inputs. With many others, those read the new inputs in place; with few,
        // a copy costs less than reading the weights a second time.
        let first = if length > 4 * reach { reach } else { length };
        let seen = [old, &new[..first * step]].concat();
        let mut multiply = |numbers: &[f32], times: std::ops::Range<usize>| {
            let range = times.start * batch * product.outputs()..times.end * batch * product.outputs();
            let rows = Rows { numbers, count: times.len() * batch, stride: inputs, runs, width: inputs };
            let finish = cpu::ProductEpilogue { bias, slope, add: add.map(|add| &add[range.clone()]) };
            matmul(KernelSet::chosen(), rows, weights, finish, &mut out[range]);
        };
        multiply(&seen, 0..first);
        multiply(new, first..length);
        let last = if length >= reach { &new[(length - reach) * step..] } else { &seen[length * step..] };
        last.to_vec()
    };
    let last = with_numbers([&history.0, xs, then.add.unwrap_or(xs)], kernel)?;
    *history = ConvHistory(Tensor::from_vec(last, (reach, batch, inputs), xs.device())?, false);
    Ok(Some(Tensor::from_vec(out, &shape, xs.device())?))
}

/// The windows of `taps` inputs around each place, with zeros beyond both ends, side by side on the channel axis:
/// what a centred convolution multiplies its weights with.
///
/// # Shapes
/// - `xs` \[B, T, C\], result \[B, T, taps · C\]
///
/// # Errors
/// When `xs` has not three dimensions.
pub fn centred_windows(xs: &Tensor, taps: usize) -> Result<Tensor> {
    let (batch, length, channels) = xs.dims3()?;
    let margin = Tensor::zeros((batch, taps / 2, channels), xs.dtype(), xs.device())?;
    let padded = Tensor::cat(&[&margin, xs, &margin], 1)?;
    let shifted = (0..taps).map(|tap| padded.narrow(1, tap, length)).collect::<Result<Vec<_>>>()?;
    Tensor::cat(&shifted, 2)?.contiguous()
}

/// A convolution weight \[out, in, taps\] as the matrix that multiplies `taps` inputs side by side.
pub fn taps_as_product(weight: &Tensor, bias: Tensor) -> Result<Linear> {
    let (outputs, inputs, taps) = weight.dims3()?;
    Linear::new(&weight.permute((0, 2, 1))?.reshape((outputs, taps * inputs))?, Some(bias))
}
