//! Player of a song on a device that may come and go: samples are kept until the device has taken them.
//!
//! ```text
//! song (48 kHz, waiting) → resampler → ready (device's rate) → ring → callback
//! ```
//!
//! The ring is lost with its device. So what is in the ring is also the beginning of `ready`, and leaves it only once
//! the callback has taken it; a device that comes back, or another in its place, goes on with the next sample.

use std::{collections::VecDeque, sync::atomic::Ordering, time::Duration};

use heartstream_messages::units::{CHANNELS, SAMPLE_RATE, Seconds};

use super::{
    device::{DeviceNews, OnDeviceLoss, OpenStream, OutputDevice, SpeakerError},
    resample::Resampler,
    start_policy::LEAD,
};
use crate::{
    sample_ring::{Feed, Playback, sample_ring},
    song_context::Pause,
};

/// Samples of each channel that are resampled at once.
const CHUNK: usize = 1024;

/// The part of the speaker sink that is independent of songs: samples go in, a device takes them.
pub(super) struct Player {
    device: Box<dyn OutputDevice>,
    on_loss: OnDeviceLoss,
    /// Interval of the search for a lost device.
    between_tries: Duration,
    pause: Pause,
    /// Samples that wait at 48 kHz.
    song: VecDeque<f32>,
    /// Whether no more samples will come.
    complete: bool,
    /// `None` before the first device was found, and after the last sample went through it.
    resampler: Option<Resampler>,
    /// Whether the last sample went through the resampler.
    flushed: bool,
    /// Samples at the device's rate, those in the ring first.
    ready: VecDeque<f32>,
    /// The rate of `ready`, and of the device unless it is away.
    rate: u32,
    line: Option<Line>,
    /// Whether a device ever opened: one that never did was not lost.
    has_opened: bool,
    /// On the song's clock.
    next_try: Duration,
    played: f64,
    /// Under-runs and xruns of devices that are gone.
    past: Gaps,
}

/// Counters of glitches.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gaps {
    /// Samples of each channel that were silence for want of music.
    pub(super) underruns: u64,
    /// How often the device's own buffer ran dry.
    pub(super) xruns: u64,
}

/// The ring to a device that is there.
struct Line {
    feed: Feed,
    /// Samples that were put into the ring and not yet seen to be taken.
    in_ring: usize,
    /// The callback's end, until the device is opened.
    playback: Option<Playback>,
    stream: Option<OpenStream>,
    news: DeviceNews,
}

impl Player {
    pub(super) fn new(
        device: Box<dyn OutputDevice>,
        on_loss: OnDeviceLoss,
        between_tries: Duration,
        pause: Pause,
    ) -> Self {
        Self {
            device,
            on_loss,
            between_tries,
            pause,
            song: VecDeque::new(),
            complete: false,
            resampler: None,
            flushed: false,
            ready: VecDeque::new(),
            rate: SAMPLE_RATE,
            line: None,
            has_opened: false,
            next_try: Duration::ZERO,
            played: 0.0,
            past: Gaps::default(),
        }
    }

    /// Takes samples of the song, interleaved.
    pub(super) fn push(&mut self, samples: &[f32]) {
        self.song.extend(samples);
    }

    /// No more samples will come.
    pub(super) fn complete(&mut self) {
        self.complete = true;
    }

    /// Audio that is not yet on its way through the resampler and the ring.
    pub(super) fn waiting(&self) -> Seconds {
        Seconds(span(self.song.len(), SAMPLE_RATE))
    }

    /// Audio that is there and that no device has taken.
    pub(super) fn buffered(&self) -> Seconds {
        Seconds(self.waiting().0 + span(self.ready.len(), self.rate))
    }

    /// Audio that a device has taken.
    pub(super) fn played(&self) -> Seconds {
        Seconds(self.played)
    }

    /// Whether the device was there and is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.has_opened && self.line.is_none()
    }

    /// Whether every sample of a complete song was taken.
    pub(super) fn is_done(&self) -> bool {
        self.flushed && self.ready.is_empty()
    }

    /// How often the callback ran; `None` while no device is open.
    pub(super) fn callbacks(&self) -> Option<u64> {
        let line = self.line.as_ref().filter(|line| line.stream.is_some())?;
        Some(line.feed.shared.callbacks.load(Ordering::Relaxed))
    }

    /// Glitches so far.
    pub(super) fn gaps(&self) -> Gaps {
        let Some(line) = &self.line else { return self.past };
        let underruns = self.past.underruns + line.feed.shared.underruns.load(Ordering::Relaxed);
        Gaps { underruns, xruns: self.past.xruns + line.news.xruns() }
    }

    /// Moves on what can be moved: finds the device, fills the ring, and with `may_start` opens the device. `now` is
    /// the time on the song's clock.
    ///
    /// # Errors
    /// When the device cannot be used, or was lost and shall not be waited for.
    pub(super) fn pump(&mut self, may_start: bool, now: Duration) -> Result<(), SpeakerError> {
        if self.line.as_ref().is_some_and(|line| line.news.is_lost()) {
            self.hang_up();
            self.next_try = now;
            if self.on_loss == OnDeviceLoss::End {
                return Err(SpeakerError::Lost { device: self.device.name(), at: self.played() });
            }
            tracing::info!(device = self.device.name(), at = %self.played(), "the audio device was lost");
        }
        if self.is_done() {
            return Ok(());
        }
        if self.line.is_none() && now >= self.next_try {
            let connected = self.connect();
            self.tolerate(connected, now)?;
        }
        self.retire();
        self.fill_ring()?;
        if may_start {
            let opened = self.open();
            self.tolerate(opened, now)?;
        }
        Ok(())
    }

    /// Closes the device, if it is open.
    pub(super) fn close(&mut self) {
        self.hang_up();
    }

    /// A device that was lost may stay away for a while; one that never opened may not.
    fn tolerate(&mut self, result: Result<(), SpeakerError>, now: Duration) -> Result<(), SpeakerError> {
        match result {
            Err(error) if self.has_opened && self.on_loss == OnDeviceLoss::Wait => {
                tracing::debug!(%error, "the audio device is not back yet");
                self.next_try = now + self.between_tries;
                Ok(())
            }
            other => other,
        }
    }

    /// Finds the device; samples that were ready for a device of another rate are made ready for this one.
    fn connect(&mut self) -> Result<(), SpeakerError> {
        let rate = self.device.connect()?;
        if rate != self.rate || self.resampler.is_none() && !self.flushed {
            let next = Resampler::new(SAMPLE_RATE, rate)?;
            let mut convert = Resampler::new(self.rate, rate)?;
            if let Some(resampler) = self.resampler.take() {
                resampler.finish(&mut self.ready)?;
            }
            let mut ready = VecDeque::new();
            convert.push(self.ready.make_contiguous(), &mut ready)?;
            convert.finish(&mut ready)?;
            (self.ready, self.rate) = (ready, rate);
            self.resampler = (!self.flushed).then_some(next);
        }
        let (feed, playback) = sample_ring(rate as usize, self.pause.clone()); // a second
        self.line =
            Some(Line { feed, in_ring: 0, playback: Some(playback), stream: None, news: DeviceNews::default() });
        Ok(())
    }

    /// Opens the device once what it takes at once is in the ring, or all there is.
    fn open(&mut self) -> Result<(), SpeakerError> {
        let enough = ((LEAD.0 * f64::from(self.rate)) as usize).max(1) * CHANNELS;
        let all = self.flushed;
        let Some(line) = self.line.as_mut().filter(|line| all || line.in_ring >= enough) else { return Ok(()) };
        let Some(playback) = line.playback.take() else { return Ok(()) };
        match self.device.open(playback, line.news.clone()) {
            Ok(stream) => {
                line.stream = Some(stream);
                self.has_opened = true;
                Ok(())
            }
            Err(error) => {
                self.line = None; // its ring went with the callback that never ran
                Err(error)
            }
        }
    }

    fn hang_up(&mut self) {
        if let Some(line) = &mut self.line {
            line.stream = None; // from here on the callback takes nothing
        }
        self.retire();
        self.past = self.gaps();
        self.line = None;
    }

    /// Drops what the callback has taken.
    fn retire(&mut self) {
        if let Some(line) = &mut self.line {
            // The callback may be between left and right.
            let taken = (line.in_ring - line.feed.in_ring()) / CHANNELS * CHANNELS;
            self.ready.drain(..taken);
            line.in_ring -= taken;
            self.played += span(taken, self.rate);
        }
    }

    fn fill_ring(&mut self) -> Result<(), SpeakerError> {
        let Some(line) = &mut self.line else { return Ok(()) };
        // Whole pairs only, so that left stays left.
        let room = line.feed.samples.slots() / CHANNELS * CHANNELS;
        while self.ready.len() - line.in_ring < room
            && let Some(resampler) = &mut self.resampler
        {
            if self.song.is_empty() {
                if !self.complete {
                    break;
                }
                if let Some(resampler) = self.resampler.take() {
                    resampler.finish(&mut self.ready)?;
                }
                self.flushed = true;
                break;
            }
            let some = self.song.len().min(CHUNK * CHANNELS);
            let chunk: Vec<f32> = self.song.drain(..some).collect();
            resampler.push(&chunk, &mut self.ready)?;
        }
        let outside = self.ready.len() - line.in_ring;
        let now = outside.min(room);
        if self.flushed && now == outside {
            // Before the last samples, so that the silence after them is never taken for an under-run.
            line.feed.shared.ended.store(true, Ordering::Relaxed);
        }
        if let Ok(chunk) = line.feed.samples.write_chunk_uninit(now) {
            let from = line.in_ring;
            line.in_ring += chunk.fill_from_iter(self.ready.range(from..from + now).copied());
        }
        Ok(())
    }
}

/// How long `samples` of both channels together sound.
fn span(samples: usize, rate: u32) -> f64 {
    (samples / CHANNELS) as f64 / f64::from(rate)
}
