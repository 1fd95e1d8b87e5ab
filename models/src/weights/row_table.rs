//! Embedding table that stays in its file and is read row by row.

use super::tensor_data::TensorData;
use crate::error::{ModelError, Result};

/// A matrix of floats that stays in its file. The text embedding of the published 3 B model has 128 256 rows, of
/// which a song reads a few hundred; of the audio embedding each frame reads fifteen.
#[derive(Debug, Clone)]
pub struct RowTable {
    numbers: TensorData,
    rows: usize,
    width: usize,
}

impl RowTable {
    pub(super) fn new(numbers: TensorData, rows: usize, width: usize) -> Self {
        Self { numbers, rows, width }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many numbers a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `row` as f32.
    ///
    /// # Errors
    /// When there is no such row, or its file cannot be read any more.
    pub fn row(&self, row: usize) -> Result<Vec<f32>> {
        let mut numbers = vec![0f32; self.width];
        self.read(row, &mut numbers)?;
        Ok(numbers)
    }

    /// Writes row `row` as f32.
    ///
    /// # Errors
    /// When there is no such row, `to` has not its width, or its file cannot be read any more.
    pub fn read(&self, row: usize, to: &mut [f32]) -> Result<()> {
        if row >= self.rows {
            return Err(ModelError::shape("row of an embedding table", format!("less than {}", self.rows), row));
        }
        if to.len() != self.width {
            return Err(ModelError::shape("numbers of a row", self.width, to.len()));
        }
        self.numbers.read(row * self.width, to)
    }
}
