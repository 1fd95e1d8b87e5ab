//! Sinks of a song.

use std::path::PathBuf;

use flume::Sender;
use heartstream_actors::{speaker_sink::Speaker, wav_sink::WavTarget};
use heartstream_messages::CodeFrame;

use crate::error::EngineError;

/// A sink of a song's sound.
///
/// ```
/// use heartstream::{Heartstream, Sink, Sinks, SongRequest, wav::{SampleFormat, WavTarget}};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let engine = Heartstream::builder(heartstream_tools::synth::noise()).build().await?;
/// # let folder = tempfile::tempdir()?;
/// # let (song_wav, song_codes) = (folder.path().join("song.wav"), folder.path().join("song.codes"));
/// # let mut request = SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in");
/// # request.max_frames = heartstream::units::Frames(16);
/// // To a file and to the reader of the blocks; the slower of both holds back the song.
/// let file = WavTarget::file(&song_wav, SampleFormat::F32)?;
/// let sinks = Sinks::from(vec![Sink::Wav(file), Sink::Subscriber]).and_codes(&song_codes);
/// let mut song = engine.sing_to(request, sinks).await?;
/// while let Some(block) = song.next_block().await {
///     println!("up to {}", block.end().seconds());
/// }
/// song.finished().await;
/// assert!(song_wav.is_file() && song_codes.is_file());
/// # Ok(())
/// # }
/// ```
#[non_exhaustive]
pub enum Sink {
    /// To a file or to standard output.
    Wav(WavTarget),
    /// To a loudspeaker.
    Speaker(Speaker),
    /// To the holder of the [`crate::Song`].
    Subscriber,
}

/// All sinks of a song: of its sound, and of its codes.
#[derive(Default)]
pub struct Sinks {
    /// Sinks of the sound; backpressure comes from the slowest.
    pub audio: Vec<Sink>,
    /// Files that save the codes.
    pub codes: Vec<PathBuf>,
    /// Who else takes the frames.
    pub(crate) frames: Option<Sender<CodeFrame>>,
}

impl From<Sink> for Sinks {
    fn from(sink: Sink) -> Self {
        Self { audio: vec![sink], ..Self::default() }
    }
}

impl From<Vec<Sink>> for Sinks {
    fn from(audio: Vec<Sink>) -> Self {
        Self { audio, ..Self::default() }
    }
}

impl Sinks {
    /// Saves the codes in `path`, too, rewritten about once a second.
    pub fn and_codes(mut self, path: impl Into<PathBuf>) -> Self {
        self.codes.push(path.into());
        self
    }

    /// Hands the frames to `frames`, too, each before the sound that is made of it.
    #[cfg(feature = "remote")]
    pub(crate) fn and_frames(self, frames: Sender<CodeFrame>) -> Self {
        Self { frames: Some(frames), ..self }
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
