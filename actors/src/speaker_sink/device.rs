//! Output device of the speaker sink: a trait to find it, to open it, and to report its loss.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use heartstream_messages::units::Seconds;

use super::resample::ResampleError;
use crate::sample_ring::Playback;

/// Something that takes samples at its own pace. With the feature `speaker`, `CpalDevice` is a loudspeaker.
pub trait OutputDevice: Send + 'static {
    /// Its display name.
    fn name(&self) -> String;

    /// Looks for the device, for the first time or again after it was lost, and chooses how to use it. Returns its
    /// rate: samples of each channel in a second.
    ///
    /// # Errors
    /// When it is not there, or there is no way to use it.
    fn connect(&mut self) -> Result<u32, SpeakerError>;

    /// Opens the device that was found: from now on it calls [`Playback::fill`] whenever it wants samples, until what
    /// is returned is dropped; after the drop it does not call any more. When the device goes away it says so in
    /// `news`.
    ///
    /// # Errors
    /// When it does not open.
    fn open(&mut self, playback: Playback, news: DeviceNews) -> Result<OpenStream, SpeakerError>;
}

/// A device that plays, until this is dropped.
pub type OpenStream = Box<dyn Send>;

/// Events of an open device: its loss, and callbacks that came too late. May be set from the real-time thread.
#[derive(Debug, Clone, Default)]
pub struct DeviceNews(Arc<News>);

#[derive(Debug, Default)]
struct News {
    lost: AtomicBool,
    xruns: AtomicU64,
}

impl DeviceNews {
    /// It is gone.
    pub fn lost(&self) {
        self.0.lost.store(true, Ordering::Release);
    }

    /// Its own buffer ran dry, because the system let the callback run too late.
    pub fn xrun(&self) {
        self.0.xruns.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is gone.
    pub fn is_lost(&self) -> bool {
        self.0.lost.load(Ordering::Acquire)
    }

    /// How often its own buffer ran dry.
    pub fn xruns(&self) -> u64 {
        self.0.xruns.load(Ordering::Relaxed)
    }
}

/// What to do when the device goes away in the middle of a song.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDeviceLoss {
    /// Look for it about once a second, hold the song back, and go on with the next sample.
    #[default]
    Wait,
    /// End the song with an error.
    End,
}

/// Why a song cannot be played.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SpeakerError {
    /// There is nothing to play on.
    #[error("no audio output device was found. Connect one, or write the song to a file")]
    NoDevice,
    /// No device is called like that.
    #[error("there is no output device called \"{name}\"; {}", names(known))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// Several devices are called like that.
    #[error("\"{name}\" may be any of several output devices: {}. Give more of the name", known.join(", "))]
    Ambiguous {
        /// The name that was asked for.
        name: String,
        /// The names that it is part of.
        known: Vec<String>,
    },
    /// The device cannot play in a format that the engine can make.
    #[error(
        "the audio device {device} offers no format that the engine can make; it offers {found}. Choose another device"
    )]
    NoFormat {
        /// The device.
        device: String,
        /// What it offers.
        found: String,
    },
    /// The device cannot play at the rate that was asked for.
    #[error("the audio device {device} does not play at {rate} Hz; it offers {found}. Choose one of these")]
    NoRate {
        /// The device.
        device: String,
        /// The rate that was asked for.
        rate: u32,
        /// The rates it offers.
        found: String,
    },
    /// The device does not open.
    #[error("the audio device does not open: {0}. Close what else may be using it, or choose another")]
    Open(String),
    /// The song cannot be brought to the device's rate.
    #[error(transparent)]
    Resample(#[from] ResampleError),
    /// The device went away in the middle of the song.
    #[error("the audio device {device} was lost after {at}. Connect it and play again with the same seed")]
    Lost {
        /// The device.
        device: String,
        /// How much of the song it has played.
        at: Seconds,
    },
}

fn names(known: &[String]) -> String {
    match known {
        [] => "there are none at all. Connect one, or write the song to a file".to_owned(),
        known => format!("there are {}. Give one of these names or a part of one", known.join(", ")),
    }
}
