//! Ids of the library: what a song is called in addresses and on disk.

use std::{fmt, str::FromStr};

use crate::error::ApiError;

/// Letters of an id: without those that are taken for each other.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// Letters in an id: 80 bits, so that none is guessed and none comes twice.
const LENGTH: usize = 16;

/// The id of a song. It holds letters and digits only, so as the name of a file it stays where it is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LibraryId([u8; LENGTH]);

impl LibraryId {
    /// An id that no other song has.
    pub fn new() -> Result<Self, ApiError> {
        let mut random = [0; LENGTH];
        getrandom::fill(&mut random).map_err(|error| ApiError::Internal(format!("no random numbers: {error}")))?;
        Ok(Self(random.map(|byte| LETTERS[usize::from(byte) % LETTERS.len()])))
    }

    /// Its letters.
    pub fn as_str(&self) -> &str {
        // Letters of the list, which are ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for LibraryId {
    type Err = ApiError;

    fn from_str(text: &str) -> Result<Self, ApiError> {
        let letters: [u8; LENGTH] = text.as_bytes().try_into().map_err(|_| ApiError::NoSong)?;
        if letters.iter().all(|letter| LETTERS.contains(letter)) { Ok(Self(letters)) } else { Err(ApiError::NoSong) }
    }
}

impl fmt::Display for LibraryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_and_what_is_no_id_is_no_song() {
        let id = LibraryId::new().unwrap();
        assert_eq!(id.as_str().parse::<LibraryId>().unwrap(), id);
        assert_ne!(LibraryId::new().unwrap(), id);
        for wrong in ["", "..", "../../etc/passwd", "aaaaaaaaaaaaaaa/", "aaaaaaaaaaaaaaaA", "aaaaaaaaaaaaaaaaa"] {
            assert!(wrong.parse::<LibraryId>().is_err(), "{wrong}");
        }
    }
}
