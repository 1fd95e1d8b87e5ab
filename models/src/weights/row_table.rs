//! How is a table read of which a song needs only a few rows? Row by row, out of the mapped file.

use std::ops::Range;

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
