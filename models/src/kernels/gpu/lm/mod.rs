//! GPU kernels of the language model, for a few rows at a time.
//!
//! A [`GpuStream`] is a stream with the kernels of `lm.cu`. What they take is checked here, so that everything above is
//! safe: a [`Buffer`] checks bounds before it gives out a device pointer. Rows that are multiplied are [`Bf16Rows`]: two
//! bf16 numbers for each f32, within 2^-18 of it. A row's results depend on that row and the weights alone.

mod attention;
mod buffer;
mod draw;
mod embed;
mod gpu_stream;
mod product;
mod song_table;

pub(crate) use attention::{Attention, KvCacheSizes, PAGE, PagedKvCache, Scratch, Start};
pub(crate) use buffer::{Bf16Rows, Buffer};
pub(crate) use draw::{DrawSettings, Drawers, Drawn, SongPlace};
pub(crate) use embed::Table;
pub(crate) use gpu_stream::GpuStream;
pub(crate) use product::{Epilogue, Guidance, Input, Matrix};
pub(crate) use song_table::{SongTable, TableSong};

/// Channels that rows are padded to a multiple of; `CHUNK` in `common.cuh`.
const CHUNK: usize = 32;
/// Outputs of one matrix instruction; `TILE` in `common.cuh`.
const TILE: usize = 16;
