//! Errors of a pull: every variant says what happened, where, and what to do.

use std::{io, path::PathBuf};

use super::{catalogue::Version, verify::Hash};

/// The result of everything in this module that can fail.
pub type Result<T, E = PullError> = std::result::Result<T, E>;

/// Why a checkpoint is not complete. What was fetched before stays, and the next pull goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// A setting that is read from the environment cannot be used.
    #[error("the environment variable {variable} must be {expected}, but is {found}. Correct it, or unset it")]
    Setting {
        /// Its name.
        variable: &'static str,
        /// What would have been right.
        expected: &'static str,
        /// What was there instead.
        found: String,
    },
    /// The hub cannot be reached.
    #[error(
        "cannot reach {host}: {reason}. If this machine has no connection to it, set HF_ENDPOINT to a mirror that it \
         can reach (HF_ENDPOINT=https://mirror.example heartstream pull), or fetch the files on another machine and \
         copy them: {by_hand}. What was fetched before is kept, and the next pull goes on from there"
    )]
    Unreachable {
        /// Whom was asked.
        host: String,
        /// What the network says.
        reason: String,
        /// Which files to fetch elsewhere.
        by_hand: String,
    },
    /// Without a network, a file is not in the cache either.
    #[error(
        "{} is not in the cache of {repository}, or is not what was published. Pull once with a connection (unset \
         HF_HUB_OFFLINE), or have HF_HUB_CACHE name the cache that has it",
        path.display()
    )]
    NotCached {
        /// The file.
        path: PathBuf,
        /// The repository.
        repository: &'static str,
    },
    /// A page came where a file should.
    #[error(
        "{url}: the server sends a web page in the place of the file, as networks do that one must log in to. Open any page \
         in a browser and log in; if HF_ENDPOINT is set, what it names is no mirror of the hub"
    )]
    Page {
        /// The address that was asked.
        url: String,
    },
    /// The hub refuses access without a token.
    #[error("{host} refuses {url} (status {status}): {remedy}")]
    Refused {
        /// Whom was asked.
        host: String,
        /// The address that was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What helps.
        remedy: &'static str,
    },
    /// The hub has no such file.
    #[error(
        "{url} does not exist (status {status}). If HF_ENDPOINT names a mirror, it may lack this repository: choose \
         another one, or unset HF_ENDPOINT"
    )]
    NotFound {
        /// The address that was asked.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The server's response is not that of a hub.
    #[error(
        "{url}: expected {expected}, but the server answered with {found}. If HF_ENDPOINT is set, what it names is no \
         mirror of the hub that can be used; otherwise try again later"
    )]
    Answer {
        /// The address that was asked.
        url: String,
        /// What would have been right.
        expected: &'static str,
        /// What was there instead.
        found: String,
    },
    /// The server could not, several times over.
    #[error(
        "{url}: {reason}, {attempts} times one after another. Run the same command again later: it goes on from there"
    )]
    GaveUp {
        /// The address that was asked.
        url: String,
        /// What the network says.
        reason: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// A file is complete, and its hash is another one than the hub gave.
    #[error(
        "{} from {url} is damaged: its hash should be {expected}, but is {found}. It was deleted; run the same command \
         again, and if this repeats, unset HF_ENDPOINT or choose another mirror",
        place.display()
    )]
    WrongHash {
        /// The file.
        place: PathBuf,
        /// The address that was asked.
        url: String,
        /// What would have been right.
        expected: Hash,
        /// What was there instead.
        found: Hash,
    },
    /// A file has another length than the hub gave.
    #[error(
        "{} from {url} should have {expected} bytes, but the server sends {found}. Nothing of it is kept; run the \
         same command again, and if this repeats, unset HF_ENDPOINT or choose another mirror",
        place.display()
    )]
    WrongSize {
        /// The file.
        place: PathBuf,
        /// The address that was asked.
        url: String,
        /// What would have been right.
        expected: u64,
        /// What was there instead.
        found: String,
    },
    /// An index of shards cannot be followed.
    #[error(
        "{} is no index of shards that can be followed: {problem}. Delete the file and run the same command again; if \
         this repeats, the repository {repository} is not the published one",
        place.display()
    )]
    BadIndex {
        /// The file.
        place: PathBuf,
        /// The repository.
        repository: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The disk is too small.
    #[error(
        "{needed} more are needed in {}, where {free} are free. Free some space, or choose a directory on another disk",
        directory.display()
    )]
    NoRoom {
        /// Where the model is to be.
        directory: PathBuf,
        /// Bytes that are missing.
        needed: Bytes,
        /// Bytes that are free.
        free: Bytes,
    },
    /// The directory belongs to another version, whose files have the same names.
    #[error(
        "{} holds the version {holds}, and {asked} would replace it. Give another directory, or delete this one \
         first",
        directory.display(), asked = asked.name()
    )]
    OtherVersion {
        /// Where the model is to be.
        directory: PathBuf,
        /// The version that is there.
        holds: String,
        /// The version that was to be fetched.
        asked: Version,
    },
    /// Another process fetches the same file.
    #[error("{} is being written by another pull. Wait for its end, or end it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {doing} {}: {source}. {}", path.display(), disk_remedy(source))]
    Disk {
        /// What was being done, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl PullError {
    /// For `map_err`: what was being done to which file.
    pub(crate) fn disk(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Disk { doing, path, source }
    }
}

/// What helps against an error of the disk.
fn disk_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "What was fetched is kept: free some space, or choose a directory on another disk"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "Give a directory that may be written to"
        }
        _ => "Give a directory that can be made and written to",
    }
}

/// A number of bytes that is printed for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.0 as f64;
        match self.0 {
            0..1_000 => write!(f, "{} bytes", self.0),
            1_000..1_000_000 => write!(f, "{:.1} kB", bytes / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} MB", bytes / 1e6),
            _ => write!(f, "{:.2} GB", bytes / 1e9),
        }
    }
}
