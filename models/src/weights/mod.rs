//! Checkpoints: the files of a model, on disk or compiled into the program.
//!
//! [`Checkpoint`] hands out files, [`TensorStore`] the tensors in them, [`Json`] the fields of a config.
//! Every allocation is checked against the size of a file first.

mod checkpoint;
mod expected;
mod fingerprint;
mod foreign_files;
mod json;
mod on_device;
mod row_table;
mod seeded;
mod shard_index;
mod storage;
mod tensor_data;
mod tensor_store;

pub use checkpoint::{Checkpoint, EmbeddedFile, FileBytes};
pub use expected::Expected;
pub use fingerprint::{Fnv1a, fingerprint};
pub(crate) use foreign_files::of_file as foreign_file;
pub use json::Json;
pub use row_table::RowTable;
pub use seeded::{SeededCheckpoint, SeededNumbers};
pub(crate) use shard_index::file_names;
pub use storage::{FakeQuant, FlowPrecision, Storage, WORTH_NARROWING, is_matrix};
pub use tensor_data::TensorData;
pub use tensor_store::TensorStore;
