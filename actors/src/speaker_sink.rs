//! The song to a loudspeaker, at the pace of the device.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    thread::sleep,
    time::Duration,
};

use cpal::{
    ErrorKind, SampleFormat, SizedSample, Stream, StreamConfig, SupportedStreamConfig,
    traits::{DeviceTrait, HostTrait, StreamTrait},
};
use heartstream_messages::{
    PcmBlock, Stage,
    units::{CHANNELS, SAMPLE_RATE},
};

use crate::{
    sample_ring::{Feed, Playback, Shared, sample_ring},
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// Samples of each channel between stage and callback: a second.
const RING_SAMPLES: usize = SAMPLE_RATE as usize;
/// How long to sleep when the ring is full; it then has 990 ms of music.
const NAP: Duration = Duration::from_millis(10);
/// Callbacks to wait for after the ring is empty, so that what the device has in its own buffers is heard …
const LAST_CALLBACKS: u64 = 4;
/// … but only so many naps.
const LAST_NAPS: usize = 100;

/// Why a song cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum SpeakerError {
    /// There is nothing to play on.
    #[error("no audio output device was found")]
    NoDevice,
    /// The device cannot play 48 kHz in a format that the engine can make.
    #[error("the audio device offers no 48 kHz output; it offers {found}")]
    NoFormat {
        /// What it offers.
        found: String,
    },
    /// The device does not open.
    #[error("the audio device does not open: {0}")]
    Open(String),
    /// The device went away in the middle of the song.
    #[error("the audio device was lost after {at}. Connect it and play again with the same seed")]
    Lost {
        /// How much of the song was sent to it.
        at: heartstream_messages::units::Seconds,
    },
}

/// An output device and the format it will be used with.
pub struct Speaker {
    device: cpal::Device,
    config: SupportedStreamConfig,
}

impl Speaker {
    /// The system's default device.
    ///
    /// # Errors
    /// When there is none, or it cannot play 48 kHz.
    pub fn default_device() -> Result<Self, SpeakerError> {
        let device = cpal::default_host().default_output_device().ok_or(SpeakerError::NoDevice)?;
        let offered: Vec<_> = device.supported_output_configs().map_err(|_| SpeakerError::NoDevice)?.collect();
        let usable = offered.iter().filter_map(|range| Some((rank(range)?, range.try_with_sample_rate(SAMPLE_RATE)?)));
        match usable.min_by_key(|(rank, _)| *rank) {
            Some((_, config)) => Ok(Self { device, config }),
            None if offered.is_empty() => Err(SpeakerError::NoDevice),
            None => {
                let found = offered.iter().map(|range| {
                    format!(
                        "{} from {} to {} Hz",
                        range.sample_format(),
                        range.min_sample_rate(),
                        range.max_sample_rate()
                    )
                });
                Err(SpeakerError::NoFormat { found: found.collect::<Vec<_>>().join(", ") })
            }
        }
    }

    fn open(&self, playback: Playback, shared: Arc<Shared>) -> Result<Stream, SpeakerError> {
        let config = self.config.config();
        match self.config.sample_format() {
            SampleFormat::F32 => self.stream::<f32>(config, playback, shared),
            SampleFormat::I32 => self.stream::<i32>(config, playback, shared),
            SampleFormat::I16 => self.stream::<i16>(config, playback, shared),
            SampleFormat::U16 => self.stream::<u16>(config, playback, shared),
            other => Err(SpeakerError::NoFormat { found: other.to_string() }),
        }
        .and_then(|stream| stream.play().map(|()| stream).map_err(|error| SpeakerError::Open(error.to_string())))
    }

    fn stream<T: SizedSample + cpal::FromSample<f32>>(
        &self,
        config: StreamConfig,
        mut playback: Playback,
        shared: Arc<Shared>,
    ) -> Result<Stream, SpeakerError> {
        let channels = usize::from(config.channels);
        let fill = move |buffer: &mut [T], _: &cpal::OutputCallbackInfo| playback.fill(buffer, channels);
        let failed = move |error: cpal::Error| match error.kind() {
            // The stream goes on after these.
            ErrorKind::Xrun | ErrorKind::DeviceChanged | ErrorKind::RealtimeDenied => (),
            _ => shared.lost.store(true, Ordering::Relaxed),
        };
        self.device
            .build_output_stream(config, fill, failed, None)
            .map_err(|error| SpeakerError::Open(error.to_string()))
    }
}

/// How well a range of configurations suits the engine, 0 best; `None` when not at all.
fn rank(range: &cpal::SupportedStreamConfigRange) -> Option<(usize, usize)> {
    let format = [SampleFormat::F32, SampleFormat::I32, SampleFormat::I16, SampleFormat::U16];
    let format = format.iter().position(|format| *format == range.sample_format())?;
    let channels = match usize::from(range.channels()) {
        CHANNELS => 0,
        1 => 1000,
        many => many,
    };
    Some((channels, format))
}

/// Plays a song.
pub struct SpeakerSinkStage {
    speaker: Speaker,
    feed: Feed,
    /// Until the first samples are in the ring, the callback's end; then the stream that has it.
    playback: Option<Playback>,
    stream: Option<Stream>,
    sink: usize,
    song: SongContext,
}

impl SpeakerSinkStage {
    /// Sink number `sink` of the song, playing on `speaker`.
    pub fn new(speaker: Speaker, sink: usize, song: SongContext) -> Self {
        let (feed, playback) = sample_ring(RING_SAMPLES);
        Self { speaker, feed, playback: Some(playback), stream: None, sink, song }
    }

    /// Whether the song still wants to be heard; an error when the device is gone.
    fn goes_on(&self, block_end: heartstream_messages::units::SampleIndex) -> Result<bool, Failure> {
        if self.feed.shared.lost.load(Ordering::Relaxed) {
            return Err(Box::new(SpeakerError::Lost { at: block_end.seconds() }));
        }
        Ok(!self.song.interrupt.is_raised())
    }

    fn report_underruns(&self) {
        self.song.meter.underruns.store(self.feed.shared.underruns.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl StageWork for SpeakerSinkStage {
    const STAGE: Stage = Stage::SpeakerSink;
    type Input = Arc<PcmBlock>;
    type Output = Infallible;

    fn work(&mut self, block: &Arc<PcmBlock>, _: &mut VecDeque<Infallible>) -> Result<(), Failure> {
        self.song.meter.audio_arrives();
        let mut rest = &block.samples[..];
        while !rest.is_empty() && self.goes_on(block.end())? {
            // Whole pairs only, so that left stays left.
            let pairs = (self.feed.samples.slots() / CHANNELS * CHANNELS).min(rest.len());
            if pairs == 0 {
                sleep(NAP);
                continue;
            }
            let (now, later) = rest.split_at(pairs);
            let (_, refused) = self.feed.samples.push_partial_slice(now);
            debug_assert!(refused.is_empty(), "the ring had room");
            rest = later;
            if let Some(playback) = self.playback.take() {
                self.stream = Some(self.speaker.open(playback, Arc::clone(&self.feed.shared))?);
            }
        }
        self.report_underruns();
        self.song.meter.delivered(self.sink, block.end());
        self.song.meter.stage(Self::STAGE).did_one();
        Ok(())
    }

    fn finish(&mut self, _: &mut VecDeque<Infallible>) -> Result<(), Failure> {
        self.feed.shared.ended.store(true, Ordering::Relaxed);
        let end = self.song.meter.progress().delivered;
        let heard = |feed: &Feed| feed.samples.slots() == RING_SAMPLES * CHANNELS;
        while self.stream.is_some() && !heard(&self.feed) && self.goes_on(end)? {
            sleep(NAP);
        }
        let callbacks = || self.feed.shared.callbacks.load(Ordering::Relaxed);
        let until = callbacks() + LAST_CALLBACKS;
        for _ in 0..LAST_NAPS {
            if self.stream.is_none() || callbacks() >= until || !self.goes_on(end)? {
                break;
            }
            sleep(NAP);
        }
        self.report_underruns();
        self.stream = None;
        Ok(())
    }
}
