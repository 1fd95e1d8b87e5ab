//! Operands and results of products: tensors, or on a GPU's tensor cores split rows and partial results, which fused
//! operations between products read and write.

use candle_core::{Result, Tensor, bail};

use super::{
    Linear, centred_windows,
    cpu_dispatch::{is_plain, with_numbers},
    gpu::tensor_cores::{PartialResults, SplitRows},
};

/// Rows in the form that one product takes.
#[derive(Debug, Clone)]
pub enum Operand {
    /// As they are.
    Plain(Tensor),
    /// Split for tensor cores.
    Split(SplitRows),
}

/// The results of a product.
#[derive(Debug, Clone)]
pub enum ProductResult {
    /// As they are.
    Plain(Tensor),
    /// Partial ones, which are added where they are used.
    Partial(PartialResults),
}

impl Operand {
    /// Rows as an operand of `product`.
    ///
    /// # Shapes
    /// - `rows` \[…, in\]
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn of(rows: Tensor, product: &Linear) -> Result<Self> {
        match product.arrangement() {
            Some(arrangement) => Ok(Self::Split(SplitRows::of(&rows, arrangement)?)),
            None => Ok(Self::Plain(rows)),
        }
    }

    /// Of each place what a centred convolution of `taps` taps multiplies, made ready for `product`.
    ///
    /// # Shapes
    /// - `xs` and `beside` \[B, T, any\]: the channels of a place, one after the other
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn windows(xs: &Tensor, beside: Option<&Tensor>, taps: usize, product: &Linear) -> Result<Self> {
        match (product.arrangement(), beside) {
            (Some(arrangement), _) => Ok(Self::Split(SplitRows::windows(xs, beside, taps, arrangement)?)),
            (None, beside) if is_plain(xs) && beside.is_none_or(is_plain) => {
                Ok(Self::Plain(copied_windows(xs, beside.unwrap_or(xs), beside.is_some(), taps)?))
            }
            (None, None) => Ok(Self::Plain(centred_windows(xs, taps)?)),
            (None, Some(beside)) => {
                let joined = Tensor::cat(&[xs, beside], 2)?.contiguous()?;
                Ok(Self::Plain(centred_windows(&joined, taps)?))
            }
        }
    }
}

impl ProductResult {
    /// The results as a tensor.
    ///
    /// # Shapes
    /// - result \[…, out\]
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn tensor(self) -> Result<Tensor> {
        match self {
            Self::Plain(tensor) => Ok(tensor),
            Self::Partial(parts) => parts.finish(None),
        }
    }
}

/// [`centred_windows`] of plain tensors, every number copied once; with `joined` the channels of `beside` come behind
/// those of `xs`.
fn copied_windows(xs: &Tensor, beside: &Tensor, joined: bool, taps: usize) -> Result<Tensor> {
    let ((batch, length, own), (.., other)) = (xs.dims3()?, beside.dims3()?);
    if beside.dims()[..2] != xs.dims()[..2] {
        bail!("channels of {:?} beside those of {:?}", beside.shape(), xs.shape())
    }
    let other = if joined { other } else { 0 };
    let width = taps * (own + other);
    let mut out = Vec::with_capacity(batch * length * width);
    with_numbers([xs, beside], |[xs, beside]| {
        for place in 0..batch * length {
            for tap in 0..taps {
                match (place % length + tap).checked_sub(taps / 2).filter(|time| *time < length) {
                    None => out.resize(out.len() + own + other, 0.0), // beyond an end
                    Some(time) => {
                        let place = place - place % length + time;
                        out.extend_from_slice(&xs[place * own..][..own]);
                        out.extend_from_slice(&beside[place * other..][..other]);
                    }
                }
            }
        }
    })?;
    Tensor::from_vec(out, (batch, length, width), xs.device())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    #[test]
    fn windows_of_plain_tensors_are_those_of_the_formula() {
        let tensor = |channels: usize, from: f32| {
            let numbers = (0..2 * 5 * channels).map(|place| from + place as f32).collect();
            Tensor::from_vec(numbers, (2, 5, channels), &Device::Cpu).expect("a tensor")
        };
        let (xs, beside) = (tensor(3, 1.0), tensor(2, 100.0));
        let weight = Tensor::zeros((1, 1), DType::F32, &Device::Cpu).expect("a weight");
        let product = Linear::new(&weight, None).expect("a product");
        for taps in [1, 3, 7] {
            for beside in [None, Some(&beside)] {
                let windows = |xs: &Tensor| match Operand::windows(xs, beside, taps, &product) {
                    Ok(Operand::Plain(windows)) => windows.to_vec3::<f32>().expect("numbers"),
                    _ => panic!("windows on a processor"),
                };
                let tracked = Var::from_tensor(&xs).expect("a variable");
                assert_eq!(windows(&xs), windows(&tracked), "{taps} taps, beside {}", beside.is_some());
            }
        }
    }
}
