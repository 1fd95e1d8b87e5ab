//! Convolutions over time as matrix products, time first: \[B, T, C\].
//!
//! A causal convolution carries what it has seen as a value of its own, so a signal can be fed in pieces.

use candle_core::{Device, Result, Tensor};

use super::Linear;

/// The inputs that a causal convolution still looks back at, \[B, reach, C\].
#[derive(Debug, Clone)]
pub struct ConvHistory(Tensor);

/// A convolution that looks only back.
#[derive(Debug, Clone)]
pub struct CausalConv {
    product: Linear,
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
        Ok(Self { product: taps_as_product(weight, bias)?, taps, dilation, inputs })
    }

    fn reach(&self) -> usize {
        (self.taps - 1) * self.dilation
    }

    /// The history before the first sample: silence.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn silence(&self, batch: usize, device: &Device) -> Result<ConvHistory> {
        Ok(ConvHistory(Tensor::zeros((batch, self.reach(), self.inputs), candle_core::DType::F32, device)?))
    }

    /// # Shapes
    /// - `xs` \[B, T, in\], result \[B, T, out\]
    ///
    /// # Errors
    /// When batch or channels differ from those of the history.
    pub fn forward(&self, xs: &Tensor, history: &mut ConvHistory) -> Result<Tensor> {
        let length = xs.dim(1)?;
        if self.reach() == 0 {
            return self.product.forward(xs);
        }
        let seen = Tensor::cat(&[&history.0, xs], 1)?;
        history.0 = seen.narrow(1, length, self.reach())?.contiguous()?;
        let taps = (0..self.taps).map(|tap| seen.narrow(1, tap * self.dilation, length)).collect::<Result<Vec<_>>>()?;
        self.product.forward(&Tensor::cat(&taps, 2)?.contiguous()?)
    }
}

/// A transposed convolution whose kernel is twice its stride, cut at its right end by one stride: each input makes
/// `stride` outputs, to which the input before it adds.
#[derive(Debug, Clone)]
pub struct UpConv {
    product: Linear,
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
            candle_core::bail!("a transposed convolution of stride {stride} needs {} taps, found {taps}", 2 * stride)
        }
        // [in, out, 2, stride] -> rows (which half, in), columns (place in the stride, out). The first half of the
        // kernel belongs to the input of this place, the second half to the input before it.
        let product = weight.reshape((inputs, outputs, 2, stride))?.permute((3, 1, 2, 0))?;
        let product = product.reshape((stride * outputs, 2 * inputs))?;
        let bias = Tensor::cat(&vec![bias; stride], 0)?;
        Ok(Self { product: Linear::new(&product, Some(bias))?, stride, inputs, outputs })
    }

    /// The history before the first sample: silence.
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn silence(&self, batch: usize, device: &Device) -> Result<ConvHistory> {
        Ok(ConvHistory(Tensor::zeros((batch, 1, self.inputs), candle_core::DType::F32, device)?))
    }

    /// # Shapes
    /// - `xs` \[B, T, in\], result \[B, stride · T, out\]
    ///
    /// # Errors
    /// When batch or channels differ from those of the history.
    pub fn forward(&self, xs: &Tensor, history: &mut ConvHistory) -> Result<Tensor> {
        let (batch, length, _) = xs.dims3()?;
        let seen = Tensor::cat(&[&history.0, xs], 1)?;
        history.0 = seen.narrow(1, length, 1)?.contiguous()?;
        let pairs = Tensor::cat(&[xs, &seen.narrow(1, 0, length)?], 2)?.contiguous()?;
        self.product.forward(&pairs)?.reshape((batch, length * self.stride, self.outputs))
    }
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
