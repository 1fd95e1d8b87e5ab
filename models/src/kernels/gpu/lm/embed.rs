//! Embedding lookup of codes, and rows of words.

use candle_core::{DType, Result, Storage, Tensor, bail, cuda_backend::cudarc::driver::DevicePtr};

use super::{Bf16Rows, Buffer, GpuStream};
use crate::kernels::gpu::weight_pool;

/// The embeddings of codes, \[codebooks · vocabulary, width\] in bf16 or f32.
#[derive(Debug)]
pub(crate) struct Table {
    numbers: Tensor,
    address: u64,
    vocabulary: usize,
    codebooks: usize,
    width: usize,
}

impl Table {
    /// Of a tensor on the stream's GPU.
    ///
    /// # Errors
    /// When it lies elsewhere, or its shape is another.
    pub fn new(gpu: &GpuStream, numbers: Tensor, vocabulary: usize) -> Result<Self> {
        let numbers = weight_pool::settled(&numbers)?;
        let (rows, width) = numbers.dims2()?;
        if !rows.is_multiple_of(vocabulary) || numbers.layout().start_offset() > 0 {
            bail!("a table of {rows} rows has no codebooks of {vocabulary} codes")
        }
        numbers.device().synchronize()?;
        let address = match (&*numbers.storage_and_layout().0, numbers.dtype()) {
            (Storage::Cuda(storage), DType::BF16) => storage.as_cuda_slice::<half::bf16>()?.device_ptr(gpu.cuda()).0,
            (Storage::Cuda(storage), DType::F32) => storage.as_cuda_slice::<f32>()?.device_ptr(gpu.cuda()).0,
            _ => bail!("a table for a GPU lies there, in bf16 or f32"),
        };
        Ok(Self { address, vocabulary, codebooks: rows / vocabulary, width, numbers })
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
            is_bf16: i32::from(table.numbers.dtype() == DType::BF16),
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
