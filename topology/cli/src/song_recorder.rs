//! Recording of a song: its blocks go through an encoder of `heartstream-formats`, on a thread that may wait for the disk
//! or for the reader of a pipe.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
    sync::Arc,
};

use heartstream::PcmBlock;
use heartstream_formats::{AudioFile, Format, FormatError, Leveller, Metadata, TARGET};
use tokio::{
    sync::mpsc::{self, Permit},
    task::JoinHandle,
};

/// What a recording is made of.
pub(super) struct RecordingArgs {
    /// The file; `None` for standard output.
    pub path: Option<PathBuf>,
    pub format: Format,
    pub metadata: Metadata,
    pub seed: u64,
    /// Gain of the model's card in decibels, where the song is to be levelled.
    pub gain: Option<f64>,
}

/// A file or a stream that the blocks of a song are written to. It is made with the first of them: what was there before
/// stays where a song has none.
pub(super) struct SongRecorder {
    /// `None` once all blocks are given.
    blocks: Option<mpsc::Sender<Arc<PcmBlock>>>,
    /// `None` once all is written.
    writer: Option<JoinHandle<Result<(), FormatError>>>,
    /// The reader of the pipe has closed it.
    pub reader_left: bool,
}

impl SongRecorder {
    /// Begins within the current runtime.
    pub fn begin(args: RecordingArgs) -> Self {
        let (blocks, received) = mpsc::channel(1);
        let writer = tokio::task::spawn_blocking(move || write(args, received));
        Self { blocks: Some(blocks), writer: Some(writer), reader_left: false }
    }

    /// Room for a block; `None` when all are given or can no longer be written. May be dropped while it waits.
    pub async fn room(&self) -> Option<Permit<'_, Arc<PcmBlock>>> {
        self.blocks.as_ref()?.reserve().await.ok()
    }

    /// There are no more blocks; waits until all are written. May be dropped while it waits. A reader that leaves has all
    /// that it wants.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn written(&mut self) -> Result<(), FormatError> {
        self.blocks = None;
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let written = writer.await.map_err(io::Error::from)?;
        self.writer = None;
        match written {
            Err(FormatError::Io(error)) if error.kind() == ErrorKind::BrokenPipe => self.reader_left = true,
            written => written?,
        }
        Ok(())
    }
}

fn write(args: RecordingArgs, mut blocks: mpsc::Receiver<Arc<PcmBlock>>) -> Result<(), FormatError> {
    let Some(first) = blocks.blocking_recv() else { return Ok(()) };
    let RecordingArgs { path, format, metadata, seed, gain } = args;
    let mut file = match path {
        Some(path) => AudioFile::create(&path, format, &metadata, seed)?,
        None => AudioFile::stream(io::stdout(), format, &metadata, seed)?,
    };
    let mut leveller = gain.map(|gain| Leveller::following(gain, TARGET)).transpose()?;
    let mut next = Some(first);
    while let Some(block) = next {
        match &mut leveller {
            None => file.write(&block)?,
            Some(leveller) => file.write(&leveller.level(&block))?,
        };
        next = blocks.blocking_recv();
    }
    if let Some(mut leveller) = leveller {
        file.write(&leveller.finish())?;
    }
    file.finish().map(drop)
}
