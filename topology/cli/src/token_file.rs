//! Token files: one line with a secret.

use std::{fs, path::Path};

use super::Failed;

/// A token file is one line.
const MOST_BYTES: u64 = 4096;

/// Reads the secret of a token file.
///
/// # Errors
/// When it cannot be read, or is too long to be one line.
pub(crate) fn read(path: &Path) -> Result<String, Failed> {
    let unreadable = |reason: String| {
        Failed::Error(format!("the token file {} cannot be used: {reason}. Give a file with one line", path.display()))
    };
    let found = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !found.is_file() || found.len() > MOST_BYTES {
        return Err(unreadable(format!("it is no file, or longer than {MOST_BYTES} bytes")));
    }
    let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    Ok(text.trim().to_owned())
}
