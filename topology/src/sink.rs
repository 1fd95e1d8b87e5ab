//! Where does a song go?

use std::path::PathBuf;

use heartstream_actors::{speaker_sink::Speaker, wav_sink::WavTarget};

use crate::error::EngineError;

/// Where a song goes.
pub enum Sink {
    /// To a file or to standard output.
    Wav(WavTarget),
    /// To a loudspeaker.
    Speaker(Speaker),
    /// To whoever holds the [`crate::Song`].
    Subscriber,
}

/// Everything a song is given to: its sound, and its codes.
#[derive(Default)]
pub struct Sinks {
    /// Takers of the sound; the slowest of them holds back the song.
    pub audio: Vec<Sink>,
    /// Files that keep the codes.
    pub codes: Vec<PathBuf>,
}

impl From<Sink> for Sinks {
    fn from(sink: Sink) -> Self {
        Self { audio: vec![sink], codes: Vec::new() }
    }
}

impl From<Vec<Sink>> for Sinks {
    fn from(audio: Vec<Sink>) -> Self {
        Self { audio, codes: Vec::new() }
    }
}

impl Sinks {
    /// Keeps the codes in `path`, too, written anew about once a second.
    pub fn and_codes(mut self, path: impl Into<PathBuf>) -> Self {
        self.codes.push(path.into());
        self
    }

    /// Accepts sinks of which at least one takes the sound.
    pub(crate) fn checked(self) -> Result<Self, EngineError> {
        if self.audio.is_empty() {
            let (expected, found) = ("at least one that takes the sound".to_owned(), "none".to_owned());
            return Err(EngineError::Option { option: "sinks", expected, found });
        }
        Ok(self)
    }
}
