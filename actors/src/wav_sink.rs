//! The song to a file that grows while it is made, or to standard output.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs::File,
    io::{self, BufWriter, Stdout, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use heartstream_messages::{
    PcmBlock, Stage,
    units::{CHANNELS, SAMPLE_RATE},
};
use hound::{SampleFormat, WavSpec, WavWriter};

use crate::{
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// Samples of each channel between two corrections of the header: a second. Killed at any time, the file plays up to
/// the last of them.
const SAMPLES_BETWEEN_HEADERS: u64 = SAMPLE_RATE as u64;

/// 48 kHz stereo, 32-bit floats: what the vocoder makes, untouched.
const SPEC: WavSpec = WavSpec {
    channels: CHANNELS as u16,
    sample_rate: SAMPLE_RATE,
    bits_per_sample: 32,
    sample_format: SampleFormat::Float,
};

/// Why a WAV cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WavError {
    /// The file cannot be made.
    #[error("cannot write {}: {reason}. Give a path in a directory that exists and may be written to", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// A write failed in the middle of the song.
    #[error("writing {} failed: {reason}. What was written before plays; make room on the disk and render again", path.display())]
    Write {
        /// The file, or `-`.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
}

/// Writes a song.
pub struct WavSinkStage {
    path: PathBuf,
    /// `None` once it is closed.
    writer: Option<Writer>,
    /// The place in the song at which the header was last right.
    header_at: u64,
    sink: usize,
    song: SongContext,
}

enum Writer {
    File(WavWriter<BufWriter<File>>),
    /// A pipe cannot be corrected: its header says that the length is not known.
    Stream(BufWriter<Stdout>),
}

/// A file or stream that a song can be written to. Nothing is written yet but a header.
pub struct WavTarget {
    path: PathBuf,
    writer: Writer,
}

impl WavTarget {
    /// Makes or overwrites the file `path`.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn file(path: &Path) -> Result<Self, WavError> {
        let writer = WavWriter::create(path, SPEC)
            .map_err(|error| WavError::Create { path: path.to_owned(), reason: reason(error) })?;
        Ok(Self { path: path.to_owned(), writer: Writer::File(writer) })
    }

    /// Writes to standard output.
    ///
    /// # Errors
    /// When it is closed.
    pub fn standard_output() -> Result<Self, WavError> {
        let mut stdout = BufWriter::new(io::stdout());
        let header = SPEC.into_header_for_infinite_file();
        stdout.write_all(&header).map_err(|error| WavError::Write { path: "-".into(), reason: error.to_string() })?;
        Ok(Self { path: "-".into(), writer: Writer::Stream(stdout) })
    }
}

impl WavSinkStage {
    /// Sink number `sink` of the song, writing to `target`.
    pub fn new(target: WavTarget, sink: usize, song: SongContext) -> Self {
        Self { path: target.path, writer: Some(target.writer), header_at: 0, sink, song }
    }

    fn write(&mut self, block: &PcmBlock) -> Result<(), hound::Error> {
        match &mut self.writer {
            None => Ok(()),
            Some(Writer::File(file)) => {
                block.samples.iter().try_for_each(|sample| file.write_sample(*sample))?;
                if block.end().0 >= self.header_at + SAMPLES_BETWEEN_HEADERS {
                    file.flush()?;
                    self.header_at = block.end().0;
                }
                Ok(())
            }
            Some(Writer::Stream(stdout)) => {
                block.samples.iter().try_for_each(|sample| stdout.write_all(&sample.to_le_bytes()))?;
                Ok(stdout.flush()?)
            }
        }
    }

    fn failed(&self, error: hound::Error) -> Failure {
        Box::new(WavError::Write { path: self.path.clone(), reason: reason(error) })
    }
}

impl StageWork for WavSinkStage {
    const STAGE: Stage = Stage::WavSink;
    type Input = Arc<PcmBlock>;
    type Output = Infallible;

    fn work(&mut self, block: &Arc<PcmBlock>, _: &mut VecDeque<Infallible>) -> Result<(), Failure> {
        self.song.meter.audio_arrives();
        self.write(block).map_err(|error| self.failed(error))?;
        self.song.meter.delivered(self.sink, block.end());
        self.song.meter.stage(Self::STAGE).did_one();
        Ok(())
    }

    fn finish(&mut self, _: &mut VecDeque<Infallible>) -> Result<(), Failure> {
        let closed = match self.writer.take() {
            Some(Writer::File(file)) => file.finalize(),
            Some(Writer::Stream(mut stdout)) => stdout.flush().map_err(hound::Error::from),
            None => Ok(()),
        };
        closed.map_err(|error| self.failed(error))
    }
}

fn reason(error: hound::Error) -> String {
    match error {
        hound::Error::IoError(error) => error.to_string(),
        other => other.to_string(),
    }
}
