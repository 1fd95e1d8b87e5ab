//! Signals over time and the history of a causal convolution: tensors, or split halves on a GPU's tensor cores.

use candle_core::{Result, Tensor};

use crate::kernels::{
    activation::prelu,
    gpu::tensor_cores::{HalvedSignal, last_of},
};

/// A signal, \[T, B, C\]: a tensor, or for a GPU's tensor cores numbers split into halves.
#[derive(Debug, Clone)]
pub enum Signal {
    /// As it is.
    Plain(Tensor),
    /// Split.
    Halved(HalvedSignal),
}

impl From<&Tensor> for Signal {
    fn from(tensor: &Tensor) -> Self {
        Self::Plain(tensor.clone())
    }
}

impl From<&Self> for Signal {
    fn from(signal: &Self) -> Self {
        signal.clone()
    }
}

impl Signal {
    /// The signal as a tensor \[T, B, C\].
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn tensor(&self) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor.clone()),
            Self::Halved(signal) => signal.tensor(),
        }
    }

    pub(super) fn halves(&self) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => HalvedSignal::of(tensor)?.halves(),
            Self::Halved(signal) => signal.halves(),
        }
    }

    /// Each place repeated: \[T · times, B, C\].
    ///
    /// # Errors
    /// When the device has no memory for it.
    pub fn repeated(&self, times: usize) -> Result<Self> {
        match self {
            Self::Plain(xs) => {
                let (length, batch, channels) = xs.dims3()?;
                let repeated = xs.unsqueeze(1)?.broadcast_as((length, times, batch, channels))?.contiguous()?;
                Ok(Self::Plain(repeated.reshape((length * times, batch, channels))?))
            }
            Self::Halved(signal) => Ok(Self::Halved(signal.repeated(times)?)),
        }
    }
}

/// The history of a causal convolution, \[reach, B, C\] (halves: \[2, reach, B, C\]), and whether it is the zeros
/// before the first input.
#[derive(Debug, Clone)]
pub struct ConvHistory(pub(super) Tensor, pub(super) bool);

impl ConvHistory {
    /// The history with these inputs, \[reach, B, C\].
    pub fn of(inputs: Tensor) -> Self {
        Self(inputs, false)
    }

    /// The zeros before the first input.
    pub(super) fn zero_history(zeros: Tensor) -> Self {
        Self(zeros, true)
    }

    /// Old and new inputs one after the other; the last of them become the history.
    pub(super) fn see(&mut self, xs: &Tensor) -> Result<Tensor> {
        self.1 = false;
        let seen = Tensor::cat(&[&self.0, xs], 0)?;
        self.0 = seen.narrow(0, xs.dim(0)?, self.0.dim(0)?)?.contiguous()?;
        Ok(seen)
    }

    /// The halves of old inputs; the last of old and new ones become the history.
    pub(super) fn exchange(&mut self, xs: &Tensor) -> Result<Tensor> {
        let old = if self.0.rank() == 4 { self.0.clone() } else { HalvedSignal::of(&self.0)?.halves()? };
        let last = match old.dim(1)? {
            0 => old.clone(),
            reach => last_of(&old, xs, reach)?,
        };
        *self = Self(last, false);
        Ok(old)
    }
}

/// Operations fused behind a convolution.
#[derive(Debug, Clone, Default)]
pub struct ConvEpilogue {
    /// A parametric ReLU with this slope.
    pub slope: Option<f64>,
    /// Then this is added, \[T, B, out\].
    pub add: Option<Signal>,
    /// Use of the results.
    pub results: Results,
}

/// The use of a convolution's results, which decides their form on tensor cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Results {
    /// To be multiplied, and to be added to.
    #[default]
    Both,
    /// To be multiplied.
    Multiplied,
    /// To be read.
    Read,
}

/// The same with a tensor to be added.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Then<'a> {
    pub(super) slope: Option<f64>,
    pub(super) add: Option<&'a Tensor>,
}

impl Then<'_> {
    pub(super) fn apply(self, mut ys: Tensor) -> Result<Tensor> {
        if let Some(slope) = self.slope {
            ys = prelu(&ys, slope)?;
        }
        match self.add {
            Some(add) => ys + add,
            None => Ok(ys),
        }
    }
}
