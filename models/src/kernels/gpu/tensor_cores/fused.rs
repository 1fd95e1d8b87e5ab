//! Fused operations between two products on tensor cores: norms, gates, activations.

use candle_core::{DType, Result, Tensor, bail};

use super::{
    launch::{
        Argument::{Array, Float, Int, Long},
        Launch, unwritten,
    },
    rows::{Arrangement, PartialResults, SplitRows, fits, launch},
};
use crate::kernels::gpu::contiguous_aligned;

/// Rows of a table \[B, rows, width\] that modulate the positions of an entry; of a table \[1, rows, width\] those of all.
#[derive(Debug, Clone, Copy)]
pub struct TableRows<'a> {
    /// The table.
    pub table: &'a Tensor,
    /// Which row is added.
    pub shift: usize,
    /// Which row is multiplied with.
    pub scale: usize,
}

/// Rows that a table modulates, how many of them each of its entries does, their width, and the rows of an entry.
fn modulated(xs: &[usize], rows: TableRows<'_>) -> Result<[usize; 4]> {
    let (&[batch, positions, width], (entries, table_rows, table_width)) = (xs, rows.table.dims3()?) else {
        bail!("a table modulates rows [entries, positions, width], was given {xs:?}")
    };
    if ![1, batch].contains(&entries) || table_width != width || rows.shift.max(rows.scale) >= table_rows {
        bail!("a table {:?} cannot modulate {xs:?}", rows.table.shape())
    }
    Ok([batch * positions, batch * positions / entries.max(1), width, table_rows])
}

/// The norm by the root mean square, times `weight`, modulated by 1 + scale and shift, split.
///
/// # Shapes
/// - `xs` \[B, T, width\], `weight` \[width\]
///
/// # Errors
/// When the shapes do not fit.
pub fn norm(xs: &Tensor, weight: &Tensor, eps: f32, by: TableRows<'_>, arrangement: Arrangement) -> Result<SplitRows> {
    let [rows, positions, width, table_rows] = modulated(xs.dims(), by)?;
    let (xs, weight, table) = (contiguous_aligned(xs)?, contiguous_aligned(weight)?, contiguous_aligned(by.table)?);
    if weight.dims() != [width] {
        bail!("a norm of {:?} channels was given {width}", weight.shape())
    }
    let split = SplitRows::unwritten(&xs.dims()[..2], width, arrangement, xs.device())?;
    let [stride, apart] = split.strides()?;
    let arguments = [
        Array(&xs),
        Array(&weight),
        Array(&table),
        Array(&split.halves),
        Array(&split.unscale),
        Int(width),
        Int(stride),
        Long(apart),
        Int(positions),
        Int(table_rows),
        Int(by.shift),
        Int(by.scale),
        Float(eps),
    ];
    launch("norm_split", rows, width).run(xs.device(), &arguments)?;
    Ok(split)
}

/// Rows minus their mean, over the root of their variance, modulated.
///
/// # Shapes
/// - `xs` and result \[B, T, width\]
///
/// # Errors
/// When the shapes do not fit, or a row is too long.
pub fn layer_norm(xs: &Tensor, eps: f32, by: TableRows<'_>) -> Result<Tensor> {
    let [rows, positions, width, table_rows] = modulated(xs.dims(), by)?;
    if !fits(width) {
        bail!("rows of {width} numbers are too long for a norm")
    }
    let (xs, table) = (contiguous_aligned(xs)?, contiguous_aligned(by.table)?);
    let out = unwritten(xs.dims(), DType::F32, xs.device())?;
    let arguments = [
        Array(&xs),
        Array(&table),
        Array(&out),
        Int(width),
        Int(positions),
        Int(table_rows),
        Int(by.shift),
        Int(by.scale),
        Float(eps),
    ];
    launch("layer_norm_modulated", rows, width).run(xs.device(), &arguments)?;
    Ok(out)
}

/// `x + y · gate`, the gate row `gate` of `table`.
///
/// # Shapes
/// - `xs` and result \[B, T, width\], `ys` as many rows of as many numbers
///
/// # Errors
/// When the shapes do not fit.
pub fn gated_sum(xs: &Tensor, ys: &PartialResults, table: &Tensor, gate: usize) -> Result<Tensor> {
    let [rows, positions, width, table_rows] = modulated(xs.dims(), TableRows { table, shift: gate, scale: gate })?;
    if ys.rows() != rows || ys.width()? != width || !fits(width) {
        bail!("a gated sum of {:?} and {:?}", xs.shape(), ys.numbers.shape())
    }
    let (xs, table) = (contiguous_aligned(xs)?, contiguous_aligned(table)?);
    let out = unwritten(xs.dims(), DType::F32, xs.device())?;
    let arguments = [
        Array(&xs),
        Array(&ys.numbers),
        Array(&ys.unscale),
        Array(&table),
        Array(&out),
        Long(ys.apart()?),
        Int(width),
        Int(positions),
        Int(table_rows),
        Int(gate),
    ];
    Launch { shared: 0, ..launch("gated_sum_parts", rows, 0) }.run(xs.device(), &arguments)?;
    Ok(out)
}

/// `x + y · gate`, the gate row `gate` of `gates`, and its [`norm`].
///
/// # Shapes
/// - `xs` and the first result \[B, T, width\], `ys` as many rows of as many numbers, `gates` as the norm's table
///
/// # Errors
/// When the shapes do not fit.
pub fn gated_norm(
    (xs, ys): (&Tensor, &PartialResults),
    (gates, gate): (&Tensor, usize),
    (weight, eps): (&Tensor, f32),
    by: TableRows<'_>,
    arrangement: Arrangement,
) -> Result<(Tensor, SplitRows)> {
    let [rows, positions, width, table_rows] = modulated(xs.dims(), by)?;
    if ys.rows() != rows || ys.width()? != width || weight.dims() != [width] {
        bail!("a gated norm of {:?} and {:?}", xs.shape(), ys.numbers.shape())
    }
    if gates.dims() != by.table.dims() || gate >= table_rows {
        bail!("gates {:?} beside a table {:?}", gates.shape(), by.table.shape())
    }
    let (xs, weight, gates, table) = (
        contiguous_aligned(xs)?,
        contiguous_aligned(weight)?,
        contiguous_aligned(gates)?,
        contiguous_aligned(by.table)?,
    );
    let out = unwritten(xs.dims(), DType::F32, xs.device())?;
    let split = SplitRows::unwritten(&xs.dims()[..2], width, arrangement, xs.device())?;
    let [stride, apart] = split.strides()?;
    let arguments = [
        Array(&xs),
        Array(&ys.numbers),
        Array(&ys.unscale),
        Array(&gates),
        Array(&out),
        Array(&weight),
        Array(&table),
        Array(&split.halves),
        Array(&split.unscale),
        Long(ys.apart()?),
        Int(width),
        Int(stride),
        Long(apart),
        Int(positions),
        Int(table_rows),
        Int(gate),
        Int(by.shift),
        Int(by.scale),
        Float(eps),
    ];
    launch("gated_norm_split", rows, width).run(xs.device(), &arguments)?;
    Ok((out, split))
}

/// `silu(gate) · up` of both side by side, split.
///
/// # Shapes
/// - `joined` rows of 2 · width numbers
///
/// # Errors
/// When the width is odd or too large.
pub fn silu_up(joined: &PartialResults, arrangement: Arrangement) -> Result<SplitRows> {
    let both = joined.width()?;
    let width = both / 2;
    if !both.is_multiple_of(2) {
        bail!("a gate and what it gates side by side are an even number of channels, found {both}")
    }
    let split = SplitRows::unwritten(&joined.outer, width, arrangement, joined.numbers.device())?;
    let [stride, apart] = split.strides()?;
    let arguments = [
        Array(&joined.numbers),
        Array(&joined.unscale),
        Array(&split.halves),
        Array(&split.unscale),
        Long(joined.apart()?),
        Int(width),
        Int(stride),
        Long(apart),
    ];
    launch("silu_up_split", joined.rows(), width).run(joined.numbers.device(), &arguments)?;
    Ok(split)
}
