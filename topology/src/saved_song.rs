//! Saved song: codes in a file, with the request and the checkpoint that they are of.

use std::{collections::HashMap, path::Path};

use heartstream_actors::codes_sink::FIRST_WINDOW;
use heartstream_messages::{FirstWindow, SongRequest, units::Frames};
use heartstream_models::{ModelError, SavedSongRemedy, SongCodes, foreign_text::shown};

const REQUEST: &str = "request";
const CHECKPOINT: &str = "checkpoint";

/// A song that was saved in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedSong {
    /// The request. Its first window is the one that the song had.
    pub request: SongRequest,
    /// The fingerprint of the checkpoint that wrote it.
    pub checkpoint: String,
    /// Its codes, or those of its beginning.
    pub codes: SongCodes,
}

/// Metadata of the file: the request and the fingerprint.
pub(crate) fn metadata(request: &SongRequest, fingerprint: &str) -> HashMap<String, String> {
    // A request is plain data, and plain data has a JSON form.
    let request = serde_json::to_string(request).unwrap_or_default();
    HashMap::from([(REQUEST.to_owned(), request), (CHECKPOINT.to_owned(), fingerprint.to_owned())])
}

impl SavedSong {
    /// Reads a file of a saved song.
    ///
    /// # Errors
    /// When it cannot be read, is no such file, or has no request.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        Self::of(path, SongCodes::read(path)?)
    }

    /// Reads the bytes of such a file; `path` is for messages.
    ///
    /// # Errors
    /// As [`SavedSong::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ModelError> {
        Self::of(path, SongCodes::parse(path, bytes)?)
    }

    fn of(path: &Path, codes: SongCodes) -> Result<Self, ModelError> {
        let note = |name: &str| codes.notes.get(name).cloned().unwrap_or_default();
        let mut request: SongRequest = serde_json::from_str(&note(REQUEST)).map_err(|error| ModelError::SavedSong {
            path: path.to_owned(),
            reason: format!("it does not say what the song was asked for with ({})", shown(&error.to_string())),
            remedy: SavedSongRemedy::File,
        })?;
        if let Ok(first) = note(FIRST_WINDOW).parse::<u64>() {
            // A song that ended within its first window does not say how long that was to be; the request does.
            let was_cut = first >= codes.frames() as u64 && request.first_window.deadline.is_none();
            if !was_cut {
                request.first_window = FirstWindow { most: Frames(first), deadline: None };
            }
        }
        Ok(Self { request, checkpoint: note(CHECKPOINT), codes })
    }

    /// Checks that the model with this fingerprint can go on with it.
    ///
    /// # Errors
    /// When another model wrote it.
    pub fn check_checkpoint(&self, path: &Path, fingerprint: &str) -> Result<(), ModelError> {
        if self.checkpoint == fingerprint {
            return Ok(());
        }
        Err(ModelError::SavedSong {
            path: path.to_owned(),
            reason: format!("the checkpoint {} wrote it, and this model is {fingerprint}", shown(&self.checkpoint)),
            remedy: SavedSongRemedy::Model,
        })
    }
}
