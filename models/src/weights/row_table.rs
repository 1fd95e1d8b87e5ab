//! How is a table read of which a song needs only a few rows? Row by row, out of the mapped file.

use std::{ops::Range, sync::Arc};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;

use super::{FileBytes, shards::bytes_per_number};
use crate::error::{ModelError, Result};

/// A matrix of floats that stays in its file. The text embedding of the published 3 B model has 128 256 rows, of
/// which a song reads a few hundred.
#[derive(Debug, Clone)]
pub struct RowTable {
    file: FileBytes,
    bytes: Range<usize>,
    dtype: Dtype,
    rows: usize,
    width: usize,
}

impl RowTable {
    pub(super) fn new(file: FileBytes, bytes: Range<usize>, dtype: Dtype, rows: usize, width: usize) -> Self {
        Self { file, bytes, dtype, rows, width }
    }

    /// A copy of a tensor's numbers.
    pub(super) fn of_tensor(tensor: &Tensor, rows: usize, width: usize) -> Result<Self> {
        let numbers = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        let bytes: Arc<[u8]> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        Ok(Self { bytes: 0..bytes.len(), file: FileBytes::Held(bytes), dtype: Dtype::F32, rows, width })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Row `row` as f32.
    ///
    /// # Errors
    /// When there is no such row.
    pub fn row(&self, row: usize) -> Result<Vec<f32>> {
        let size = bytes_per_number(self.dtype).filter(|_| row < self.rows);
        let Some(size) = size else {
            return Err(ModelError::shape("row of an embedding table", format!("less than {}", self.rows), row));
        };
        let start = self.bytes.start + row * self.width * size;
        Ok(numbers_to_f32(&self.file[start..start + self.width * size], self.dtype))
    }

    /// Writes row `row` as f32.
    ///
    /// # Panics
    /// When there is no such row, or `to` has not its width: mistakes of the caller.
    pub(crate) fn read(&self, row: usize, to: &mut [f32]) {
        assert!(row < self.rows && to.len() == self.width, "row {row} of {self:?}");
        let size = bytes_per_number(self.dtype).unwrap_or(0);
        let bytes = &self.file[self.bytes.start + row * self.width * size..][..self.width * size];
        match self.dtype {
            Dtype::F32 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, b)| *to = f32::from_le_bytes(*b)),
            Dtype::F16 => {
                to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, b)| *to = f16::from_le_bytes(*b).to_f32());
            }
            _ => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, b)| *to = bf16::from_le_bytes(*b).to_f32()),
        }
    }

    /// One number as f32.
    ///
    /// # Panics
    /// When there is no such place: a mistake of the caller.
    pub(crate) fn number(&self, row: usize, column: usize) -> f32 {
        assert!(row < self.rows && column < self.width, "place {row}, {column} of {self:?}");
        let size = bytes_per_number(self.dtype).unwrap_or(0);
        let bytes = &self.file[self.bytes.start + (row * self.width + column) * size..][..size];
        numbers_to_f32(bytes, self.dtype)[0]
    }
}

/// Widens little-endian floats to f32. A type without floats gives nothing: its tensors were refused before.
pub(super) fn numbers_to_f32(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        _ => Vec::new(),
    }
}
