//! Normalisation by the root mean square and by mean and variance, with AdaLN modulation.

use candle_core::{D, Device, Result, Tensor};

use super::{
    Linear, Operand, ProductResult,
    cpu::{self, KernelSet, PerEntry},
    cpu_dispatch::fused,
    gpu::tensor_cores::{self, TableRows},
};
use crate::weights::TensorStore;

/// AdaLN modulation of a norm by rows of a table: `x · (1 + scale) + shift`, each the same at all positions.
#[derive(Debug, Clone, Copy)]
pub struct AdaLnModulation<'a> {
    /// \[B, rows, width\].
    pub table: &'a Tensor,
    /// Which of its rows is the shift.
    pub shift: usize,
    /// Which of its rows is the scale.
    pub scale: usize,
}

impl<'a> AdaLnModulation<'a> {
    fn rows(self) -> TableRows<'a> {
        TableRows { table: self.table, shift: self.shift, scale: self.scale }
    }

    fn apply(self, xs: &Tensor) -> Result<Tensor> {
        let row = |row| self.table.narrow(1, row, 1);
        xs.broadcast_mul(&(row(self.scale)? + 1.0)?)?.broadcast_add(&row(self.shift)?)
    }
}

/// Divides by the root of the mean square, then multiplies by a weight for each channel.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// Reads the weight `name` \[width\]; `eps` is added to the mean square.
    ///
    /// # Errors
    /// When the tensor is not there in that shape.
    pub fn load(store: &TensorStore, name: &str, width: usize, eps: f64, device: &Device) -> crate::Result<Self> {
        Ok(Self::new(store.tensor(name, &[width], device)?, eps))
    }

    /// From a weight \[width\]; `eps` is added to the mean square.
    pub fn new(weight: Tensor, eps: f64) -> Self {
        Self { weight, eps: eps as f32 }
    }

    /// # Shapes
    /// - `xs` and result \[…, width\]
    ///
    /// # Errors
    /// When the last dimension of `xs` is not the width.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let width = self.check(xs)?;
        let kernel = |[xs, weight]: [&[f32]; 2], out: &mut [f32]| {
            cpu::norm(KernelSet::chosen(), xs, width, cpu::Norm::Rms(weight), self.eps, None, out);
        };
        match fused([xs, &self.weight], xs.shape(), kernel)? {
            Some(ys) => Ok(ys),
            None if xs.track_op() || self.weight.track_op() => {
                let square = xs.sqr()?.mean_keepdim(D::Minus1)?;
                xs.broadcast_div(&(square + f64::from(self.eps))?.sqrt()?)?.broadcast_mul(&self.weight)
            }
            None => candle_nn::ops::rms_norm(&xs.contiguous()?, &self.weight, self.eps),
        }
    }

    /// The norm of `xs`, modulated.
    ///
    /// # Shapes
    /// - `xs` and result \[B, T, width\]
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn forward_modulated(&self, xs: &Tensor, modulation: AdaLnModulation<'_>) -> Result<Tensor> {
        self.check(xs)?;
        let places = Places::of(xs, modulation)?;
        let kernel = |[xs, table, weight]: [&[f32]; 3], out: &mut [f32]| {
            places.norm(xs, table, cpu::Norm::Rms(weight), self.eps, out);
        };
        match fused([xs, modulation.table, &self.weight], xs.shape(), kernel)? {
            Some(ys) => Ok(ys),
            None => modulation.apply(&self.forward(xs)?),
        }
    }

    /// The norm of `xs`, modulated, as an operand of `product`.
    ///
    /// # Shapes
    /// - `xs` \[B, T, width\]
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn operand(&self, xs: &Tensor, modulation: AdaLnModulation<'_>, product: &Linear) -> Result<Operand> {
        match product.arrangement() {
            Some(arrangement) => {
                Ok(Operand::Split(tensor_cores::norm(xs, &self.weight, self.eps, modulation.rows(), arrangement)?))
            }
            None => Ok(Operand::Plain(self.forward_modulated(xs, modulation)?)),
        }
    }

    /// [`gated_sum`], and [`RmsNorm::operand`] of it.
    ///
    /// # Shapes
    /// - `xs`, `ys` and the sum \[B, T, width\], `gates` \[B, rows, width\]
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn operand_of_sum(
        &self,
        (xs, ys): (&Tensor, &ProductResult),
        (gates, row): (&Tensor, usize),
        modulation: AdaLnModulation<'_>,
        product: &Linear,
    ) -> Result<(Tensor, Operand)> {
        if let (ProductResult::Partial(parts), Some(arrangement)) = (ys, product.arrangement()) {
            let norm = (&self.weight, self.eps);
            let (sum, split) =
                tensor_cores::gated_norm((xs, parts), (gates, row), norm, modulation.rows(), arrangement)?;
            return Ok((sum, Operand::Split(split)));
        }
        let sum = gated_sum(xs, ys, gates, row)?;
        let operand = self.operand(&sum, modulation, product)?;
        Ok((sum, operand))
    }

    fn check(&self, xs: &Tensor) -> Result<usize> {
        let (found, width) = (xs.dim(D::Minus1)?, self.weight.dim(0)?);
        if found != width {
            candle_core::bail!("a norm of {width} channels was given {found}")
        }
        Ok(width)
    }
}

/// Subtracts the mean of the last dimension and divides by the root of its variance; no weight, no bias. Then
/// modulates.
///
/// # Shapes
/// - `xs` and result \[B, T, width\]
///
/// # Errors
/// When the shapes do not fit.
pub fn layer_norm(xs: &Tensor, eps: f64, modulation: AdaLnModulation<'_>) -> Result<Tensor> {
    if xs.device().is_cuda() && !xs.track_op() && !modulation.table.track_op() && tensor_cores::fits(xs.dim(D::Minus1)?)
    {
        return tensor_cores::layer_norm(xs, eps as f32, modulation.rows());
    }
    let places = Places::of(xs, modulation)?;
    let kernel = |[xs, table]: [&[f32]; 2], out: &mut [f32]| {
        places.norm(xs, table, cpu::Norm::Layer, eps as f32, out);
    };
    if let Some(ys) = fused([xs, modulation.table], xs.shape(), kernel)? {
        return Ok(ys);
    }
    let centred = xs.broadcast_sub(&xs.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    modulation.apply(&centred.broadcast_div(&(variance + eps)?.sqrt()?)?)
}

/// `x + y · gate`, the gate row `row` of `table`, the same at all positions.
///
/// # Shapes
/// - `xs`, `ys` and result \[B, T, width\], `table` \[B, rows, width\]
///
/// # Errors
/// When the shapes do not fit.
pub fn gated_sum(xs: &Tensor, ys: &ProductResult, table: &Tensor, row: usize) -> Result<Tensor> {
    let ys = match ys {
        ProductResult::Plain(ys) => ys,
        ProductResult::Partial(parts) => return tensor_cores::gated_sum(xs, parts, table, row),
    };
    let places = Places::of(xs, AdaLnModulation { table, shift: row, scale: row })?;
    if xs.shape() != ys.shape() {
        candle_core::bail!("a gated sum of {:?} and {:?}", xs.shape(), ys.shape())
    }
    let kernel = |[xs, ys, table]: [&[f32]; 3], out: &mut [f32]| {
        let gate = (places.rows, places.per_entry(table, row));
        cpu::gated_sum(KernelSet::chosen(), xs, ys, places.width, gate, out);
    };
    match fused([xs, ys, table], xs.shape(), kernel)? {
        Some(sum) => Ok(sum),
        None => xs + ys.broadcast_mul(&table.narrow(1, row, 1)?)?,
    }
}

/// Which row of a table belongs to which row of numbers.
struct Places {
    width: usize,
    /// Positions that share a row.
    rows: usize,
    /// Numbers from an entry's table to the next one's.
    stride: usize,
    shift: usize,
    scale: usize,
}

impl Places {
    fn of(xs: &Tensor, modulation: AdaLnModulation<'_>) -> Result<Self> {
        let ((batch, rows, width), (entries, table_rows, table_width)) = (xs.dims3()?, modulation.table.dims3()?);
        if (entries, table_width) != (batch, width) || modulation.shift.max(modulation.scale) >= table_rows {
            candle_core::bail!("a table {:?} cannot modulate {:?}", modulation.table.shape(), xs.shape())
        }
        let AdaLnModulation { shift, scale, .. } = modulation;
        Ok(Self { width, rows, stride: table_rows * width, shift, scale })
    }

    fn per_entry<'a>(&self, table: &'a [f32], row: usize) -> PerEntry<'a> {
        PerEntry { numbers: table, first: row * self.width, stride: self.stride }
    }

    fn norm(&self, xs: &[f32], table: &[f32], kind: cpu::Norm<'_>, eps: f32, out: &mut [f32]) {
        let modulation = (self.rows, self.per_entry(table, self.scale), self.per_entry(table, self.shift));
        cpu::norm(KernelSet::chosen(), xs, self.width, kind, eps, Some(modulation), out);
    }
}
