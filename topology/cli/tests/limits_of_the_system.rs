//! Promise: where the system gives too few threads, files or bytes, or a variable asks for too many threads, an error names
//! the limit before a song begins, and nothing is left behind.
#![cfg(unix)]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    process::{Command, Output},
};

use support::{
    complaint, folder,
    limits::{limited, limited_as_nobody},
    program, run, text, tiny_model,
};

/// Renders a short song in `shell`; what it said, and whether a song is there.
fn rendered(mut shell: Command) -> (Output, bool) {
    let (model, place) = (tiny_model(), folder());
    let song = place.path().join("song.wav");
    // The user that renders may read the one and write into the other.
    for path in [model.path(), place.path()] {
        let open = Command::new("chmod").args(["-R", "a+rwX"]).arg(path).status().expect("chmod");
        assert!(open.success());
    }
    shell.arg(program().get_program()).args([
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
        let (output, song) = rendered(limited(&format!("-n {files}")));
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{files}: {said}");
        assert!(said.contains("ulimit -n") && !said.contains("panicked"), "{files}: {said}");
        assert!(!song, "{files}: a song without samples is left");
    }
}

#[test]
fn too_few_threads_are_an_error_that_names_their_limit() {
    for threads in [2, 4, 8] {
        let Some(shell) = limited_as_nobody(&format!("-u {threads}")) else { return };
        let (output, song) = rendered(shell);
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
fn a_variable_that_asks_for_threads_that_cannot_be_is_refused_by_its_name() {
    for (variable, value) in [
        ("RAYON_NUM_THREADS", "100000"),
        ("RAYON_NUM_THREADS", "x\u{1b}[2J"),
        ("CANDLE_NUM_THREADS", "99999999999999999999"),
        ("RUST_MIN_STACK", "1"),
        ("RUST_MIN_STACK", "99999999999999"),
    ] {
        let output = program().args(["inspect"]).env(variable, value).output().expect("the program runs");
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(variable) && said.contains("must be from "), "{said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
}

#[test]
fn a_model_that_this_user_may_not_read_has_the_remedy_that_fits() {
    use std::os::unix::fs::PermissionsExt;

    let Some(mut shell) = limited_as_nobody("-n 1024") else { return };
    let model = tiny_model();
    let allow = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the owner's right")
    };
    allow(model.path(), 0o755);
    allow(&model.path().join("tokenizer.json"), 0);
    let render = ["render", "-o", "-", "--max-seconds", "0.3", "--model"];
    let output = shell.arg(program().get_program()).args(render).arg(model.path()).output().expect("a shell");
    let said = complaint(&output);
    if !said.starts_with("heartstream: ") {
        return; // the program is where this user may not read
    }
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("tokenizer.json") && said.contains("chmod -R a+rX"), "{said}");
}

#[test]
fn whatever_is_written_beyond_a_limit_of_files_has_the_remedy_that_fits() {
    let place = folder();
    for arguments in [&["synth", "--size", "tiny", "--out", "model"][..], &["man", "--out", "pages"]] {
        let mut shell = limited("-f 0");
        let output = shell.arg(program().get_program()).args(arguments).current_dir(place.path()).output();
        let output = output.expect("a shell");
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("ulimit -f"), "{arguments:?}: {said}");
    }
    if fs::metadata("/dev/full").is_ok() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
        let output = program().args(["completions", "bash"]).stdout(full).output().expect("the program runs");
        assert!(complaint(&output).contains("Free some space"), "{}", complaint(&output));
        for arguments in [&["--help"][..], &["render", "-h"], &["--version"]] {
            let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a full disk");
            let output = program().args(arguments).stdout(full).output().expect("the program runs");
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", complaint(&output));
        }
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
