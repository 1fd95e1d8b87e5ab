//! Which files make up a checkpoint, and how are their bytes reached?

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::error::{ModelError, Result};

/// One file of a checkpoint that is compiled into the program.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedFile {
    /// Path inside the checkpoint, with `/`.
    pub path: &'static str,
    /// The whole file.
    pub bytes: &'static [u8],
}

/// A model directory in the published layout, on disk or inside the program.
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
        let remedy =
            "Give the directory that holds HeartMuLa-oss-3B/, HeartCodec-oss/, tokenizer.json and gen_config.json"
                .to_owned();
        Err(ModelError::Unreadable { path, reason, remedy })
    }

    /// Where `file` lies, for messages.
    pub fn path_of(&self, file: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(file),
            Self::Embedded { name, .. } => Path::new(&format!("<{name}>")).join(file),
        }
    }

    /// Whether the checkpoint has `file`.
    pub fn has(&self, file: &str) -> bool {
        match self {
            Self::Directory(directory) => directory.join(file).is_file(),
            Self::Embedded { files, .. } => files.iter().any(|embedded| embedded.path == file),
        }
    }

    /// The bytes of `file`, mapped, not read.
    ///
    /// # Errors
    /// When the file is not there or cannot be mapped.
    pub fn file(&self, file: &str) -> Result<FileBytes> {
        let unreadable = |reason: String| {
            ModelError::Unreadable {
            path: self.path_of(file),
            reason,
            remedy: "A model directory holds HeartMuLa-oss-3B/, HeartCodec-oss/, tokenizer.json and gen_config.json; download what is missing".to_owned(),
        }
        };
        match self {
            Self::Directory(directory) => {
                let path = directory.join(file);
                // Asked before it is opened: opening a named pipe waits for whoever writes to it.
                let size = std::fs::metadata(&path).map_err(|error| unreadable(error.to_string()))?;
                if !size.is_file() {
                    return Err(unreadable("it is not a file".to_owned()));
                }
                let opened = std::fs::File::open(&path).map_err(|error| unreadable(error.to_string()))?;
                if size.len() == 0 {
                    return Err(unreadable("it is empty".to_owned()));
                }
                FileBytes::map(&opened).map_err(|error| unreadable(error.to_string()))
            }
            Self::Embedded { files, .. } => files
                .iter()
                .find(|embedded| embedded.path == file)
                .map(|embedded| FileBytes::Embedded(embedded.bytes))
                .ok_or_else(|| unreadable("it is not in the program".to_owned())),
        }
    }
}

/// The bytes of a file; cheap to clone.
#[derive(Debug, Clone)]
pub enum FileBytes {
    /// A file on disk, mapped into memory: pages are read when they are touched.
    Mapped(Arc<memmap2::Mmap>),
    /// A file inside the program.
    Embedded(&'static [u8]),
    /// Bytes made in memory.
    Held(Arc<[u8]>),
}

impl FileBytes {
    #[allow(unsafe_code)]
    fn map(file: &std::fs::File) -> std::io::Result<Self> {
        // SAFETY: the map is read-only and only ever seen as bytes, so whatever the file holds is valid. The one
        // thing that could break it is another program that changes or shortens the file while a model runs; the
        // documentation of `Checkpoint::Directory` forbids that.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self::Mapped(Arc::new(map)))
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Embedded(bytes) => bytes,
            Self::Held(bytes) => bytes,
        }
    }
}
