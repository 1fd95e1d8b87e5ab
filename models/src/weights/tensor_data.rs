//! Data of a tensor in a file, in memory or from a seed: read in any piece, as f32, and checked for NaN and infinity.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

use super::{
    FileBytes, SeededNumbers,
    storage::{FakeQuant, round},
};
use crate::{
    error::{ModelError, Result},
    foreign_text::shown,
    kernels::cpu::WeightDtype,
};

/// Bytes that are read at once.
const PIECE: usize = 1 << 14;
/// Numbers that are worth another thread.
const WORTH_A_THREAD: usize = 1 << 18;

/// The numbers of a tensor; cheap to clone.
#[derive(Debug, Clone)]
pub struct TensorData {
    source: Source,
    count: usize,
    /// The dtype that they are rounded to when they are read.
    rounded: WeightDtype,
    /// The fake quantisation that is applied when they are read.
    fake_quant: Option<FakeQuant>,
}

#[derive(Debug, Clone)]
enum Source {
    File { path: Arc<Path>, tensor: Arc<str>, file: FileBytes, bytes: Range<usize>, dtype: Dtype },
    Seeded(SeededNumbers),
    InMemory(Arc<[f32]>),
}

impl TensorData {
    /// The data of a tensor in a file; messages name both.
    pub(super) fn in_file(names: (&Path, &str), file: &FileBytes, bytes: Range<usize>, dtype: Dtype) -> Self {
        let count = bytes_per_number(dtype).map_or(0, |size| bytes.len() / size);
        let (path, tensor) = (names.0.into(), names.1.into());
        let source = Source::File { path, tensor, file: file.clone(), bytes, dtype };
        Self { source, count, rounded: WeightDtype::F32, fake_quant: None }
    }

    pub(super) fn seeded(numbers: SeededNumbers, count: usize) -> Self {
        Self { source: Source::Seeded(numbers), count, rounded: WeightDtype::F32, fake_quant: None }
    }

    pub(super) fn in_memory(numbers: Vec<f32>) -> Self {
        Self {
            count: numbers.len(),
            source: Source::InMemory(numbers.into()),
            rounded: WeightDtype::F32,
            fake_quant: None,
        }
    }

    /// The same numbers rounded to `kind`.
    #[must_use]
    pub(super) fn stored_as(self, kind: WeightDtype) -> Self {
        Self { rounded: kind, ..self }
    }

    /// The same numbers with fake quantisation.
    #[must_use]
    pub(super) fn fake_quantised(self, fake_quant: FakeQuant) -> Self {
        Self { fake_quant: Some(fake_quant), ..self }
    }

    /// Writes the numbers from place `first` on.
    ///
    /// # Errors
    /// When they lie beyond the tensor, or their file cannot be read any more.
    pub fn read(&self, first: usize, to: &mut [f32]) -> Result<()> {
        let Some(fake_quant) = self.fake_quant else { return self.read_fine(first, to) };
        // The scale of a number depends on its block: whole blocks are read.
        let start = first / FakeQuant::BLOCK * FakeQuant::BLOCK;
        let end = (first + to.len()).next_multiple_of(FakeQuant::BLOCK).min(self.count.max(first + to.len()));
        let mut blocks = vec![0f32; end - start];
        self.read_fine(start, &mut blocks)?;
        fake_quant.round(&mut blocks);
        to.copy_from_slice(&blocks[first - start..first - start + to.len()]);
        Ok(())
    }

    /// As [`TensorData::read`], without [`FakeQuant`]. Checks that numbers of a file are finite, before and after
    /// rounding.
    fn read_fine(&self, first: usize, to: &mut [f32]) -> Result<()> {
        self.fill(first, to)?;
        let finite = |numbers: &[f32]| numbers.iter().all(|number| number.is_finite());
        if let Source::File { path, tensor, .. } = &self.source {
            let unfit = |beyond| Err(self.unfit(path, tensor, beyond));
            if !finite(to) {
                return unfit(None);
            }
            round(to, self.rounded);
            return if finite(to) { Ok(()) } else { unfit(Some(self.rounded)) };
        }
        round(to, self.rounded);
        Ok(())
    }

    /// The numbers as they are.
    fn fill(&self, first: usize, to: &mut [f32]) -> Result<()> {
        if first.checked_add(to.len()).is_none_or(|end| end > self.count) {
            let found = format!("{} from {first} on", to.len());
            return Err(ModelError::shape("numbers of a tensor", format!("at most {}", self.count), found));
        }
        match &self.source {
            Source::InMemory(numbers) => to.copy_from_slice(&numbers[first..first + to.len()]),
            Source::Seeded(numbers) => numbers.fill(first, to),
            Source::File { path, file, bytes, dtype, .. } => {
                let size = bytes_per_number(*dtype).unwrap_or(PIECE);
                let mut buffer = [0u8; PIECE];
                let mut start = bytes.start + first * size;
                for to in to.chunks_mut(PIECE / size) {
                    let buffer = &mut buffer[..to.len() * size];
                    file.read_at(start, buffer).map_err(|error| ModelError::Unreadable {
                        path: PathBuf::from(&**path),
                        reason: error.to_string(),
                        remedy: "The files of a model must stay as they are while it is used".to_owned(),
                    })?;
                    widen(buffer, *dtype, to);
                    start += buffer.len();
                }
            }
        }
        Ok(())
    }

    /// The error of numbers that are not finite, or overflow as `beyond`. All of the tensor is read once more, to count
    /// them.
    fn unfit(&self, path: &Path, tensor: &str, beyond: Option<WeightDtype>) -> ModelError {
        let wide = Self { rounded: WeightDtype::F32, fake_quant: None, ..self.clone() };
        let (mut count, mut first, mut numbers) = (0u64, None, [0f32; PIECE]);
        for start in (0..self.count).step_by(PIECE) {
            let numbers = &mut numbers[..PIECE.min(self.count - start)];
            if wide.fill(start, numbers).is_err() {
                break;
            }
            for (place, number) in numbers.iter().enumerate() {
                let mut stored = [*number];
                round(&mut stored, beyond.unwrap_or(WeightDtype::F32));
                if !stored[0].is_finite() {
                    count += 1;
                    first.get_or_insert((start + place, *number));
                }
            }
        }
        let (place, found) = first.unwrap_or((0, f32::NAN));
        let (path, tensor) = (path.to_owned(), shown(tensor));
        match beyond {
            None => ModelError::NotFinite { path, tensor, count, place, found },
            Some(dtype) => ModelError::Overflow { path, tensor, count, place, found, dtype },
        }
    }

    /// Reads all numbers, and keeps none.
    ///
    /// # Errors
    /// As [`TensorData::read`].
    pub(super) fn check(&self) -> Result<()> {
        if !matches!(self.source, Source::File { .. }) {
            return Ok(());
        }
        let mut numbers = vec![0f32; PIECE.min(self.count)];
        for start in (0..self.count).step_by(PIECE) {
            let count = PIECE.min(self.count - start);
            self.read_fine(start, &mut numbers[..count])?;
        }
        Ok(())
    }

    /// All numbers; many of them on several threads.
    ///
    /// # Errors
    /// When their file cannot be read any more.
    pub(crate) fn read_all(&self) -> Result<Vec<f32>> {
        self.read_range(0..self.count)
    }

    /// The numbers of `range`; many of them on several threads.
    ///
    /// # Errors
    /// As [`TensorData::read`].
    pub(crate) fn read_range(&self, range: Range<usize>) -> Result<Vec<f32>> {
        if range.end > self.count {
            return Err(ModelError::shape("numbers of a tensor", format!("at most {}", self.count), range.end));
        }
        let mut numbers = vec![0f32; range.len()];
        self.read_in_parallel(range.start, &mut numbers)?;
        Ok(numbers)
    }

    /// As [`TensorData::read`], many numbers on several threads.
    ///
    /// # Errors
    /// As [`TensorData::read`].
    pub(crate) fn read_in_parallel(&self, first: usize, to: &mut [f32]) -> Result<()> {
        let pieces = to.par_chunks_mut(WORTH_A_THREAD).enumerate();
        pieces.try_for_each(|(piece, to)| self.read(first + piece * WORTH_A_THREAD, to))
    }

    /// As [`TensorData::read_in_parallel`], rounded to bf16.
    ///
    /// # Errors
    /// As [`TensorData::read`].
    #[cfg(feature = "cuda")]
    pub(crate) fn read_as_bf16(&self, first: usize, to: &mut [bf16]) -> Result<()> {
        to.par_chunks_mut(PIECE).enumerate().try_for_each(|(piece, to)| {
            let mut numbers = [0f32; PIECE];
            let numbers = &mut numbers[..to.len()];
            self.read(first + piece * PIECE, numbers)?;
            to.iter_mut().zip(numbers).for_each(|(to, number)| *to = bf16::from_f32(*number));
            Ok(())
        })
    }
}

/// Bytes of one number of a float type that weights can have; `None` for every other type.
pub(super) fn bytes_per_number(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

/// Widens little-endian floats to f32. Tensors of a type without floats were refused before.
fn widen(bytes: &[u8], dtype: Dtype, to: &mut [f32]) {
    match dtype {
        Dtype::F32 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, b)| *to = f32::from_le_bytes(*b)),
        Dtype::F16 => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, b)| *to = f16::from_le_bytes(*b).to_f32()),
        _ => to.iter_mut().zip(bytes.as_chunks().0).for_each(|(to, b)| *to = bf16::from_le_bytes(*b).to_f32()),
    }
}
