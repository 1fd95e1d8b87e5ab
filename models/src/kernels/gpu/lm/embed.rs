//! Embedding lookup of codes, and rows of words.

use candle_core::{
    Error, Result, bail,
    cuda_backend::cudarc::driver::{DeviceRepr, PinnedHostSlice},
};

use super::{Bf16Rows, Buffer, GpuStream};
use crate::kernels::gpu::upload::{numbers_in, page_locked};

/// A number of a [`Table`].
pub(crate) trait TableNumber: DeviceRepr + Copy {
    /// Whether it is bf16; else it is f32.
    const IS_BF16: bool;
}

impl TableNumber for half::bf16 {
    const IS_BF16: bool = true;
}

impl TableNumber for f32 {
    const IS_BF16: bool = false;
}

/// The embeddings of codes, \[codebooks · vocabulary, width\] in bf16 or f32. They lie in page-locked host memory, where kernels
/// read them: a frame needs fifteen rows of the published model's 65 576, 0.1 MB of 0.4 GB, which a small GPU has better use
/// for.
#[derive(Debug)]
pub(crate) struct Table {
    /// Where `address` points to.
    _memory: PinnedHostSlice<u8>,
    address: u64,
    is_bf16: bool,
    vocabulary: usize,
    codebooks: usize,
    width: usize,
}

impl Table {
    /// A table for the stream's GPU, of `rows` rows of `width` numbers that `fill` writes.
    ///
    /// # Errors
    /// Those of `fill`; when the host has no memory that can be locked, or rows are not a multiple of `vocabulary`.
    pub fn new<T: TableNumber, E: From<Error>>(
        gpu: &GpuStream,
        [rows, width]: [usize; 2],
        vocabulary: usize,
        fill: impl FnOnce(&mut [T]) -> std::result::Result<(), E>,
    ) -> std::result::Result<Self, E> {
        if !rows.is_multiple_of(vocabulary) {
            return Err(Error::Msg(format!("a table of {rows} rows has no codebooks of {vocabulary} codes"))
                .bt()
                .into());
        }
        let mut memory = page_locked(gpu.cuda().context(), rows * width * size_of::<T>())?;
        let numbers = numbers_in::<T>(&mut memory, rows * width)?;
        fill(numbers)?;
        let address = numbers.as_ptr() as u64;
        Ok(Self { _memory: memory, address, is_bf16: T::IS_BF16, vocabulary, codebooks: rows / vocabulary, width })
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct EmbedArgs {
    table: u64,
    codes: u64,
    given: u64,
    out: u64,
    out_scale: u64,
    out_parts: u64,
    out_squares: u64,
    is_bf16: i32,
    width: i32,
    vocabulary: i32,
    codebooks: i32,
    parts_stride: i32,
    batch: i32,
    frames: i32,
    first: i32,
}

impl GpuStream {
    /// Begins the residual stream of the backbone with `rows` rows: with those given, or with the embeddings of frames, each
    /// for `batch` rows. Codes on the GPU are below the vocabulary: a kernel drew them, or they were checked.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn embed_frames(
        &self,
        table: &Table,
        from: (Option<&Buffer<f32>>, &Buffer<i32>),
        (rows, batch): (usize, usize),
        stream: &Buffer<f32>,
        scale: &Buffer<f32>,
        parts: &Bf16Rows,
    ) -> Result<()> {
        let (given, codes) = from;
        let width = table.width;
        if parts.width() != width || !rows.is_multiple_of(batch) {
            bail!("{rows} rows of {width} channels do not fit rows of {}", parts.width())
        }
        let arguments = EmbedArgs {
            codes: codes.address_of(0, if given.is_none() { rows / batch * table.codebooks } else { 0 })?,
            given: given.map_or(Ok(0), |given| given.address_of(0, rows * width))?,
            out: stream.address_of(0, rows * width)?,
            out_scale: scale.address_of(0, width)?,
            out_parts: parts.rows(0, rows)?,
            out_squares: parts.squares(0, rows)?,
            batch: batch as i32,
            frames: (rows / batch) as i32,
            ..self.embedding(table, parts)
        };
        // SAFETY: addresses were given out for as many numbers as the kernel takes from these sizes; codes are in the table.
        unsafe { self.launch("embed_frames", [width.div_ceil(256), rows, 1], 256, 0, arguments) }
    }

    /// The embeddings of the codes before positions `first` (1 or more) to `first + positions - 1` of `frames` frames, as
    /// parts of `batch` rows each.
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn embed_codes(
        &self,
        table: &Table,
        codes: &Buffer<i32>,
        (first, positions): (usize, usize),
        (frames, batch): (usize, usize),
        parts: &Bf16Rows,
    ) -> Result<()> {
        let rows = positions * frames * batch;
        if parts.width() != table.width || first == 0 || first + positions > table.codebooks + 1 {
            bail!("positions {first} to {} of {} codes", first + positions, table.codebooks)
        }
        let arguments = EmbedArgs {
            codes: codes.address_of(0, frames * table.codebooks)?,
            out_parts: parts.rows(0, rows)?,
            batch: batch as i32,
            frames: frames as i32,
            first: first as i32,
            ..self.embedding(table, parts)
        };
        // SAFETY: as for `embed_frames`.
        unsafe { self.launch("embed_codes", [table.width.div_ceil(256), rows, 1], 256, 0, arguments) }
    }

    fn embedding(&self, table: &Table, parts: &Bf16Rows) -> EmbedArgs {
        EmbedArgs {
            table: table.address,
            codes: 0,
            given: 0,
            out: 0,
            out_scale: 0,
            out_parts: 0,
            out_squares: 0,
            is_bf16: i32::from(table.is_bf16),
            width: table.width as i32,
            vocabulary: table.vocabulary as i32,
            codebooks: table.codebooks as i32,
            parts_stride: parts.stride() as i32,
            batch: 1,
            frames: 1,
            first: 0,
        }
    }
}
