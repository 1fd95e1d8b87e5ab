//! Verification of a file: its length and hash, as the hub gives them.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Bytes read at once. Large enough that a hash is as fast as the disk.
const BLOCK: usize = 1 << 18;

/// The hash of a file. The hub gives one kind for large files and another for small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Of a large file: SHA-256 of its bytes.
    Sha256([u8; 32]),
    /// Of a small file: its name in git, the SHA-1 of `blob LENGTH`, a zero, and its bytes.
    GitSha1([u8; 20]),
}

impl Hash {
    /// Reads an ETag; `None` when it is something else than a hash that the hub gives.
    pub(crate) fn from_etag(etag: &str) -> Option<Self> {
        let digits = etag.trim().trim_start_matches("W/").trim_matches('"');
        match digits.len() {
            64 => bytes(digits).map(Self::Sha256),
            40 => bytes(digits).map(Self::GitSha1),
            _ => None,
        }
    }

    /// The digits, as in the hub's ETag; also the name of the file's blob in the hub's cache.
    pub(crate) fn digits(&self) -> String {
        let bytes: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::GitSha1(bytes) => bytes,
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if matches!(self, Self::Sha256(_)) { "SHA-256" } else { "git SHA-1" };
        write!(f, "{kind} {}", self.digits())
    }
}

/// Hexadecimal digits as N bytes.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let digit = |place: usize| char::from(*pair.get(place)?).to_digit(16);
        *byte = (16 * digit(0)? + digit(1)?) as u8;
    }
    Some(bytes)
}

/// A hash under way.
pub(crate) enum Hasher {
    Sha256(Sha256),
    GitSha1(Sha1),
    /// The server gave no hash, so none is needed.
    Nothing,
}

impl Hasher {
    /// Begins a hash of the kind of `expected`, over a file of `size` bytes.
    pub(crate) fn like(expected: Option<Hash>, size: u64) -> Self {
        match expected {
            Some(Hash::Sha256(_)) => Self::Sha256(Sha256::new()),
            Some(Hash::GitSha1(_)) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
            None => Self::Nothing,
        }
    }

    /// Takes the next bytes of the file.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitSha1(hasher) => hasher.update(bytes),
            Self::Nothing => (),
        }
    }

    /// Takes everything that is left in `source`.
    pub(crate) fn update_from(&mut self, mut source: impl Read) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            match source.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(count) => self.update(&block[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
    }

    /// The hash; `None` when none was begun.
    pub(crate) fn finish(self) -> Option<Hash> {
        match self {
            Self::Sha256(hasher) => Some(Hash::Sha256(hasher.finalize().into())),
            Self::GitSha1(hasher) => Some(Hash::GitSha1(hasher.finalize().into())),
            Self::Nothing => None,
        }
    }
}

/// Whether the file at `path` has the length `size` and, where one is known, the hash `expected`.
pub(crate) fn is_file(path: &Path, size: u64, expected: Option<Hash>) -> io::Result<bool> {
    let metadata = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        metadata => metadata?,
    };
    if !metadata.is_file() || metadata.len() != size {
        return Ok(false);
    }
    let mut hasher = Hasher::like(expected, size);
    if expected.is_some() {
        hasher.update_from(File::open(path)?)?;
    }
    Ok(hasher.finish() == expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    /// What `git hash-object` says of a file with `hello` and a line feed.
    const HELLO_GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";

    #[test]
    fn both_kinds_of_hash_are_those_of_their_standards() {
        let expected = Hash::from_etag(&format!("\"{EMPTY_SHA256}\"")).expect("a hash");
        assert_eq!(Hasher::like(Some(expected), 0).finish(), Some(expected));
        let expected = Hash::from_etag(&format!("W/\"{HELLO_GIT}\"")).expect("a hash");
        let mut hasher = Hasher::like(Some(expected), 6);
        hasher.update_from(&b"hello\n"[..]).expect("memory can be read");
        assert_eq!(hasher.finish(), Some(expected));
        assert_eq!(expected.to_string(), format!("git SHA-1 {HELLO_GIT}"));
    }

    #[test]
    fn an_etag_that_is_no_hash_is_none() {
        let ü = "ü".repeat(20);
        let g = "g".repeat(64);
        for etag in ["", "\"\"", "\"5d41402abc4b2a76b9719d911017c592\"", "abc-2", &g, &ü] {
            assert_eq!(Hash::from_etag(etag), None, "{etag}");
        }
    }
}
