//! Lock of a file that a song is written to, so that two programs do not write into one file.

use std::{fs::File, io};

/// Locks `file` until it is closed. Where the file system has no locks, nothing is locked; nor on Windows, where a lock would
/// keep players out, too.
///
/// # Errors
/// When it is locked already, of the kind [`io::ErrorKind::ResourceBusy`].
pub fn lock_output(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    if let Err(std::fs::TryLockError::WouldBlock) = file.try_lock() {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another song is being written to it"));
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}
