//! A matrix product with fixed weights.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Result, Shape, Tensor, bail};

use super::{
    Operand, ProductResult,
    cpu::{KernelSet, Packed, ProductEpilogue, Rows, WeightDtype, matmul},
    cpu_dispatch::fused,
    gpu::{
        Narrow, fits_narrow,
        tensor_cores::{Arrangement, HalvedWeight, SplitRows},
    },
};
use crate::weights::{FlowPrecision, TensorStore};

#[cfg(test)]
mod tests;

/// `x Wᵀ + b` over the last dimension.
///
/// On a processor the weights are [`Packed`] and a row's result does not depend on the rows beside it. On other
/// devices, and while a model is trained, they are a tensor.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Weight,
    outputs: usize,
    /// What multiplies on a processor.
    kernels: KernelSet,
}

#[derive(Debug, Clone)]
enum Weight {
    Packed(Arc<PackedLinear>),
    /// Transposed view of \[out, in\], so \[in, out\], and the bias.
    Plain(Tensor, Option<Tensor>),
    /// On a GPU's tensor cores, and the bias.
    Halved(HalvedWeight, Option<Tensor>),
}

#[derive(Debug)]
struct PackedLinear {
    weights: Packed,
    bias: Option<Vec<f32>>,
}

impl Linear {
    /// From a weight of shape \[out, in\] and a bias of shape \[out\], kept in f32.
    ///
    /// # Errors
    /// When the weight has not two dimensions.
    pub fn new(weight: &Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        if !weight.device().is_cpu() || weight.track_op() {
            return Ok(Self::of(Weight::Plain(weight.t()?, bias), outputs));
        }
        let numbers = weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let read = |row: usize, to: &mut [f32]| to.copy_from_slice(&numbers[row * inputs..][..inputs]);
        Self::packed(Packed::new(outputs, inputs, WeightDtype::F32, read), bias)
    }

    fn packed(weights: Packed, bias: Option<Tensor>) -> Result<Self> {
        let bias = bias.map(|bias| bias.to_vec1()).transpose()?;
        let outputs = weights.outputs();
        Ok(Self::of(Weight::Packed(Arc::new(PackedLinear { weights, bias })), outputs))
    }

    fn of(weight: Weight, outputs: usize) -> Self {
        Self { weight, outputs, kernels: KernelSet::chosen() }
    }

    /// The same weights, on a processor multiplied without tiles where the kernel set has some: for products whose few
    /// rows wait for the weights to be read, which tiles take longer for.
    #[must_use]
    pub fn without_tiles(self) -> Self {
        Self { kernels: KernelSet::chosen().of_vectors(), ..self }
    }

    /// The same weights, multiplied in tiles where the kernel set has some.
    #[must_use]
    pub fn with_tiles(&self) -> Self {
        Self { kernels: KernelSet::chosen(), ..self.clone() }
    }

    /// Reads `name.weight` \[outputs, inputs\], and `name.bias` when `bias` is set.
    ///
    /// # Errors
    /// When a tensor is not there in that shape.
    pub fn load(
        store: &TensorStore,
        name: &str,
        [outputs, inputs]: [usize; 2],
        bias: bool,
        device: &Device,
    ) -> crate::Result<Self> {
        let bias = if bias { Some(store.tensor(&format!("{name}.bias"), &[outputs], device)?) } else { None };
        Self::load_joined(store, &[(&format!("{name}.weight"), outputs)], inputs, bias, device)
    }

    /// Reads several weights \[outputs, inputs\] of the same inputs as one, the outputs one after the other: a larger
    /// product keeps more threads busy for longer.
    ///
    /// # Errors
    /// When a tensor is not there in that shape.
    pub fn load_joined(
        store: &TensorStore,
        weights: &[(&str, usize)],
        inputs: usize,
        bias: Option<Tensor>,
        device: &Device,
    ) -> crate::Result<Self> {
        if !device.is_cpu() || store.are_in_memory() {
            let parts = weights.iter().map(|(name, outputs)| store.matrix(name, &[*outputs, inputs], device));
            let parts = parts.collect::<crate::Result<Vec<_>>>()?;
            let weight = if parts.len() == 1 { parts[0].clone() } else { Tensor::cat(&parts, 0)? };
            return Ok(Self::of(Weight::Plain(weight.t()?, bias), weight.dim(0)?));
        }
        let tables = weights.iter().map(|(name, outputs)| store.row_table(name, *outputs, inputs));
        let tables = tables.collect::<crate::Result<Vec<_>>>()?;
        let outputs = weights.iter().map(|(_, outputs)| outputs).sum();
        // Rows are read on several threads, which continue after one has failed; the result is then discarded.
        let failed = OnceLock::new();
        let read = |mut row: usize, to: &mut [f32]| {
            for table in &tables {
                match row.checked_sub(table.rows()) {
                    Some(later) => row = later,
                    None => return table.read(row, to).unwrap_or_else(|error| drop(failed.set(error))),
                }
            }
        };
        let packed = Packed::new(outputs, inputs, store.matrix_type(weights[0].0), read);
        match failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(Self::packed(packed, bias)?),
        }
    }

    /// Reads matrix `index` of the tensor `name` \[matrices, inputs, outputs\], stored the other way round than a
    /// linear layer's weight is.
    ///
    /// # Errors
    /// When the tensor is not there in that shape.
    pub fn load_transposed(
        store: &TensorStore,
        name: &str,
        [matrices, inputs, outputs]: [usize; 3],
        index: usize,
        device: &Device,
    ) -> crate::Result<Self> {
        if !device.is_cpu() || store.are_in_memory() {
            let weight = store.matrix(name, &[matrices, inputs, outputs], device)?.get(index)?;
            // A 16-bit weight is stored by rows, for the kernel that reads it.
            let narrow = weight.dtype() != DType::F32;
            let weight = if narrow { weight.t()?.contiguous()?.t()? } else { weight };
            return Ok(Self::of(Weight::Plain(weight, None), outputs));
        }
        // Reading column by column would touch every page of the file for each column.
        let size = inputs * outputs;
        let numbers =
            store.numbers(name, &[matrices, inputs, outputs])?.read_range(index * size..(index + 1) * size)?;
        let read = |output: usize, to: &mut [f32]| {
            to.iter_mut().zip(numbers[output..].iter().step_by(outputs)).for_each(|(to, number)| *to = *number);
        };
        Ok(Self::packed(Packed::new(outputs, inputs, store.matrix_type(name), read), None)?)
    }

    /// The same weights, on a device widened to f32, so that inputs are not rounded. On a processor nothing changes:
    /// products there are always f32.
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn in_f32(self) -> Result<Self> {
        let weight = match self.weight {
            Weight::Plain(weight, bias) => Weight::Plain(weight.to_dtype(DType::F32)?, bias),
            packed => packed,
        };
        Ok(Self { weight, ..self })
    }

    /// The same weights, on a GPU as its tensor cores take them, where they can be made so. For products with many rows: a
    /// row's result depends on the rows beside it.
    ///
    /// # Errors
    /// When the device has no memory for them.
    pub fn on_tensor_cores(self, precision: FlowPrecision) -> Result<Self> {
        let Weight::Plain(weight, bias) = &self.weight else { return Ok(self) };
        match HalvedWeight::of(&weight.t()?, precision)? {
            Some(halved) => Ok(Self { weight: Weight::Halved(halved, bias.clone()), ..self }),
            None => Ok(self),
        }
    }

    /// Whether a GPU's tensor cores make the products.
    pub fn is_on_tensor_cores(&self) -> bool {
        self.arrangement().is_some()
    }

    /// How rows are split for it; `None` where it takes them as they are.
    pub(super) fn arrangement(&self) -> Option<Arrangement> {
        match &self.weight {
            Weight::Halved(weight, _) => Some(weight.arrangement()),
            _ => None,
        }
    }

    /// The product with its operand, its results as the next operation takes them.
    ///
    /// # Errors
    /// When the rows have another width, or were split for another weight.
    pub fn multiply(&self, rows: &Operand) -> Result<ProductResult> {
        match (&self.weight, rows) {
            (Weight::Halved(weight, None), Operand::Split(rows)) => Ok(ProductResult::Partial(weight.multiply(rows)?)),
            (Weight::Halved(weight, bias), Operand::Split(rows)) => {
                Ok(ProductResult::Plain(weight.multiply(rows)?.finish(bias.as_ref())?))
            }
            (_, Operand::Plain(rows)) => Ok(ProductResult::Plain(self.forward(rows)?)),
            (_, Operand::Split(_)) => bail!("rows were split for another weight than this of {} outputs", self.outputs),
        }
    }

    /// How many outputs there are.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The weight \[out, in\] and the bias where they are tensors: on other devices, and while a model is trained.
    pub(super) fn tensors(&self) -> Option<(Tensor, Option<&Tensor>)> {
        match &self.weight {
            Weight::Packed(_) | Weight::Halved(..) => None,
            Weight::Plain(weight, bias) => Some((weight.t().ok()?, bias.as_ref())),
        }
    }

    /// Dtype of the weights.
    pub fn dtype(&self) -> WeightDtype {
        match &self.weight {
            Weight::Packed(packed) => packed.weights.dtype(),
            Weight::Plain(weight, _) => match weight.dtype() {
                DType::BF16 => WeightDtype::Bf16,
                DType::F16 => WeightDtype::F16,
                _ => WeightDtype::F32,
            },
            Weight::Halved(weight, _) => {
                if weight.is_single() {
                    WeightDtype::F16
                } else {
                    WeightDtype::F32
                }
            }
        }
    }

    /// The weights and the bias as the kernels take them; `None` on other devices and while training.
    pub fn kernel(&self) -> Option<(&Packed, Option<&[f32]>)> {
        match &self.weight {
            Weight::Packed(packed) => Some((&packed.weights, packed.bias.as_deref())),
            Weight::Plain(..) | Weight::Halved(..) => None,
        }
    }

    /// # Shapes
    /// - `xs` \[…, in\], result \[…, out\]
    ///
    /// # Errors
    /// When the last dimension of `xs` is not `in`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (weight, bias) = match &self.weight {
            Weight::Packed(packed) => {
                return xs.contiguous()?.apply_op1_no_bwd(&PackedProduct { packed, kernels: self.kernels });
            }
            Weight::Plain(weight, bias) => (weight, bias),
            Weight::Halved(weight, bias) => {
                return weight.multiply(&SplitRows::of(xs, weight.arrangement())?)?.finish(bias.as_ref());
            }
        };
        // One product over all rows: with a batch dimension candle would read the weights again for each entry.
        let mut shape = xs.dims().to_vec();
        let rows = xs.reshape(((), xs.dim(D::Minus1)?))?;
        let ys = match learnt_from(&rows, weight) {
            Some(pieces) => in_pieces(&rows, weight, bias.as_ref(), pieces)?,
            None => {
                let ys = match weight.dtype() {
                    DType::F32 => rows.matmul(weight)?,
                    _ if fits_narrow(&rows, weight) => Narrow.apply(&rows, weight)?,
                    narrow => rows.to_dtype(narrow)?.matmul(weight)?.to_dtype(DType::F32)?,
                };
                if let Some(bias) = bias { ys.broadcast_add(bias)? } else { ys }
            }
        };
        if let Some(last) = shape.last_mut() {
            *last = self.outputs;
        }
        ys.reshape(shape)
    }

    /// `to` plus the product of `xs`, added in the product's epilogue.
    ///
    /// # Shapes
    /// - `xs` \[…, in\], `to` and result \[…, out\]
    ///
    /// # Errors
    /// When they do not fit.
    pub fn forward_added(&self, xs: &Tensor, to: &Tensor) -> Result<Tensor> {
        if let Weight::Packed(packed) = &self.weight {
            let shape = packed.result_shape(xs.dims())?;
            if shape != *to.shape() {
                bail!("a linear layer makes {shape:?}, to be added to {:?}", to.shape())
            }
            if let Some(ys) = fused([xs, to], shape, |[xs, to], out| packed.product(self.kernels, xs, Some(to), out))? {
                return Ok(ys);
            }
        }
        to + self.forward(xs)?
    }
}

impl PackedLinear {
    /// The shape of the results of rows of this shape.
    fn result_shape(&self, rows: &[usize]) -> Result<Shape> {
        let mut shape = rows.to_vec();
        match shape.last_mut() {
            Some(last) if *last == self.weights.inputs() => *last = self.weights.outputs(),
            _ => bail!("a linear layer of {} inputs was given {rows:?}", self.weights.inputs()),
        }
        Ok(Shape::from(shape))
    }

    fn product(&self, kernels: KernelSet, rows: &[f32], add: Option<&[f32]>, out: &mut [f32]) {
        let finish = ProductEpilogue { bias: self.bias.as_deref(), add, ..ProductEpilogue::default() };
        matmul(kernels, Rows::new(rows, self.weights.inputs()), &self.weights, finish, out);
    }
}

/// Rows from which on a product that is trained is computed in pieces, and the most pieces.
const LONG: usize = 1 << 15;
const MOST_PIECES: usize = 128;

/// In how many equal pieces the rows are multiplied while the weights are trained; `None` where they are few.
fn learnt_from(rows: &Tensor, weight: &Tensor) -> Option<usize> {
    pieces_of(rows.dims()[0]).filter(|_| weight.track_op())
}

/// The same product, each piece of the rows with a view of the weights of its own: then the gradients of weights and
/// bias are sums of as many parts, which a GPU makes side by side. A sum over a million rows for a dozen outputs would
/// keep a dozen of its thousands of threads busy.
fn in_pieces(rows: &Tensor, weight: &Tensor, bias: Option<&Tensor>, pieces: usize) -> Result<Tensor> {
    let ((count, inputs), outputs) = (rows.dims2()?, weight.dim(1)?);
    let rows = rows.reshape((pieces, count / pieces, inputs))?;
    let ys = rows.contiguous()?.matmul(&weight.broadcast_left(pieces)?.contiguous()?)?;
    match bias {
        Some(bias) => add_bias(&ys.reshape((count, outputs))?, bias),
        None => ys.reshape((count, outputs)),
    }
}

/// Rows with a bias added, whose gradient is a sum of sums where there are many.
///
/// # Shapes
/// - `ys` \[rows, out\], `bias` \[out\]
pub(super) fn add_bias(ys: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (count, outputs) = ys.dims2()?;
    let Some(pieces) = pieces_of(count).filter(|_| bias.track_op()) else { return ys.broadcast_add(bias) };
    let few = bias.reshape((1, 1, outputs))?.broadcast_as((1, count / pieces, outputs))?;
    let few = few.broadcast_as((pieces, count / pieces, outputs))?;
    (ys.reshape((pieces, count / pieces, outputs))? + few)?.reshape((count, outputs))
}

/// In how many equal pieces `count` rows are cut.
fn pieces_of(count: usize) -> Option<usize> {
    (2..=MOST_PIECES).rev().find(|pieces| count >= LONG && count.is_multiple_of(*pieces))
}

/// A packed layer as an operation of candle's.
struct PackedProduct<'a> {
    packed: &'a PackedLinear,
    kernels: KernelSet,
}

impl CustomOp1 for PackedProduct<'_> {
    fn name(&self) -> &'static str {
        "packed linear layer"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let shape = self.packed.result_shape(layout.dims())?;
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("a linear layer takes contiguous rows") };
        let mut ys = vec![0f32; shape.elem_count()];
        self.packed.product(self.kernels, &storage.as_slice::<f32>()?[start..end], None, &mut ys);
        Ok((CpuStorage::F32(ys), shape))
    }
}
