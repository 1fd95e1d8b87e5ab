//! WAV sink: the song to a file that grows while it is made, or to a stream such as standard output.
//!
//! - [`SampleFormat`]: the form of a sample
//! - [`header`]: the bytes before the samples
//! - `wav_file`: a file that is right at every moment; `wav_stream`: what cannot be corrected; `pipe`: what may be full

mod error;
pub mod header;
#[cfg(unix)]
mod pipe;
mod sample_format;
mod wav_file;
mod wav_stream;

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::Arc,
};

use heartstream_messages::{PcmBlock, Stage, units::SampleIndex};
use heartstream_models::{lock_output, signal::KeyedNoise};

use crate::{
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
};
pub use error::WavError;
pub use sample_format::SampleFormat;
use wav_file::WavFile;
use wav_stream::{StreamTo, WavStream};

/// A file or stream that a song can be written to.
pub struct WavTarget {
    path: PathBuf,
    format: SampleFormat,
    /// Chunks before the samples of a file.
    chunks: Vec<u8>,
    writer: Writer,
}

enum Writer {
    /// A file that something else is in, which it keeps until there is a first sample.
    Kept(File),
    File(WavFile<File>),
    Stream(WavStream),
}

impl WavTarget {
    /// Makes the file `path`, which from then on is a WAV without a sample. A file with something in it is written over
    /// when the song has a first sample, and stays as it is if it never has. A named pipe or a device, such as
    /// `/dev/stdout`, is written to as a stream.
    ///
    /// # Errors
    /// When the file cannot be made, or another song is being written to it.
    pub fn file(path: &Path, format: SampleFormat) -> Result<Self, WavError> {
        Self::file_with_chunks(path, format, Vec::new())
    }

    /// As [`WavTarget::file`], with `chunks` before the samples, such as a `LIST` of type `INFO`: whole chunks of an even
    /// length. A pipe or a device gets none.
    ///
    /// # Errors
    /// As [`WavTarget::file`].
    pub fn file_with_chunks(path: &Path, format: SampleFormat, chunks: Vec<u8>) -> Result<Self, WavError> {
        let failed = |error: io::Error| WavError::Create { path: path.to_owned(), source: error };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_file() {
            lock_output(&file).map_err(failed)?;
        }
        let writer = if !found.is_file() {
            Writer::Stream(WavStream::new(stream_to(file), format))
        } else if found.len() > 0 {
            Writer::Kept(file)
        } else {
            begun(file, path, format, &chunks).map_err(failed)?
        };
        Ok(Self { path: path.to_owned(), format, chunks, writer })
    }

    /// Writes to standard output, the header with the first block.
    pub fn standard_output(format: SampleFormat) -> Self {
        let writer = Writer::Stream(WavStream::new(standard_output(), format));
        Self { path: "-".into(), format, chunks: Vec::new(), writer }
    }

    /// Writes to anything that takes bytes, the header with the first block; `name` is what messages call it. A write
    /// that fails with [`ErrorKind::BrokenPipe`] means that the reader has left, which ends the song.
    pub fn stream(name: &str, to: impl io::Write + Send + 'static, format: SampleFormat) -> Self {
        let writer = Writer::Stream(WavStream::new(StreamTo::Writer(Box::new(to)), format));
        Self { path: name.into(), format, chunks: Vec::new(), writer }
    }

    /// Truncates the previous content: the first sample is there.
    fn begin(&mut self) -> io::Result<()> {
        if let Writer::Kept(file) = &self.writer {
            file.set_len(0)?;
            self.writer = begun(file.try_clone()?, &self.path, self.format, &self.chunks)?;
        }
        Ok(())
    }
}

/// A WAV without a sample in the empty `file`.
fn begun(file: File, path: &Path, format: SampleFormat, chunks: &[u8]) -> io::Result<Writer> {
    // A disk without room for a header: what is there does not play.
    let begun = WavFile::begin(file, format, chunks.to_vec()).inspect_err(|_| drop(fs::remove_file(path)));
    Ok(Writer::File(begun?))
}

/// A named pipe or a device as a stream.
fn stream_to(file: File) -> StreamTo {
    #[cfg(unix)]
    return StreamTo::Pipe(pipe::Pipe(file));
    #[cfg(not(unix))]
    StreamTo::Writer(Box::new(file))
}

/// Standard output, without the buffer that the standard library has before it where that can be had.
fn standard_output() -> StreamTo {
    #[cfg(unix)]
    if let Ok(output) = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned() {
        return StreamTo::Pipe(pipe::Pipe(File::from(output)));
    }
    StreamTo::Writer(Box::new(io::stdout()))
}

/// Writes a song.
pub struct WavSinkStage {
    target: WavTarget,
    /// Noise of the dither.
    noise: KeyedNoise,
    /// The place in the song up to which it is written.
    written: SampleIndex,
    /// The bytes of a block; kept so that its memory is used again.
    encoded: Vec<u8>,
    /// Whether the reader of a stream has closed it, or takes no more of a song that is cancelled.
    reader_left: bool,
    sink: usize,
    song: SongContext,
}

impl WavSinkStage {
    /// Sink number `sink` of the song, writing to `target`; `noise` is that of the song's seed.
    pub fn new(target: WavTarget, noise: KeyedNoise, sink: usize, song: SongContext) -> Self {
        Self { target, noise, written: SampleIndex(0), encoded: Vec::new(), reader_left: false, sink, song }
    }

    /// What follows from a failed write. A reader that leaves ends the song, but nothing is wrong with that.
    fn failed(&mut self, error: io::Error) -> Result<(), Failure> {
        if error.kind() == ErrorKind::BrokenPipe {
            self.reader_left = true;
            self.song.facts.reader_leaves();
            self.song.stop.set();
            return Ok(());
        }
        if error.kind() == ErrorKind::TimedOut && self.song.stop.is_set() {
            tracing::info!("the reader takes no more of the song, which is over");
            self.reader_left = true;
            return Ok(());
        }
        let (path, written) = (self.target.path.clone(), self.written.seconds());
        Err(Box::new(WavError::Write { path, written, source: error }))
    }
}

impl StageWork for WavSinkStage {
    const STAGE: Stage = Stage::WavSink;
    type Input = Arc<PcmBlock>;
    type Output = Infallible;

    fn step(&mut self, event: Event<Arc<PcmBlock>>, _: &mut VecDeque<Infallible>) -> Result<Next, Failure> {
        match event {
            Event::Input(block) => self.write(&block)?,
            Event::End => self.finish()?,
            Event::Begin | Event::Continue => (),
        }
        Ok(if self.reader_left { Next::Nothing } else { Next::Input })
    }
}

impl WavSinkStage {
    fn write(&mut self, block: &PcmBlock) -> Result<(), Failure> {
        self.song.meter.audio_arrives();
        self.encoded.clear();
        self.target.format.encode(block, &self.noise, &mut self.encoded);
        let began = if block.samples.is_empty() { Ok(()) } else { self.target.begin() };
        let result = match &mut self.target.writer {
            Writer::Kept(_) => began,
            Writer::File(file) => {
                let before = file.frames();
                let result = file.write(&self.encoded);
                // Of a block that fails, a part may be in the file.
                self.written = SampleIndex(block.start.0 + file.frames() - before);
                result
            }
            Writer::Stream(stream) => {
                let sent = stream.write(&self.encoded, &self.song.stop);
                sent.inspect(|()| self.written = block.end())
            }
        };
        self.song.meter.delivered(self.sink, self.written);
        match result {
            Ok(()) => self.song.meter.stage(Stage::WavSink).did_one(),
            Err(error) => self.failed(error)?,
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let ended = match &mut self.target.writer {
            // A song without a sample leaves the previous content.
            Writer::Kept(_) => Ok(()),
            Writer::File(file) => file.correct_header(),
            Writer::Stream(stream) => stream.end(&self.song.stop),
        };
        ended.or_else(|error| self.failed(error))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, sync::Mutex};

    use super::*;
    use crate::song_context::Faults;

    /// A pipe that takes `room` bytes and then fails in one way.
    struct Pipe {
        taken: Arc<Mutex<Vec<u8>>>,
        room: usize,
        then: ErrorKind,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.taken.lock().unwrap();
            if taken.len() == self.room {
                return Err(self.then.into());
            }
            let fits = bytes.len().min(self.room - taken.len());
            taken.extend(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn sink(room: usize, then: ErrorKind) -> (WavSinkStage, Arc<Mutex<Vec<u8>>>, SongContext) {
        let (taken, song) = (Arc::default(), SongContext::new(1, Faults::default()));
        let pipe = Pipe { taken: Arc::clone(&taken), room, then };
        let (path, format) = ("-".into(), SampleFormat::S16);
        let writer = Writer::Stream(WavStream::new(StreamTo::Writer(Box::new(pipe)), format));
        let target = WavTarget { path, format, chunks: Vec::new(), writer };
        (WavSinkStage::new(target, KeyedNoise::new(1), 0, song.clone()), taken, song)
    }

    fn given(sink: &mut WavSinkStage, number: u64) -> Result<Next, Failure> {
        let block = PcmBlock { start: SampleIndex(number * 1000), samples: vec![0.25; 2000] };
        sink.step(Event::Input(Arc::new(block)), &mut VecDeque::new())
    }

    #[test]
    fn a_reader_that_leaves_ends_the_song_and_is_no_failure() {
        let (mut sink, _, song) = sink(5_000, ErrorKind::BrokenPipe);
        assert_eq!(given(&mut sink, 0).unwrap(), Next::Input);
        assert_eq!(given(&mut sink, 1).unwrap(), Next::Nothing);
        assert!(song.stop.is_set());
        assert_eq!(song.meter.progress().delivered, SampleIndex(1000), "what was sent off whole");
    }

    #[test]
    fn a_stream_that_fails_otherwise_is_a_failure_that_says_where_and_how_far() {
        let (mut sink, _, song) = sink(5_000, ErrorKind::StorageFull);
        given(&mut sink, 0).unwrap();
        let failure = given(&mut sink, 1).unwrap_err().to_string();
        assert!(failure.starts_with("writing to standard output failed after 0.02 s of the song: "), "{failure}");
        assert!(!sink.reader_left && !song.stop.is_set());
    }

    #[test]
    fn what_is_in_a_file_stays_until_the_song_has_a_sample() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wav");
        let sink = |path: &Path| {
            let target = WavTarget::file(path, SampleFormat::S16).unwrap();
            WavSinkStage::new(target, KeyedNoise::new(1), 0, SongContext::new(1, Faults::default()))
        };
        fs::write(&path, "another song").unwrap();
        // A song that ends before its first sample, and one that is dropped there.
        sink(&path).finish().unwrap();
        drop(sink(&path));
        assert_eq!(fs::read(&path).unwrap(), b"another song");
        let mut begun = sink(&path);
        given(&mut begun, 0).unwrap();
        begun.finish().unwrap();
        let written = fs::read(&path).unwrap();
        // And a file that was not there is a WAV at once: a reader can follow it from its beginning.
        let fresh = folder.path().join("y.wav");
        let mut followed = sink(&fresh);
        assert_eq!(hound::WavReader::open(&fresh).unwrap().len(), 0);
        given(&mut followed, 0).unwrap();
        followed.finish().unwrap();
        assert!(fs::read(&fresh).unwrap() == written, "nothing of what was there is left");
    }

    #[test]
    fn a_stream_has_one_header_even_when_it_has_no_sample() {
        let header = header::of_stream(SampleFormat::S16);
        let (mut empty, taken, _) = sink(usize::MAX, ErrorKind::Other);
        empty.finish().unwrap();
        assert_eq!(*taken.lock().unwrap(), header);

        let (mut full, taken, _) = sink(usize::MAX, ErrorKind::Other);
        for number in 0..3 {
            given(&mut full, number).unwrap();
        }
        full.finish().unwrap();
        assert_eq!(taken.lock().unwrap().len(), header.len() + 3 * 4_000);
    }
}
