//! Tools around the models: what the program, the trainer, tests and benches do with a checkpoint, and what no song
//! needs.
//!
//! # Layout
//! - [`synth`]: checkpoints from a seed
//! - [`convert()`]: a checkpoint in narrower dtypes
//! - [`golden`]: comparison with the reference's results
//! - [`quality`]: measures of the quality that cheaper or earlier decoding costs
//! - [`distill`]: training of the weights of a drafter
//! - [`oracle`]: drafters that know the song

mod convert;
pub mod distill;
pub mod golden;
pub mod oracle;
mod part_writer;
pub mod quality;
pub mod synth;

pub use convert::convert;
