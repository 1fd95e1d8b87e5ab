//! Errors of the corpus files.

use std::path::PathBuf;

/// Why no corpus could be opened.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file that cannot be read or written.
    #[error("{}: {problem}. {remedy}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file of notes that is not one.
    #[error("the scores are damaged at byte {offset}: expected {expected}. Restore examples/train/corpus/scores.bin")]
    Scores {
        /// Where, in bytes behind the decompression.
        offset: usize,
        /// What should have stood there.
        expected: &'static str,
    },
    /// A SoundFont that cannot be used.
    #[error("the SoundFont cannot be used: {problem}. Take FluidR3_GM.sf2 of Debian's package fluid-soundfont-gm")]
    SoundFont {
        /// What is wrong with it.
        problem: String,
    },
}

/// What the corpus's functions return.
pub type Result<T> = std::result::Result<T, CorpusError>;
