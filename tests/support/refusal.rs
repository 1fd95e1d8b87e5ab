//! Refusals of the program: an exit code and one paragraph, without a trace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use super::{complaint, program};

/// Runs the program in `place` and demands that it fails well: with `code`, with one paragraph that holds each of
/// `says`, and with `place` and `model` as they were.
pub fn refused(place: &Path, model: &Path, arguments: &[&str], code: i32, says: &[&str]) {
    let before = (listing(place), listing(model));
    let output = program().args(arguments).current_dir(place).output().expect("the program runs");
    let what = format!("{arguments:?} in {}", model.display());
    assert_eq!(output.status.code(), Some(code), "{what}: {}", complaint(&output));
    let paragraph = said(&output, &what);
    for word in says {
        assert!(paragraph.contains(word), "{what}: `{word}` is not in: {paragraph}");
    }
    assert_eq!((listing(place), listing(model)), before, "{what}: files were left behind or lost");
}

/// What a failed run said, without panics, and in one paragraph.
fn said(output: &Output, what: &str) -> String {
    let all = complaint(output);
    assert!(!all.contains("panicked") && !all.contains("RUST_BACKTRACE"), "{what}: {all}");
    let paragraph = all.trim_end().to_owned();
    if paragraph.starts_with("heartstream: ") {
        assert!(!paragraph.contains("\n\n"), "{what}: more than a paragraph: {paragraph}");
    } else {
        // A word that is no number at all is refused by the parser of the command line, in its own way.
        assert!(paragraph.starts_with("error: ") && output.status.code() == Some(2), "{what}: {paragraph}");
    }
    paragraph
}

/// Every file below `folder` with its length.
fn listing(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.expect("an entry");
        files.push((entry.path(), entry.metadata().expect("an entry").len()));
        if entry.path().is_dir() {
            files.extend(listing(&entry.path()));
        }
    }
    files.sort();
    files
}
