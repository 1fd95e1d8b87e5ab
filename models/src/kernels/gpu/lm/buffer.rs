//! Numbers in the memory of a GPU.

use std::fmt;

use candle_core::{
    Result, bail,
    cuda_backend::{
        WrapErr,
        cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, ValidAsZeroBits},
    },
};

use super::{CHUNK, GpuStream, TILE};
use crate::kernels::gpu::weight_pool;

/// Numbers of one type. They are written and read on the stream they were made on, one request after the other.
pub(crate) struct Buffer<T> {
    numbers: CudaSlice<T>,
    address: u64,
}

impl<T> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({})", self.numbers.len())
    }
}

impl<T: DeviceRepr + ValidAsZeroBits> Buffer<T> {
    /// `count` zeros, beside the weights: none of these is let go soon.
    ///
    /// # Errors
    /// When the GPU has no memory for them.
    pub fn zeros(gpu: &GpuStream, count: usize) -> Result<Self> {
        // SAFETY: zeros are written next.
        let mut numbers = unsafe { weight_pool::room::<T>(gpu.cuda(), count)? };
        gpu.cuda().memset_zeros(&mut numbers).w()?;
        let address = numbers.device_ptr(gpu.cuda()).0;
        Ok(Self { numbers, address })
    }

    /// These numbers.
    ///
    /// # Errors
    /// As [`Buffer::zeros`].
    pub fn of(gpu: &GpuStream, numbers: &[T]) -> Result<Self> {
        let mut buffer = Self::zeros(gpu, numbers.len())?;
        buffer.write(gpu, 0, numbers)?;
        Ok(buffer)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.numbers.num_bytes()
    }

    /// Writes numbers from place `first` on.
    ///
    /// # Errors
    /// If the buffer has fewer elements behind `first`.
    pub fn write(&mut self, gpu: &GpuStream, first: usize, numbers: &[T]) -> Result<()> {
        self.address_of(first, numbers.len())?;
        if numbers.is_empty() {
            return Ok(());
        }
        gpu.cuda().memcpy_htod(numbers, &mut self.numbers.slice_mut(first..first + numbers.len())).w()
    }

    /// Reads `count` numbers from place `first` on; waits for what was asked for before.
    ///
    /// # Errors
    /// If the buffer has fewer elements behind `first` than `count`, or something before failed.
    pub fn read(&self, gpu: &GpuStream, first: usize, count: usize) -> Result<Vec<T>> {
        self.address_of(first, count)?;
        let numbers = gpu.cuda().clone_dtoh(&self.numbers.slice(first..first + count)).w()?;
        gpu.wait()?;
        Ok(numbers)
    }

    /// Copies `count` numbers of `other` from place `from` on to place `to` and those after it.
    ///
    /// # Errors
    /// If either buffer has fewer elements there than `count`.
    pub fn copy(&mut self, gpu: &GpuStream, to: usize, other: &Self, from: usize, count: usize) -> Result<()> {
        self.address_of(to, count)?;
        other.address_of(from, count)?;
        let source = other.numbers.slice(from..from + count);
        gpu.cuda().memcpy_dtod(&source, &mut self.numbers.slice_mut(to..to + count)).w()
    }

    /// Copies `count` numbers from place `from` on to the beginning, which they do not reach.
    ///
    /// # Errors
    /// If the buffer has fewer elements behind `from` than `count`, or they reach the beginning.
    fn copy_within(&mut self, gpu: &GpuStream, from: usize, count: usize) -> Result<()> {
        self.address_of(from, count)?;
        if from < count {
            bail!("{count} numbers from place {from} on reach what they are copied to")
        }
        let (mut begin, rest) = self.numbers.split_at_mut(from);
        gpu.cuda().memcpy_dtod(&rest.slice(..count), &mut begin.slice_mut(..count)).w()
    }

    /// The same numbers once more.
    ///
    /// # Errors
    /// As [`Buffer::zeros`].
    pub fn again(&self, gpu: &GpuStream) -> Result<Self> {
        let mut buffer = Self::zeros(gpu, self.len())?;
        buffer.copy(gpu, 0, self, 0, self.len())?;
        Ok(buffer)
    }

    pub(super) fn numbers(&self) -> &CudaSlice<T> {
        &self.numbers
    }

    /// The address of `count` numbers from place `first` on.
    pub(super) fn address_of(&self, first: usize, count: usize) -> Result<u64> {
        if first + count > self.len() {
            bail!("numbers {first} to {} of {} were asked for", first + count, self.len())
        }
        Ok(self.address + (first * size_of::<T>()) as u64)
    }
}

/// Rows as kernels multiply them: each number as two bf16 that add up to it, padded to whole chunks; and of each row the
/// sums of squares of 16 channels each, from which the next norm's scale follows.
#[derive(Debug)]
pub(crate) struct Bf16Rows {
    numbers: Buffer<u16>,
    squares: Buffer<f32>,
    width: usize,
}

impl Bf16Rows {
    /// Room for `rows` rows of `width` channels.
    ///
    /// # Errors
    /// When the GPU has no memory for them.
    pub fn new(gpu: &GpuStream, rows: usize, width: usize) -> Result<Self> {
        let numbers = Buffer::zeros(gpu, 2 * rows * width.next_multiple_of(CHUNK))?;
        Ok(Self { numbers, squares: Buffer::zeros(gpu, rows * width.div_ceil(TILE))?, width })
    }

    /// Copies `count` rows of `other` from row `from` on.
    ///
    /// # Errors
    /// If either has fewer rows there than `count`, or they have another width.
    pub fn copy(&mut self, gpu: &GpuStream, to: usize, other: &Self, from: usize, count: usize) -> Result<()> {
        if self.width != other.width {
            bail!("rows of {} channels were asked for where they have {}", self.width, other.width)
        }
        let (row, tiles) = (2 * self.stride(), self.tiles());
        self.numbers.copy(gpu, to * row, &other.numbers, from * row, count * row)?;
        self.squares.copy(gpu, to * tiles, &other.squares, from * tiles, count * tiles)
    }

    /// Has row `from` be the first one too.
    ///
    /// # Errors
    /// If there is no row `from`.
    pub fn move_row(&mut self, gpu: &GpuStream, from: usize) -> Result<()> {
        if from == 0 {
            return Ok(());
        }
        let (row, tiles) = (2 * self.stride(), self.tiles());
        self.numbers.copy_within(gpu, from * row, row)?;
        self.squares.copy_within(gpu, from * tiles, tiles)
    }

    /// Channels of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    pub(super) fn stride(&self) -> usize {
        self.width.next_multiple_of(CHUNK)
    }

    pub(super) fn tiles(&self) -> usize {
        self.width.div_ceil(TILE)
    }

    /// The address of `count` rows from row `first` on.
    pub(super) fn rows(&self, first: usize, count: usize) -> Result<u64> {
        self.numbers.address_of(2 * first * self.stride(), 2 * count * self.stride())
    }

    /// The address of their sums of squares.
    pub(super) fn squares(&self, first: usize, count: usize) -> Result<u64> {
        self.squares.address_of(first * self.tiles(), count * self.tiles())
    }

    /// Rows of numbers as they are before the next norm's scale: of row `first` and `count - 1` behind it what their parts
    /// add up to, divided by the root of the mean square.
    ///
    /// # Shapes
    /// - result `count` · width
    ///
    /// # Errors
    /// If there are fewer rows behind `first` than `count`.
    pub fn normed(&self, gpu: &GpuStream, first: usize, count: usize, eps: f64) -> Result<Vec<f32>> {
        let (stride, tiles) = (self.stride(), self.tiles());
        let parts = self.numbers.read(gpu, 2 * first * stride, 2 * count * stride)?;
        let squares = self.squares.read(gpu, first * tiles, count * tiles)?;
        let number = |bits: u16| half::bf16::from_bits(bits).to_f32();
        let mut rows = Vec::with_capacity(count * self.width);
        for (row, squares) in parts.chunks_exact(2 * stride).zip(squares.chunks_exact(tiles)) {
            let scale = 1.0 / (squares.iter().sum::<f32>() / self.width as f32 + eps as f32).sqrt();
            let (high, low) = row.split_at(stride);
            rows.extend(high.iter().zip(low).take(self.width).map(|(a, b)| (number(*a) + number(*b)) * scale));
        }
        Ok(rows)
    }
}
