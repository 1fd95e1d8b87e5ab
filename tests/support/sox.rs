//! Statistics of a file by sox, an independent player.

use std::{
    io::ErrorKind,
    path::Path,
    process::{Command, Output},
};

/// Plays the file `path` to nowhere and says how many samples that were, both channels together. A file that sox has
/// anything to say about fails the test.
pub fn samples_played(path: &Path) -> u64 {
    let output = sox(&[path.as_os_str(), "-n".as_ref(), "stat".as_ref()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "sox does not play {}: {said}", path.display());
    assert!(!said.contains("WARN"), "sox plays {} but complains: {said}", path.display());
    let count = said.lines().find_map(|line| line.strip_prefix("Samples read:")?.trim().parse().ok());
    count.unwrap_or_else(|| panic!("sox does not say how many samples {} has: {said}", path.display()))
}

/// Runs sox.
pub fn sox(arguments: &[&std::ffi::OsStr]) -> Output {
    match Command::new("sox").args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!(
                "sox is not installed, and this test is about files that sox plays. Install it: sudo apt-get install sox"
            )
        }
        Err(error) => panic!("sox does not run: {error}"),
    }
}
