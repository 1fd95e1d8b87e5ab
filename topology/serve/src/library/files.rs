//! Files of a song: its audio, its codes, its record.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use heartstream_formats::Format;

/// The files of one song.
#[derive(Debug, Clone)]
pub(crate) struct SongFiles(PathBuf);

impl SongFiles {
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Makes their directory.
    pub fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&self.0)
    }

    /// The audio.
    pub fn audio(&self, format: Format) -> PathBuf {
        self.0.join("audio").with_extension(format.suffix())
    }

    /// The codes, with which the song can be resumed.
    pub fn codes(&self) -> PathBuf {
        self.0.join("codes.safetensors")
    }

    /// What was asked for and what came of it.
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    /// Writes the record, all of it or none.
    pub fn write_record(&self, record: &str) -> io::Result<()> {
        let beside = self.0.join("record.json.part");
        let mut file = fs::File::create(&beside)?;
        file.write_all(record.as_bytes())?;
        file.sync_all()?;
        fs::rename(beside, self.record())
    }

    /// Removes all of them.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
