//! How is a song written to what cannot be corrected: standard output, a named pipe, a device?

use std::io::{self, Write};

use super::{header, sample_format::SampleFormat};

/// A WAV whose header says that the length is not known.
pub(super) struct WavStream {
    to: Box<dyn Write + Send>,
    format: SampleFormat,
    begun: bool,
}

impl WavStream {
    /// A stream of which nothing is written yet.
    pub(super) fn new(to: Box<dyn Write + Send>, format: SampleFormat) -> Self {
        Self { to, format, begun: false }
    }

    /// Writes encoded samples, after the header if they are the first, and sends all of it off.
    pub(super) fn write(&mut self, encoded: &[u8]) -> io::Result<()> {
        if !self.begun {
            self.to.write_all(&header::of_stream(self.format))?;
            self.begun = true;
        }
        self.to.write_all(encoded)?;
        self.to.flush()
    }

    /// Ends the stream; one without a sample is a header.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.write(&[])
    }
}
