//! Writer of a song: blocks to the file that listeners read, levelled, measured and counted.

use std::{sync::Arc, time::Instant};

use heartstream::PcmBlock;
use heartstream_formats::{AudioFile, Leveller, Loudness, LoudnessMeter, TARGET};
use tokio::sync::mpsc;

use crate::{error::ApiError, live_song::LiveSong, metrics::Metrics, recording::Grown};

/// What was written.
pub(super) struct Written {
    pub bytes: u64,
    pub seconds: f64,
    pub loudness: Loudness,
}

/// Writes one song.
pub(super) struct Writer {
    song: Arc<LiveSong>,
    file: AudioFile,
    leveller: Option<Leveller>,
    meter: LoudnessMeter,
    metrics: Metrics,
    /// Seconds of sound in the file.
    seconds: f64,
    /// When the first sound was there.
    first: Option<Instant>,
}

impl Writer {
    /// Begins the file.
    pub fn begin(song: &Arc<LiveSong>, gain: Option<f64>, metrics: Metrics) -> Result<Self, ApiError> {
        let file = AudioFile::create(&song.files.audio(song.format), song.format, &song.metadata, song.request.seed)?;
        let leveller = gain.map(|gain| Leveller::following(gain, TARGET)).transpose()?;
        let meter = LoudnessMeter::new()?;
        Ok(Self { song: Arc::clone(song), file, leveller, meter, metrics, seconds: 0.0, first: None })
    }

    /// Writes the blocks to the last one, on a thread that may wait for the disk.
    pub fn write(mut self, mut blocks: mpsc::Receiver<Arc<PcmBlock>>) -> Result<Written, ApiError> {
        while let Some(block) = blocks.blocking_recv() {
            match &mut self.leveller {
                None => self.append(&block)?,
                Some(leveller) => {
                    let levelled = leveller.level(&block);
                    self.append(&levelled)?;
                }
            }
        }
        if let Some(rest) = self.leveller.as_mut().map(Leveller::finish) {
            self.append(&rest)?;
        }
        let Self { song, file, meter, seconds, .. } = self;
        let bytes = file.finish()?;
        song.grown.send_replace(Grown { bytes, over: false });
        Ok(Written { bytes, seconds, loudness: meter.loudness() })
    }

    fn append(&mut self, block: &PcmBlock) -> Result<(), ApiError> {
        self.meter.measure(block)?;
        let bytes = self.file.write(block)?;
        if block.samples.is_empty() {
            return Ok(());
        }
        let first = *self.first.get_or_insert_with(Instant::now);
        // A listener from the first sound on has played all that was there, and waits.
        if self.seconds > 0.0 && first.elapsed().as_secs_f64() > self.seconds && !self.song.wish.borrow().paused {
            self.metrics.underrun();
        }
        self.seconds = block.end().seconds().0;
        self.song.grown.send_replace(Grown { bytes, over: false });
        let (seconds, ordered) = (self.seconds, self.song.ordered);
        let mut was_first = None;
        self.song.set(|status| {
            status.buffered = seconds;
            if status.first_sound.is_none() {
                was_first = Some(ordered.elapsed());
                status.first_sound = was_first.map(|time| time.as_secs_f64());
            }
        });
        if let Some(time) = was_first {
            self.metrics.first_sound(time);
        }
        Ok(())
    }
}
