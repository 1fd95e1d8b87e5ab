//! Checkpoints: the files of a model, on disk or inside the program.
//!
//! [`Checkpoint`] hands out files, [`Shards`] the tensors in them, [`Json`] the fields of a config.
//! Nothing here allocates by a number that was not first compared with the size of a file.

mod checkpoint;
mod fingerprint;
mod foreign_files;
mod json;
mod numbers;
mod part_writer;
mod row_table;
mod seeded;
mod shards;
mod storage;

pub use checkpoint::{Checkpoint, EmbeddedFile, FileBytes};
pub use fingerprint::fingerprint;
pub(crate) use foreign_files::of_file as foreign_file;
pub use json::Json;
pub(crate) use numbers::Numbers;
pub(crate) use part_writer::PartWriter;
pub use row_table::RowTable;
pub use seeded::{SeededCheckpoint, SeededNumbers};
pub(crate) use shards::file_names;
pub use shards::{Expected, Shards};
pub(crate) use storage::is_matrix;
pub use storage::{Coarse, Storage, WORTH_NARROWING};
