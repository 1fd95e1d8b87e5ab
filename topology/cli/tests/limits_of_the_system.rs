//! Promise: where the system gives too few threads, files or bytes, or a variable asks for too many threads, an error names
//! the limit before a song begins, and nothing is left behind.
#![cfg(unix)]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    os::unix::process::CommandExt,
    process::{Command, Output},
};

use support::{complaint, folder, program, run, text, tiny_model};

/// The user `nobody` of Linux systems: one that has no processes, so that a limit of processes counts these alone.
const NOBODY: u32 = 65_534;

/// Renders a short song under a limit of the shell; what it said, and whether a song is there.
fn limited(limit: &str, as_nobody: bool) -> (Output, bool) {
    let (model, place) = (tiny_model(), folder());
    let song = place.path().join("song.wav");
    let program = program();
    let mut shell = Command::new("sh");
    if as_nobody {
        // Its files must be readable, and the song's folder its own.
        for path in [model.path(), place.path()] {
            let open = Command::new("chmod").args(["-R", "a+rwX"]).arg(path).status().expect("chmod");
            assert!(open.success());
        }
        shell = Command::new("bash");
        shell.uid(NOBODY);
    }
    shell.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]).arg(program.get_program());
    shell.args([
        "render",
        "-q",
        "--model",
        text(model.path()),
        "-o",
        text(&song),
        "--max-seconds",
        "0.3",
        "--top-k",
        "5",
    ]);
    let output = shell.args(["--tags", "piano", "--lyrics", "la"]).output().expect("a shell");
    (output, song.exists())
}

#[test]
fn too_few_open_files_are_an_error_that_names_their_limit() {
    for files in [6, 8, 12] {
        let (output, song) = limited(&format!("-n {files}"), false);
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{files}: {said}");
        assert!(said.contains("ulimit -n") && !said.contains("panicked"), "{files}: {said}");
        assert!(!song, "{files}: a song without samples is left");
    }
}

#[test]
fn too_few_threads_are_an_error_that_names_their_limit() {
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let reachable = is_root && fs::metadata(program().get_program()).is_ok();
    if !reachable {
        return; // the limit counts all processes of this user, and which those are is not known here
    }
    for threads in [2, 4, 8] {
        let (output, song) = limited(&format!("-u {threads}"), true);
        let said = complaint(&output);
        if said.contains("ermission denied") {
            return; // the program is where this user may not read
        }
        assert_eq!(output.status.code(), Some(1), "{threads}: {said}");
        assert!(said.contains("ulimit -u") && !said.contains("panicked"), "{threads}: {said}");
        assert!(!song, "{threads}: a song without samples is left");
    }
}

#[test]
fn a_variable_that_asks_for_too_many_threads_is_refused_by_its_name() {
    for (variable, value) in [
        ("RAYON_NUM_THREADS", "100000"),
        ("RAYON_NUM_THREADS", "x\u{1b}[2J"),
        ("CANDLE_NUM_THREADS", "99999999999999999999"),
    ] {
        let output = program().args(["inspect"]).env(variable, value).output().expect("the program runs");
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(variable) && said.contains("must be from 0 to"), "{said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
}

#[test]
fn names_with_control_characters_are_shown_escaped() {
    let place = folder();
    let name = "m\u{1b}]0;title\u{7}\u{202e}x";
    for arguments in [
        &["render", "--model", name][..],
        &["inspect", "--model", name],
        &["check", name],
        &["decode", name],
        &["render", "--seed", name],
        &["render", name],
        &["render", "--seed", "1\u{202e}2"],
        &[name],
    ] {
        let output = program().args(arguments).current_dir(place.path()).output().expect("the program runs");
        let said = format!("{}{}", complaint(&output), String::from_utf8_lossy(&output.stdout));
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {said}");
        assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{arguments:?}: {said:?}");
    }
    let long = "x".repeat(100_000);
    let said = complaint(&run(&["render", "--seed", &long]));
    assert!(said.len() < 5000, "{} bytes", said.len());
}

#[test]
fn a_terminal_that_goes_away_ends_a_song_as_a_request_to_end_does() {
    let place = folder();
    let song = place.path().join("song.wav");
    let mut child = program()
        .args(["render", "-q", "-o", text(&song), "--max-seconds", "200", "--top-k", "5", "--flow-steps", "1"])
        .spawn()
        .expect("the program runs");
    let since = std::time::Instant::now();
    while fs::metadata(&song).map_or(0, |file| file.len()) < 1000 {
        assert!(since.elapsed() < support::PATIENCE, "nothing of the song is written");
        std::thread::yield_now();
    }
    let hang_up = Command::new("kill").args(["-HUP", &child.id().to_string()]).status();
    assert!(hang_up.expect("there is a kill").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(!support::samples(&song).is_empty(), "what was written plays");
}
