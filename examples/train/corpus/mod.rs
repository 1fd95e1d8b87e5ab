//! Corpus: public-domain scores, played in many ways by a free SoundFont, with tags and words.
//!
//! `scores.bin` holds the notes (`extract.py` made it once; `docs/corpus-rights.md` says by which right). A [`Dataset`]
//! draws a variation of a piece, plays it, writes its words, and renders it to 48 kHz stereo. A variation has one of two
//! manners: an excerpt of the piece that fits a window of the codec, or its parts in a form.
//!
//! ```text
//! scores -> phrases -> variation -> song -> render -> samples
//!              |          |          |
//!              +-> form --+-> words <+-> tags and lyrics -> tokens
//! ```

// What one of the programs that share this module does not use is not dead.
#![allow(dead_code, unused_imports, reason = "two programs share these files and use different parts")]

mod dataset;
mod error;
mod form;
mod harmony;
mod instruments;
mod loudness;
mod phrases;
mod render;
mod rng;
mod scores;
mod song;
pub mod soundfont;
pub mod tokens;
mod user_words;
mod variation;
mod vocabulary;
mod words;

#[cfg(test)]
mod tests;

pub use dataset::{Dataset, Example, Examples, Plan, Split};
pub use error::{CorpusError, Result};
pub use form::PARTS;
pub use instruments::{INSTRUMENTS, Instrument};
pub use loudness::loudness;
pub use phrases::LINE_FRAMES;
pub use render::{FRAME_SAMPLES, Rendered, SAMPLE_RATE, render};
pub use rng::SplitMix64;
pub use scores::{Collection, Kind, Mode, Piece};
pub use song::{Song, Sounding};
pub use variation::{Manner, Texture, Variation};

/// The notes that the repository carries.
pub const SCORES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/scores.bin");
