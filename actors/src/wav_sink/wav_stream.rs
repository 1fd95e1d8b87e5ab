//! WAV stream to what cannot be corrected: standard output, a named pipe, a device.

use std::io::{self, Write};

#[cfg(unix)]
use super::pipe::Pipe;
use super::{header, sample_format::SampleFormat};
use crate::song_context::StopFlag;

/// Where a stream goes.
pub(super) enum StreamTo {
    /// To the operating system, which says when there is room.
    #[cfg(unix)]
    Pipe(Pipe),
    /// To anything that takes bytes.
    Writer(Box<dyn Write + Send>),
}

/// A WAV whose header says that the length is not known.
pub(super) struct WavStream {
    to: StreamTo,
    format: SampleFormat,
    begun: bool,
}

impl WavStream {
    /// A stream of which nothing is written yet.
    pub(super) fn new(to: StreamTo, format: SampleFormat) -> Self {
        Self { to, format, begun: false }
    }

    /// Writes encoded samples, after the header if they are the first, and sends all of it off.
    ///
    /// # Errors
    /// As writing does; and with [`io::ErrorKind::TimedOut`] when the reader takes nothing and `stop` is set.
    pub(super) fn write(&mut self, encoded: &[u8], stop: &StopFlag) -> io::Result<()> {
        if !self.begun {
            self.to.send(&header::of_stream(self.format), stop)?;
            self.begun = true;
        }
        self.to.send(encoded, stop)
    }

    /// Ends the stream; one without a sample is a header.
    pub(super) fn end(&mut self, stop: &StopFlag) -> io::Result<()> {
        self.write(&[], stop)
    }
}

impl StreamTo {
    fn send(&mut self, bytes: &[u8], stop: &StopFlag) -> io::Result<()> {
        match self {
            #[cfg(unix)]
            Self::Pipe(pipe) => pipe.send(bytes, stop),
            Self::Writer(writer) => {
                writer.write_all(bytes)?;
                writer.flush()
            }
        }
    }
}
