//! Models and signal processing: the HeartMuLa language model, HeartCodec, and the steps between words, codes and
//! sound.
//!
//! Nothing here depends on actors, threads or channels. Weights are loaded once and shared; the state of a song is a
//! separate value ([`heartmula::SongState`], [`heartcodec::VocoderState`]).
//!
//! # Layout
//! - [`weights`]: files, tensors and configs of a checkpoint, checked before anything is allocated
//! - [`text`]: tags and lyrics to prompt ids
//! - [`heartmula`]: prompt ids to codes
//! - [`speculation`]: prompt ids to the same codes in fewer passes over the weights
//! - [`heartcodec`]: codes to latents to samples
//! - [`signal`]: keyed noise, windows, overlap-add
//! - [`foreign_text`]: foreign text, escaped for messages; `contained`: panics of foreign code as errors;
//!   `library_pools`: pools of foreign code; `output_lock`: one song in a file
//! - `device`: processor or GPU
//! - [`kernels`]: the arithmetic of both models

mod bounded_json;
mod card;
mod contained;
mod device;
mod directory;
mod error;
pub mod foreign_text;
pub mod heartcodec;
pub mod heartmula;
pub mod kernels;
mod library_pools;
mod output_lock;
mod part_discovery;
pub mod signal;
mod song_codes;
mod song_defaults;
pub mod speculation;
#[cfg(test)]
mod test_checkpoints;
pub mod text;
pub mod weights;

pub use card::{CARD_FILE, ModelCard};
pub use contained::{contained, is_contained, panic_text};
pub use device::{DeviceName, Devices};
#[cfg(feature = "cuda")]
pub use device::{GpuInfo, gpu_limits};
pub use directory::{CODEC_PART, LM_PARTS, ModelDirectory, TOKENIZER};
pub use error::{Found, ModelError, Result, SavedSongRemedy, TensorProblem, TensorProblems, write_remedy};
pub use kernels::cpu::WeightDtype;
pub use library_pools::start_library_pools;
pub use output_lock::lock_output;
pub use song_codes::SongCodes;
pub use song_defaults::SongDefaults;
