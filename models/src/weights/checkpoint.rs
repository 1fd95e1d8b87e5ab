//! The files of a checkpoint, and access to their bytes.

use std::{
    fs::File,
    io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::seeded::SeededCheckpoint;
use crate::{
    error::{ModelError, Result},
    part_discovery::beside,
};

/// One file of a checkpoint that is compiled into the program.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedFile {
    /// Path inside the checkpoint, with `/`.
    pub path: &'static str,
    /// The whole file.
    pub bytes: &'static [u8],
}

/// A model directory in the published layout, on disk or compiled into the program.
#[derive(Debug, Clone)]
pub enum Checkpoint {
    /// A directory on disk. Its files are memory-mapped: they must not be changed while a model runs.
    Directory(PathBuf),
    /// Files compiled into the program.
    Embedded {
        /// What to call it in messages.
        name: &'static str,
        /// Its files.
        files: &'static [EmbeddedFile],
    },
    /// Weights that are computed from a seed when they are read.
    Seeded(Arc<dyn SeededCheckpoint>),
}

impl Checkpoint {
    /// The checkpoint in `directory`.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self> {
        let path: PathBuf = directory.into();
        let reason = match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => return Ok(Self::Directory(path)),
            Ok(_) => "it is a file, and a model is a directory".to_owned(),
            Err(error) => error.to_string(),
        };
        let remedy = "Give the directory that holds HeartMuLa-oss-3B/, HeartCodec-oss/, tokenizer.json and \
                      gen_config.json; `heartstream pull` downloads one"
            .to_owned();
        Err(ModelError::Unreadable { path, reason, remedy })
    }

    /// Where `file` lies, for messages.
    pub fn path_of(&self, file: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(file),
            Self::Embedded { name, .. } => Path::new(&format!("<{name}>")).join(file),
            Self::Seeded(seeded) => Path::new(&format!("<{}>", seeded.name())).join(file),
        }
    }

    /// Whether the checkpoint has `file`.
    pub fn has(&self, file: &str) -> bool {
        match self {
            Self::Directory(directory) => directory.join(file).is_file(),
            Self::Embedded { files, .. } => files.iter().any(|embedded| embedded.path == file),
            Self::Seeded(seeded) => seeded.file(file).is_some(),
        }
    }

    /// The bytes of `file`, mapped, not read.
    ///
    /// # Errors
    /// When the file is not there or cannot be mapped.
    pub fn file(&self, file: &str) -> Result<FileBytes> {
        let unreadable = |reason: String| ModelError::Unreadable {
            path: self.path_of(file),
            reason,
            remedy: "A model directory holds HeartMuLa-oss-3B/, HeartCodec-oss/, tokenizer.json and gen_config.json; \
                     download what is missing"
                .to_owned(),
        };
        let refused = |error: io::Error| match (unreadable(error.to_string()), error.kind()) {
            (ModelError::Unreadable { path, reason, .. }, io::ErrorKind::PermissionDenied) => {
                let remedy = "Give this user the right to read the model (chmod -R a+rX DIR)".to_owned();
                ModelError::Unreadable { path, reason, remedy }
            }
            (unreadable, _) => unreadable,
        };
        match self {
            Self::Directory(directory) => {
                let path = directory.join(file);
                // Asked before it is opened: opening a named pipe waits for its writer.
                let size = std::fs::metadata(&path).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => unreadable(format!("{error}{}", beside(&path))),
                    _ => refused(error),
                })?;
                if !size.is_file() {
                    return Err(unreadable("it is not a file".to_owned()));
                }
                let opened = File::open(&path).map_err(refused)?;
                if size.len() == 0 {
                    return Err(unreadable("it is empty".to_owned()));
                }
                FileBytes::map(opened).map_err(|error| unreadable(error.to_string()))
            }
            Self::Embedded { files, .. } => files
                .iter()
                .find(|embedded| embedded.path == file)
                .map(|embedded| FileBytes::Embedded(embedded.bytes))
                .ok_or_else(|| unreadable("it is not in the program".to_owned())),
            Self::Seeded(seeded) => seeded
                .file(file)
                .map(FileBytes::InMemory)
                .ok_or_else(|| unreadable("it is not computed from the seed".to_owned())),
        }
    }
}

/// The bytes of a file; cheap to clone.
#[derive(Debug, Clone)]
pub enum FileBytes {
    /// A file on disk, mapped into memory: pages are read when they are touched.
    Mapped(Arc<MappedFile>),
    /// A file compiled into the program.
    Embedded(&'static [u8]),
    /// Bytes made in memory.
    InMemory(Arc<[u8]>),
}

/// A file that is mapped and open at once.
#[derive(Debug)]
pub struct MappedFile {
    map: memmap2::Mmap,
    file: File,
}

impl FileBytes {
    #[allow(unsafe_code)]
    fn map(file: File) -> io::Result<Self> {
        // SAFETY: the map is read-only and only ever seen as bytes, so whatever the file holds is valid. The one
        // thing that could break it is another program that changes or shortens the file while a model runs; the
        // documentation of `Checkpoint::Directory` forbids that.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self::Mapped(Arc::new(MappedFile { map, file })))
    }

    /// Copies the bytes from `start` on. A file on disk is read and not touched through its map: pages of a map that
    /// were touched count as memory of the program for as long as it is there, and weights would be held twice.
    ///
    /// # Errors
    /// When the file cannot be read, or is shorter.
    pub(super) fn read_at(&self, start: usize, to: &mut [u8]) -> io::Result<()> {
        if let Self::Mapped(mapped) = self {
            return read_exact_at(&mapped.file, to, start as u64);
        }
        let bytes = self.get(start..start + to.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        to.copy_from_slice(bytes);
        Ok(())
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, to: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, to, start)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut to: &mut [u8], mut start: u64) -> io::Result<()> {
    while !to.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, to, start)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => (to, start) = (&mut to[count..], start + count as u64),
        }
    }
    Ok(())
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(mapped) => &mapped.map,
            Self::Embedded(bytes) => bytes,
            Self::InMemory(bytes) => bytes,
        }
    }
}
