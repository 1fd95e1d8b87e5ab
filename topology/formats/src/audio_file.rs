//! Audio file that grows while a song is written and plays at every moment.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
};

use heartstream_messages::{PcmBlock, units::SAMPLE_RATE};
use heartstream_models::lock_output;

use crate::{Encoder, Format, FormatError, Metadata};

/// Samples between two corrections of the length in the head: what a kill at any moment leaves lacks less than a second.
const SAMPLES_BETWEEN_HEADS: u64 = SAMPLE_RATE as u64;

/// A file or a stream in one of the formats.
pub struct AudioFile {
    to: To,
    encoder: Box<dyn Encoder>,
    /// Bytes that were written.
    bytes: u64,
    /// Samples since the head last said how many there are.
    since_head: u64,
    /// The bytes of a block; kept so that its memory is used again.
    encoded: Vec<u8>,
}

enum To {
    /// Its head is corrected.
    File(File),
    /// What was written is gone: a pipe, a device, standard output.
    Stream(Box<dyn Write + Send>),
}

impl AudioFile {
    /// Begins the file `path`; one that is there is written over. A named pipe or a device is written to as a stream.
    ///
    /// # Errors
    /// When it cannot be made, another song is being written to it, or the program was built without the format.
    pub fn create(path: &Path, format: Format, metadata: &Metadata, seed: u64) -> Result<Self, FormatError> {
        let encoder = format.encoder(metadata, seed)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        let to = if file.metadata()?.is_file() {
            lock_output(&file)?;
            file.set_len(0)?;
            To::File(file)
        } else {
            To::Stream(Box::new(file))
        };
        Self::begin(to, encoder)
    }

    /// Begins a stream to anything that takes bytes.
    ///
    /// # Errors
    /// When it takes none, or the program was built without the format.
    pub fn stream(
        to: impl Write + Send + 'static,
        format: Format,
        metadata: &Metadata,
        seed: u64,
    ) -> Result<Self, FormatError> {
        Self::begin(To::Stream(Box::new(to)), format.encoder(metadata, seed)?)
    }

    fn begin(to: To, encoder: Box<dyn Encoder>) -> Result<Self, FormatError> {
        let head = match to {
            To::File(_) => encoder.head_of_file()?.map_or_else(|| encoder.head(), Ok)?,
            To::Stream(_) => encoder.head()?,
        };
        let mut begun = Self { to, encoder, bytes: 0, since_head: 0, encoded: head };
        begun.append()?;
        Ok(begun)
    }

    /// Writes a block; returns the bytes that were written so far.
    ///
    /// # Errors
    /// When the disk is full, or the format cannot hold the song.
    pub fn write(&mut self, block: &PcmBlock) -> Result<u64, FormatError> {
        self.encoded.clear();
        self.encoder.encode(block, &mut self.encoded)?;
        self.append()?;
        self.since_head += block.end().0 - block.start.0;
        if self.since_head >= SAMPLES_BETWEEN_HEADS {
            self.correct_head()?;
        }
        Ok(self.bytes)
    }

    /// Ends the song; returns the bytes that were written. A file is on the disk when this returns.
    ///
    /// # Errors
    /// As [`AudioFile::write`].
    pub fn finish(mut self) -> Result<u64, FormatError> {
        self.encoded.clear();
        self.encoder.finish(&mut self.encoded)?;
        self.append()?;
        self.correct_head()?;
        if let To::File(file) = &self.to {
            file.sync_all()?;
        }
        Ok(self.bytes)
    }

    fn append(&mut self) -> Result<(), FormatError> {
        match &mut self.to {
            To::File(file) => file.write_all(&self.encoded)?,
            To::Stream(stream) => {
                stream.write_all(&self.encoded)?;
                stream.flush()?;
            }
        }
        self.bytes += self.encoded.len() as u64;
        Ok(())
    }

    fn correct_head(&mut self) -> Result<(), FormatError> {
        if let (To::File(file), Some(head)) = (&mut self.to, self.encoder.head_of_file()?) {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&head)?;
            file.seek(SeekFrom::Start(self.bytes))?;
        }
        self.since_head = 0;
        Ok(())
    }
}
