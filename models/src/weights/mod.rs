//! Where do the numbers of a model come from? A checkpoint: files on disk or inside the program.
//!
//! [`Checkpoint`] hands out files, [`Shards`] the tensors in them, [`Json`] the fields of a config.
//! Nothing here allocates by a number that was not first compared with the size of a file.

mod checkpoint;
mod fingerprint;
mod json;
mod row_table;
mod shards;

pub use checkpoint::{Checkpoint, EmbeddedFile, FileBytes};
pub use fingerprint::fingerprint;
pub use json::Json;
pub use row_table::RowTable;
pub(crate) use shards::file_names;
pub use shards::{Expected, Shards};
