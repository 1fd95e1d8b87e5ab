//! Record of a pull: a file beside the model with its version, the origin of each file, and that it was verified, so
//! that 22 GB need not be hashed again.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    error::{PullError, Result},
    hub::Facts,
    transfer::{Wanted, open_own},
};

const FILE: &str = "pulled.json";
/// A record has a dozen entries; what is larger is no record.
const MOST_BYTES: u64 = 1 << 20;

/// The record of a directory.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The short name of the version; empty when nothing was pulled yet.
    pub version: String,
    /// The files that were verified, by their places.
    files: BTreeMap<String, Entry>,
}

/// A file as it was when it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    repository: String,
    commit: Option<String>,
    bytes: u64,
    hash: Option<String>,
    /// Nanoseconds since 1970 at which it was last written. It changes with the file.
    modified: u64,
}

impl Record {
    /// Reads the record of `directory`. Without one, or with one that cannot be read, nothing is known, and files that
    /// are there are hashed.
    pub(crate) fn read(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let mut bytes = Vec::new();
        if let Ok(file) = open_own(OpenOptions::new().read(true), &path) {
            let _ = file.take(MOST_BYTES).read_to_end(&mut bytes); // a part of a record is no record
        }
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    /// Whether the file of these `facts` lies at `place` in `directory`, as it was when it was verified.
    pub(crate) fn is_current(&self, directory: &Path, place: &Path, facts: &Facts) -> bool {
        let Some(entry) = place.to_str().and_then(|place| self.files.get(place)) else { return false };
        let now = fs::metadata(directory.join(place)).ok().map(|file| (file.len(), modified(&file)));
        let hash = facts.hash.map(|hash| hash.digits());
        hash.is_some() && entry.hash == hash && now == Some((facts.size, entry.modified))
    }

    /// Notes a file that has just been verified, and writes the record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn note(&mut self, directory: &Path, version: &str, wanted: &Wanted) -> Result<()> {
        let file = directory.join(&wanted.place);
        let metadata = fs::metadata(&file).map_err(PullError::disk("read", &file))?;
        let entry = Entry {
            repository: wanted.repository.to_owned(),
            commit: wanted.facts.commit.clone(),
            bytes: metadata.len(),
            hash: wanted.facts.hash.map(|hash| hash.digits()),
            modified: modified(&metadata),
        };
        version.clone_into(&mut self.version);
        self.files.insert(wanted.place.to_string_lossy().into_owned(), entry);
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        let (path, new) = (directory.join(FILE), directory.join(format!("{FILE}.new")));
        let mut file = open_own(OpenOptions::new().write(true).create(true).truncate(true), &new)
            .map_err(PullError::disk("write", &new))?;
        file.write_all(format!("{text}\n").as_bytes()).map_err(PullError::disk("write", &new))?;
        fs::rename(&new, &path).map_err(PullError::disk("write", &path))
    }
}

fn modified(file: &fs::Metadata) -> u64 {
    let time = file.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
