//! Audio file formats: blocks of a song go in, bytes come out that play at every moment.
//!
//! Everything here is a value without threads. [`AudioFile`] writes a file, an [`Encoder`] gives the bytes to anything
//! else, [`Leveller`] sets the level before either, and [`LoudnessMeter`] says what the level was.
//!
//! A file and a stream of one song differ in their head alone, which is equally long in both: that of a file says how
//! long the song is. So a place in the stream is the same place in the file.

mod audio_file;
mod encoder;
mod error;
mod flac;
mod format;
mod level_follower;
mod leveller;
mod loudness;
mod metadata;
#[cfg(feature = "mp3")]
mod mp3;
mod ogg;
mod opus;
mod vorbis_comments;
mod wav;

pub use audio_file::AudioFile;
pub use encoder::Encoder;
pub use error::FormatError;
pub use format::{Format, UnknownFormat};
pub use leveller::{Leveller, TARGET};
pub use loudness::{Loudness, LoudnessMeter};
pub use metadata::Metadata;
pub use wav::info_chunk;
