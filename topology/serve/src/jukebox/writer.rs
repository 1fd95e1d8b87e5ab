//! Writer of a song: blocks to the file that listeners read, levelled, measured and counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use heartstream::PcmBlock;
use heartstream_formats::{AudioFile, Leveller, Loudness, LoudnessMeter, TARGET};
use tokio::sync::{mpsc, watch};

use crate::{
    error::ApiError,
    growing_file::Grown,
    live_song::{LiveSong, Wish},
    metrics::Metrics,
};

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
    /// When a listener would have begun who played from the first sound on and waited for nothing but pauses and
    /// under-runs.
    playing_since: Option<Instant>,
    /// What clients want: whether the song was paused since the last block.
    wish: watch::Receiver<Wish>,
}

impl Writer {
    /// Begins the file.
    pub fn begin(song: &Arc<LiveSong>, gain: Option<f64>, metrics: Metrics) -> Result<Self, ApiError> {
        let file = AudioFile::create(&song.files.audio(song.format), song.format, &song.metadata, song.request.seed)?;
        let leveller = gain.map(|gain| Leveller::following(gain, TARGET)).transpose()?;
        let meter = LoudnessMeter::new()?;
        let (song, wish) = (Arc::clone(song), song.wish.subscribe());
        Ok(Self { song, file, leveller, meter, metrics, seconds: 0.0, playing_since: None, wish })
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

    /// Counts an under-run where a listener from the first sound on has played all that was there, and waits. In a pause
    /// there is none. Either way that listener goes on with what comes now.
    fn count_underrun(&mut self) {
        let since = *self.playing_since.get_or_insert_with(Instant::now);
        let paused = self.wish.has_changed().unwrap_or(false) || self.wish.borrow_and_update().paused;
        self.wish.mark_unchanged();
        let late = since.elapsed().as_secs_f64() - self.seconds;
        if self.seconds > 0.0 && late > 0.0 {
            if !paused {
                self.metrics.underrun();
            }
            self.playing_since = Some(since + Duration::from_secs_f64(late));
        }
    }

    fn append(&mut self, block: &PcmBlock) -> Result<(), ApiError> {
        self.meter.measure(block)?;
        let bytes = self.file.write(block)?;
        if block.samples.is_empty() {
            return Ok(());
        }
        self.count_underrun();
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
