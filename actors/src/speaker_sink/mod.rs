//! Speaker sink: the song to a loudspeaker, at the pace of the device.
//!
//! # Layout
//! - [`device`]: what is asked of a device; `cpal_device`: the real ones, with the feature `speaker`
//! - [`start_policy`]: when playing starts
//! - `player`: samples on their way to a device that comes and goes; [`resample`]: to its rate
//!
//! # Memory
//! A song that starts with its first sound waits in the bounded channels, and a second of it in the ring. A song that
//! waits so as to be gapless must have its first part somewhere: here, 23 MB a minute, at most the longest length that
//! was asked for. From the start on no more is kept than was needed at the start: what sufficed for all that remained
//! suffices for less.

#[cfg(feature = "speaker")]
pub mod cpal_device;
pub mod device;
mod player;
pub mod resample;
pub mod start_policy;

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    thread::sleep,
    time::Duration,
};

use heartstream_messages::{
    PcmBlock, SpeakerProgress, SpeakerState, Stage,
    units::{Frames, Seconds},
};

#[cfg(feature = "speaker")]
pub use cpal_device::{CpalDevice, DeviceDescription, devices};
pub use device::{DeviceNews, OnDeviceLoss, OpenStream, OutputDevice, SpeakerError};
pub use start_policy::StartPolicy;

use crate::{
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
};
use player::Player;
use start_policy::StartGate;

/// How long to sleep when there is no room; the ring then has 990 ms of music.
const NAP: Duration = Duration::from_millis(10);
/// How long to wait for the next block before the ring is served.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Interval of the search for a lost device.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// Callbacks to wait for after the ring is empty, so that the device's own buffers are played …
const LAST_CALLBACKS: u64 = 4;
/// … and naps, at most, while it waits for them.
const LAST_NAPS: usize = 100;

/// An output device and how to use it.
pub struct Speaker {
    device: Box<dyn OutputDevice>,
    start: StartPolicy,
    on_loss: OnDeviceLoss,
    between_tries: Duration,
}

impl Speaker {
    /// The system's default device.
    ///
    /// # Errors
    /// When there is none, or it cannot play what the engine can make.
    #[cfg(feature = "speaker")]
    pub fn default_device() -> Result<Self, SpeakerError> {
        Ok(Self::on(CpalDevice::find(None, None)?))
    }

    /// Any device.
    pub fn on(device: impl OutputDevice) -> Self {
        Self {
            device: Box::new(device),
            start: StartPolicy::default(),
            on_loss: OnDeviceLoss::default(),
            between_tries: BETWEEN_TRIES,
        }
    }

    /// When playing starts; by default gapless.
    pub fn start(mut self, policy: StartPolicy) -> Self {
        self.start = policy;
        self
    }

    /// What to do when the device goes away; by default wait for it.
    pub fn on_device_loss(mut self, on_loss: OnDeviceLoss) -> Self {
        self.on_loss = on_loss;
        self
    }

    /// How often to look for a device that was lost; for tests that do not want to wait for a second.
    #[doc(hidden)]
    pub fn look_every(mut self, between_tries: Duration) -> Self {
        self.between_tries = between_tries;
        self
    }
}

/// Plays a song.
pub struct SpeakerSinkStage {
    player: Player,
    gate: StartGate,
    /// The song is no longer than this.
    longest: Frames,
    /// Whether any audio came.
    has_begun: bool,
    /// Once playing may start: audio that may wait here before the song is held back.
    allowance: Option<Seconds>,
    sink: usize,
    song: SongContext,
}

impl SpeakerSinkStage {
    /// Sink number `sink` of the song, playing on `speaker`. The song has at most `longest` frames, and its audio comes
    /// a window at a time: `deliveries` says where what each window gives ends.
    pub fn new(speaker: Speaker, sink: usize, longest: Frames, deliveries: &[Seconds], song: SongContext) -> Self {
        let Speaker { device, start, on_loss, between_tries } = speaker;
        song.pause.leave_to_speaker();
        Self {
            player: Player::new(device, on_loss, between_tries, song.pause.clone()),
            gate: StartGate::with_deliveries(start, deliveries),
            longest,
            has_begun: false,
            allowance: None,
            sink,
            song,
        }
    }

    fn is_stopped(&self) -> bool {
        self.song.stop.is_set()
    }

    /// The most audio that the song can have, as far as is known by now.
    fn longest(&self) -> Seconds {
        self.song.facts.length().unwrap_or(self.longest).seconds()
    }

    /// Serves the device and publishes the progress.
    fn pump(&mut self) -> Result<(), Failure> {
        let meter = &self.song.meter;
        let now = self.song.clock.elapsed();
        let open = self.gate.is_open(now);
        if open && self.allowance.is_none() {
            let waited = self.gate.decision().is_some_and(|decision| decision.wait.0 > 0.0);
            self.allowance = Some(if waited { self.player.waiting() } else { Seconds(0.0) });
        }
        let pumped = self.player.pump(open, now);
        meter.underruns.store(self.player.gaps().underruns, Ordering::Relaxed);
        meter.xruns.store(self.player.gaps().xruns, Ordering::Relaxed);
        if let Some(decision) = self.gate.decision() {
            meter.speaker_does(SpeakerProgress {
                state: match (self.player.is_lost(), open) {
                    (true, _) => SpeakerState::DeviceLost,
                    (false, true) => SpeakerState::Plays,
                    (false, false) => SpeakerState::Waits,
                },
                played: self.player.played(),
                buffered: self.player.buffered(),
                real_time_factor: decision.real_time_factor,
                wait: decision.wait,
            });
        }
        Ok(pumped?)
    }

    /// Whether to hold the song back (backpressure).
    fn is_full(&self) -> bool {
        self.allowance.is_some_and(|allowance| self.player.waiting() > allowance)
    }
}

impl StageWork for SpeakerSinkStage {
    const STAGE: Stage = Stage::SpeakerSink;
    type Input = Arc<PcmBlock>;
    type Output = Infallible;

    fn step(&mut self, event: Event<Arc<PcmBlock>>, _: &mut VecDeque<Infallible>) -> Result<Next, Failure> {
        match event {
            Event::Begin => (),
            Event::Input(block) => self.play(&block)?,
            Event::Continue if self.is_stopped() => self.player.close(),
            Event::Continue => self.pump()?,
            Event::End => self.finish()?,
        }
        Ok(if self.has_begun { Next::InputWithin(BETWEEN_LOOKS) } else { Next::Input })
    }
}

impl SpeakerSinkStage {
    fn play(&mut self, block: &PcmBlock) -> Result<(), Failure> {
        self.song.meter.audio_arrives();
        self.has_begun = true;
        self.player.push(&block.samples);
        let longest = self.longest();
        if self.allowance.is_none() {
            self.gate.arrived(self.song.clock.elapsed(), block.end().seconds(), longest);
        }
        self.pump()?;
        while self.is_full() && !self.is_stopped() {
            sleep(NAP);
            self.pump()?;
        }
        self.song.meter.delivered(self.sink, block.end());
        self.song.meter.stage(Stage::SpeakerSink).did_one();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.player.complete();
        self.gate.complete(self.song.clock.elapsed());
        while self.has_begun && !self.player.is_done() && !self.is_stopped() {
            self.pump()?;
            if !self.player.is_done() {
                sleep(NAP);
            }
        }
        let until = self.player.callbacks().unwrap_or(0) + LAST_CALLBACKS;
        for _ in 0..LAST_NAPS {
            if self.is_stopped() || self.player.callbacks().is_none_or(|callbacks| callbacks >= until) {
                break;
            }
            sleep(NAP);
        }
        self.player.close();
        Ok(())
    }
}
