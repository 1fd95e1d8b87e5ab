//! Files in other formats than WAV: the blocks of a song go through an encoder of `heartstream-formats`.

use std::path::PathBuf;

use heartstream::{PcmBlock, SampleFormat, SongRequest};
use heartstream_formats::{AudioFile, Format, FormatError, Metadata};

/// A file that the blocks of a song are written to. It is made with the first of them: what was there before stays where a
/// song has none.
pub(super) struct Recording {
    path: PathBuf,
    format: Format,
    metadata: Metadata,
    seed: u64,
    file: Option<AudioFile>,
}

/// The format that a path asks for, where that is not WAV; `samples` are the samples that were asked for.
pub(super) fn format_of(path: &std::path::Path, samples: SampleFormat) -> Option<Format> {
    match (Format::of_path(path)?, samples) {
        (Format::Wav(_), _) => None,
        (Format::Flac16, SampleFormat::S24) => Some(Format::Flac24),
        (format, _) => Some(format),
    }
}

impl Recording {
    /// Of the song that `request` asks for, by the model of this fingerprint.
    pub fn new(path: PathBuf, format: Format, request: &SongRequest, fingerprint: &str) -> Self {
        let metadata = Metadata::new(&request.tags, &request.lyrics, request.seed, fingerprint);
        Self { path, format, metadata, seed: request.seed, file: None }
    }

    /// Writes a block.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, block: &PcmBlock) -> Result<(), FormatError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(AudioFile::create(&self.path, self.format, &self.metadata, self.seed)?),
        };
        file.write(block).map(drop)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// As [`Recording::write`].
    pub fn finish(self) -> Result<(), FormatError> {
        match self.file {
            Some(file) => file.finish().map(drop),
            None => Ok(()),
        }
    }
}
