//! Errors of writing a WAV.

use std::{
    io,
    path::{Path, PathBuf},
};

use heartstream_messages::units::Seconds;
use heartstream_models::write_remedy;

/// Why a WAV cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// The file cannot be made.
    #[error("cannot write {}: {source}. {}", path.display(), write_remedy(source))]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A write failed in the middle of the song.
    #[error(
        "writing {} failed after {written} of the song: {source}. {}{}, and sing again with the same seed",
        shown(path),
        if written.0 > 0.0 { "What was written plays. " } else { "" },
        write_remedy(source)
    )]
    Write {
        /// The file, or `-`.
        path: PathBuf,
        /// How much of the song is in the file and plays, or was sent off.
        written: Seconds,
        /// What the operating system said.
        source: io::Error,
    },
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "to standard output".to_owned() } else { path.display().to_string() }
}
