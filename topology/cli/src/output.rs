//! Files that a song is written to. Whether one can be made is asked before a large model is loaded, and answered
//! without leaving a trace.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, IsTerminal, Write},
    path::{Path, PathBuf},
};

use heartstream::wav::{SampleFormat, WavTarget};
use heartstream_formats::Format;

use super::{Failed, output_names};

/// Where a song goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    File {
        path: PathBuf,
        /// Whether the program chose the name, and so must not write over anything.
        unasked: bool,
    },
    StandardOutput,
}

impl Output {
    /// What a user names.
    pub(super) fn new(path: &Path) -> Self {
        if path == Path::new("-") {
            return Self::StandardOutput;
        }
        Self::File { path: path.to_owned(), unasked: false }
    }

    /// Where a song of a format goes when nothing is said: song.wav, or, unless that may be written over, the next free
    /// name.
    pub(super) fn usual(format: Format, overwrite: bool) -> Self {
        let usual = Path::new(output_names::USUAL).with_extension(format.suffix());
        match overwrite {
            true => Self::new(&usual),
            false => Self::File { path: output_names::next_free(format.suffix()), unasked: true },
        }
    }

    /// Makes sure that the file can be made. Nothing of it is touched if it is there already.
    pub(super) fn probe(&self) -> Result<(), Failed> {
        match self {
            Self::StandardOutput if std::io::stdout().is_terminal() => Err(shown_on_a_terminal()),
            Self::StandardOutput => Ok(()),
            Self::File { path, .. } => {
                output_names::must_be_a_format(path)?;
                probe_file(path)?;
                if is_terminal(path) { Err(shown_on_a_terminal()) } else { Ok(()) }
            }
        }
    }

    /// Opens it for a song as a WAV; `chunks` stand before its samples where it is a file.
    pub(super) fn open(&mut self, format: SampleFormat, chunks: Vec<u8>) -> Result<WavTarget, Failed> {
        match self.reserve()? {
            None => Ok(WavTarget::standard_output(format)),
            Some(path) => {
                Ok(WavTarget::file_with_chunks(path, format, chunks).map_err(heartstream::EngineError::from)?)
            }
        }
    }

    /// The file, if it is one, to be written. A name that the program chose is another one now if another program took it
    /// meanwhile.
    pub(super) fn reserve(&mut self) -> Result<Option<&Path>, Failed> {
        match self {
            Self::StandardOutput => Ok(None),
            Self::File { path, unasked } => {
                if *unasked {
                    reserve(path)?;
                    *unasked = false;
                }
                Ok(Some(path))
            }
        }
    }

    /// The file, if it is one.
    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::StandardOutput => None,
        }
    }

    /// Whether `other` is the file itself, by whatever name. For files that can be made.
    pub(super) fn is_file(&self, other: &Path) -> bool {
        let place = |path: &Path| {
            let name = path.file_name()?;
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(".".as_ref());
            path.canonicalize().or_else(|_| folder.canonicalize().map(|folder| folder.join(name))).ok()
        };
        matches!(self, Self::File { path, .. } if place(path).is_some_and(|path| Some(path) == place(other)))
    }

    /// Whether nothing is there that the song would be written over.
    pub(super) fn is_new(&self) -> bool {
        match self {
            Self::File { path, .. } => fs::metadata(path).map_or(true, |found| found.is_file() && found.len() == 0),
            Self::StandardOutput => false,
        }
    }

    /// Removes the file of a song that has no sound. A pipe or a device stays.
    pub(super) fn discard(&self) {
        if let Self::File { path, .. } = self
            && fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
            && let Err(error) = fs::remove_file(path)
        {
            tracing::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Makes the file `path` if it is not there, or else the next free one, which is `path` then.
fn reserve(path: &mut PathBuf) -> Result<(), Failed> {
    loop {
        match OpenOptions::new().write(true).create_new(true).open(&*path) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let suffix = path.extension().unwrap_or_default().to_string_lossy().into_owned();
                *path = output_names::next_free(&suffix);
            }
            Err(error) => return Err(unwritable(path, &error)),
        }
    }
}

/// Makes sure that `path` can be written to; a file that is made for that is removed again.
pub(super) fn probe_file(path: &Path) -> Result<(), Failed> {
    // A link to nothing is made whole by the song itself; probing it would have to guess what to remove again.
    let existed = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) || path.exists();
    if existed && !path.exists() {
        return Ok(());
    }
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return Ok(()); // the reader of a named pipe would take this for the end of the song
    }
    match OpenOptions::new().append(true).create(true).open(path) {
        Ok(_) if existed => Ok(()),
        Ok(_) => fs::remove_file(path).map_err(|error| unwritable(path, &error)),
        Err(error) => Err(unwritable(path, &error)),
    }
}

/// Writes `text` into the file `path`. A named pipe without a reader is refused, and one whose reader takes nothing is
/// not waited for.
///
/// # Errors
/// When the system refuses; a sentence that says why.
pub(super) fn write_whole(path: &Path, text: &str) -> Result<(), String> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nix::fcntl::OFlag::O_NONBLOCK.bits());
    let said = |error: std::io::Error| match error.kind() {
        #[cfg(unix)]
        _ if error.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32) => {
            "it is a pipe without a reader".to_owned()
        }
        std::io::ErrorKind::WouldBlock => "it is a pipe whose reader takes nothing".to_owned(),
        _ => error.to_string(),
    };
    options.open(path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(said)
}

/// Whether `path` is a terminal, such as `/dev/tty`, or `/dev/stdout` where that is one.
fn is_terminal(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let is_device = fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device());
        is_device && OpenOptions::new().write(true).open(path).is_ok_and(|file| file.is_terminal())
    }
    #[cfg(not(unix))]
    {
        let _ = path;
        false
    }
}

fn shown_on_a_terminal() -> Failed {
    let problem = "a song on a terminal is a screen full of signs";
    Failed::Usage(format!("{problem}. Give -o the name of a file, or write to a pipe: heartstream render -o - | …"))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failed {
    Failed::Error(format!("cannot write {}: {error}. {}", path.display(), heartstream_models::write_remedy(error)))
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

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_written_to_while_somebody_reads_it_and_refused_at_once_when_nobody_does() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let refused = write_whole(&path, "{}").expect_err("it has no reader");
        assert!(refused.contains("without a reader"), "{refused}");
        // Opened for both, it does not wait for a writer.
        let reader = OpenOptions::new().read(true).write(true).open(&path).expect("the pipe");
        write_whole(&path, "{}").expect("it is read");
        let refused = write_whole(&path, &"x".repeat(10_000_000)).expect_err("the pipe is full");
        assert!(refused.contains("takes nothing"), "{refused}");
        drop(reader);
    }

    #[test]
    fn only_what_was_not_there_or_was_empty_is_new() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.wav");
        let output = Output::new(&path);
        assert!(output.is_new());
        fs::write(&path, "").expect("a file");
        assert!(output.is_new());
        fs::write(&path, "a song").expect("a file");
        assert!(!output.is_new() && !Output::StandardOutput.is_new());
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
