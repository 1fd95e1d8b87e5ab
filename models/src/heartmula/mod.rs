//! The HeartMuLa language model, words to codes.
//!
//! [`HeartMula`] holds the weights, [`SongState`] the KV cache and position of one song. A song is [`HeartMula::start`]
//! and then [`HeartMula::next_frame`] until a frame ends it; [`HeartMula::begin`] writes a first frame that does not.
//! Samples are drawn by a [`CodeSampler`].

mod bytes_read;
mod config;
mod first_frame;
mod flops;
mod kv_cache;
mod memory;
mod model;
#[cfg(feature = "cuda")]
mod on_gpu;
mod prefix;
mod sampler;
mod tensors;
mod transformer;

pub use heartstream_messages::{PromptTokens, Sampling};

pub use bytes_read::WeightReads;
pub use config::{HeartMulaConfig, SpecialIds, TransformerConfig};
pub use first_frame::{Begun, REDRAWS};
pub use kv_cache::KvCache;
pub use model::{
    HeartMula, SongInPass, SongState, SongTarget, VerifyBuffers, check_guidance, guided, prompt_positions,
};
pub use sampler::{CodeSampler, KeyedSampler, argmax};
pub use tensors::expected_tensors;
pub(crate) use tensors::transformer_tensors;
pub use transformer::Transformer;
