//! Saved songs: their codes in a safetensors file, to be decoded again or resumed.
//!
//! The file holds one tensor, `codes` \[T, K\] of u16, and text beside it: metadata of its writer. A minute of music is
//! 12 kB.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    error::{ModelError, Result, SavedSongRemedy},
    foreign_text::shown,
};

/// The tensor's name.
const TENSOR: &str = "codes";
/// What marks such a file among all safetensors files.
const FORMAT: (&str, &str) = ("format", "heartstream-codes-1");
/// Longer files are not read: a day of music is 17 MB.
const MOST_BYTES: u64 = 1 << 26;

/// The codes of a song or of its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SongCodes {
    /// Codes of a frame, K.
    pub codebooks: usize,
    /// Codes, frame after frame.
    pub codes: Vec<u16>,
    /// Metadata of the song.
    pub notes: HashMap<String, String>,
}

impl SongCodes {
    /// Whole frames.
    pub fn frames(&self) -> usize {
        self.codes.len() / self.codebooks.max(1)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no such file.
    pub fn read(path: &Path) -> Result<Self> {
        let unreadable = |error: io::Error| ModelError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
            remedy: SavedSongRemedy::File.to_string(),
        };
        let damaged =
            |reason: String| ModelError::SavedSong { path: path.to_owned(), reason, remedy: SavedSongRemedy::File };
        let found = fs::metadata(path).map_err(unreadable)?;
        if !found.is_file() {
            return Err(damaged("it is no regular file".to_owned()));
        }
        let size = found.len();
        if size > MOST_BYTES {
            return Err(damaged(format!("it has {size} bytes, more than the codes of any song")));
        }
        let bytes = fs::read(path).map_err(unreadable)?;
        Self::parse(path, &bytes)
    }

    /// Reads the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    /// When they are no such file.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let damaged =
            |reason: String| ModelError::SavedSong { path: path.to_owned(), reason, remedy: SavedSongRemedy::File };
        let (_, header) = SafeTensors::read_metadata(bytes)
            .map_err(|error| damaged(format!("it is no safetensors file ({})", shown(&error.to_string()))))?;
        let mut notes = header.metadata().clone().unwrap_or_default();
        if notes.remove(FORMAT.0).as_deref() != Some(FORMAT.1) {
            return Err(damaged(format!("it is not marked as {}", FORMAT.1)));
        }
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| damaged(shown(&error.to_string())))?;
        let tensor = tensors.tensor(TENSOR).map_err(|_| damaged(format!("it has no tensor `{TENSOR}`")))?;
        match (tensor.dtype(), tensor.shape()) {
            (Dtype::U16, [_, codebooks]) if *codebooks > 0 => {
                let (pairs, _) = tensor.data().as_chunks::<2>();
                Ok(Self {
                    codebooks: *codebooks,
                    codes: pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect(),
                    notes,
                })
            }
            (dtype, shape) => Err(damaged(format!(
                "`{TENSOR}` must be U16 of shape [frames, codebooks], but is {dtype:?} of {}",
                shown(&format!("{shape:?}"))
            ))),
        }
    }

    /// Writes a file. The file at `path` is replaced at once when the new one is complete, so that it is whole at any
    /// time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |error: io::Error| ModelError::unwritable(path, &error);
        let unwritable = |error: safetensors::SafeTensorError| failed(io::Error::other(error));
        let bytes: Vec<u8> = self.codes.iter().flat_map(|code| code.to_le_bytes()).collect();
        let shape = vec![self.frames(), self.codebooks];
        let view = TensorView::new(Dtype::U16, shape, &bytes).map_err(unwritable)?;
        let mut notes = self.notes.clone();
        notes.insert(FORMAT.0.to_owned(), FORMAT.1.to_owned());
        let file = safetensors::serialize([(TENSOR, view)], Some(notes)).map_err(unwritable)?;
        // Through a link to the file itself; and of two programs that keep the same file, the last one wins.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let beside = PathBuf::from(format!("{}.{}.part", path.display(), std::process::id()));
        write_synced(&beside, &file).and_then(|()| fs::rename(&beside, &path)).map_err(|error| {
            let _ = fs::remove_file(&beside); // what is there of it is of no use
            failed(error)
        })?;
        sync_folder(&path);
        Ok(())
    }

    /// Checks that a model can have written them.
    ///
    /// # Errors
    /// When a frame has another count of codes, or a code is `end` (the first that ends a song) or more.
    pub fn check(&self, path: &Path, codebooks: usize, end: u32) -> Result<()> {
        let damaged = |reason: String| ModelError::Damaged {
            path: path.to_owned(),
            reason,
            remedy: "Give the model that wrote the song, or another file".to_owned(),
        };
        if self.codebooks != codebooks {
            return Err(damaged(format!("its frames have {} codes, and the model's {codebooks}", self.codebooks)));
        }
        if self.codes.is_empty() {
            return Err(damaged("it has no frames".to_owned()));
        }
        match self.codes.iter().position(|code| u32::from(*code) >= end) {
            None => Ok(()),
            Some(place) => Err(damaged(format!(
                "code {} of frame {} is {}, and the model has codes below {end}",
                place % codebooks,
                place / codebooks,
                self.codes[place]
            ))),
        }
    }
}

/// Writes a file and waits until the disk has it: after a power cut, a name without its bytes would look whole.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until the disk has the name. Some file systems cannot do that for folders; the file is whole all the same.
fn sync_folder(path: &Path) {
    #[cfg(unix)]
    {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    #[cfg(not(unix))]
    let _ = path;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn song() -> SongCodes {
        let notes = HashMap::from([("request".to_owned(), "{}".to_owned())]);
        SongCodes { codebooks: 2, codes: vec![1, 2, 3, 4, 5, 6], notes }
    }

    #[test]
    fn a_song_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("song.codes");
        song().write(&path).expect("written");
        assert_eq!(SongCodes::read(&path).expect("read"), song());
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn codes_of_another_model_are_refused_with_their_place() {
        let path = Path::new("song.codes");
        assert!(song().check(path, 2, 7).is_ok());
        let error = song().check(path, 2, 6).expect_err("6 is out of range").to_string();
        assert!(error.contains("code 1 of frame 2 is 6"), "{error}");
        assert!(song().check(path, 8, 7).is_err());
        assert!(SongCodes { codes: Vec::new(), ..song() }.check(path, 2, 7).is_err());
    }

    #[test]
    fn what_is_no_file_of_codes_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("song.codes");
        song().write(&path).expect("written");
        let whole = fs::read(&path).expect("bytes");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            assert!(SongCodes::read(&path).is_err(), "{cut} bytes");
        }
        assert!(SongCodes::read(&folder.path().join("none")).is_err());
    }
}
