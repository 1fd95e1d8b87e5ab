//! Can the song be written where it shall be? Asked before a large model is loaded, answered without leaving a trace.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use super::Failed;
use crate::{EngineError, SampleFormat, WavTarget};

/// Where a WAV goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    File(PathBuf),
    StandardOutput,
}

impl Output {
    pub(super) fn new(path: &Path) -> Self {
        if path == Path::new("-") { Self::StandardOutput } else { Self::File(path.to_owned()) }
    }

    /// Makes sure that the file can be made. Nothing of it is touched if it is there already.
    pub(super) fn probe(&self) -> Result<(), Failed> {
        match self {
            Self::StandardOutput => Ok(()),
            Self::File(path) => probe_file(path),
        }
    }

    /// Opens it for the song.
    pub(super) fn open(&self, format: SampleFormat) -> Result<WavTarget, EngineError> {
        Ok(match self {
            Self::File(path) => WavTarget::file(path, format)?,
            Self::StandardOutput => WavTarget::standard_output(format),
        })
    }

    /// Whether `other` is the file itself, by whatever name. For files that can be made.
    pub(super) fn is_file(&self, other: &Path) -> bool {
        let place = |path: &Path| {
            let name = path.file_name()?;
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(".".as_ref());
            path.canonicalize().or_else(|_| folder.canonicalize().map(|folder| folder.join(name))).ok()
        };
        matches!(self, Self::File(path) if place(path).is_some_and(|path| Some(path) == place(other)))
    }

    /// Removes the file of a song that has no sound. A pipe or a device stays.
    pub(super) fn discard(&self) {
        if let Self::File(path) = self
            && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Makes sure that `path` can be written to; a file that is made for that is removed again.
pub(super) fn probe_file(path: &Path) -> Result<(), Failed> {
    let existed = path.exists();
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Ok(()); // the reader of a named pipe would take this for the end of the song
    }
    match OpenOptions::new().append(true).create(true).open(path) {
        Ok(_) if existed => Ok(()),
        Ok(_) => fs::remove_file(path).map_err(|error| unwritable(path, &error)),
        Err(error) => Err(unwritable(path, &error)),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failed {
    Failed::Error(format!(
        "cannot write {}: {error}. Give a path in a directory that exists and may be written to",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_other_names() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let output = Output::new(&folder.path().join("x.wav"));
        assert!(output.is_file(&folder.path().join(".").join("x.wav")));
        assert!(!output.is_file(&folder.path().join("y.wav")));
        fs::write(folder.path().join("x.wav"), "").expect("a file");
        assert!(output.is_file(&folder.path().join("x.wav")));
        assert!(!Output::StandardOutput.is_file(Path::new("-")));
    }

    #[test]
    fn only_a_file_is_discarded() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.wav");
        fs::write(&path, "").expect("a file");
        #[cfg(unix)]
        {
            let other = folder.path().join("other");
            std::os::unix::fs::symlink(&path, &other).expect("a link");
            Output::new(&other).discard();
            assert!(other.exists() && path.exists(), "a link is not a file that this program made");
        }
        Output::new(&path).discard();
        assert!(!path.exists());
    }
}
