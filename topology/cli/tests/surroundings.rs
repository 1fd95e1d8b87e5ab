//! Promise: what surrounds a song, the environment, the system's sound libraries, the program that reads the progress,
//! neither stops it nor drowns out what the program says.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::process::Output;

use serde_json::Value;
use support::{complaint, folder, program, text};

/// The system's sound libraries where they find nothing, and say so.
fn without_sound(arguments: &[&str]) -> Output {
    let folder = folder();
    let config = folder.path().join("asound.conf");
    // A default device that leads to one that is not there, which the library complains about.
    std::fs::write(&config, "pcm.!default { type plug slave.pcm \"nothing\" }\n").expect("a file");
    let mut command = program();
    command.args(arguments).env("ALSA_CONFIG_PATH", &config).current_dir(folder.path());
    command.output().expect("the program runs")
}

#[test]
fn an_empty_variable_is_as_one_that_is_not_set_and_an_empty_option_is_none() {
    for variable in ["HEARTSTREAM_MODEL", "HEARTSTREAM_KERNELS"] {
        let output = program().args(["tags"]).env("HEARTSTREAM_MODEL", "").env(variable, "").output();
        let output = output.expect("the program runs");
        assert!(output.status.success(), "{variable}: {}", complaint(&output));
        assert!(String::from_utf8_lossy(&output.stdout).contains("tags of the model demo"), "{variable}");
    }
    let output = program().args(["tags", "--model", ""]).output().expect("the program runs");
    assert!(!output.status.success());
}

#[test]
fn no_line_of_the_systems_sound_libraries_is_printed_unless_more_is_asked_for() {
    for arguments in [&["devices"][..], &["play", "-q", "--max-seconds", "0.08", "-o", "x.wav"]] {
        let output = without_sound(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
        let said = complaint(&output);
        let ours = said.lines().all(|line| line.starts_with("heartstream: "));
        assert!(ours, "{arguments:?}: {said}");
    }
    let verbose = without_sound(&["devices", "-v"]);
    if cfg!(target_os = "linux") {
        assert!(complaint(&verbose).contains("ALSA lib"), "with -v they are shown: {}", complaint(&verbose));
    }
}

#[test]
fn with_progress_json_every_line_of_standard_error_is_an_object_and_the_last_one_the_end() {
    let folder = folder();
    let path = folder.path().join("x.wav");
    let render = ["render", "--progress", "json", "--max-seconds", "2", "--seed", "7", "-o", text(&path)];
    let output = program().args(render).args(["--tags", "piano;happy"]).output().expect("the program runs");
    assert!(output.status.success(), "{}", complaint(&output));
    let said = complaint(&output);
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert!(events.iter().all(|event| event["event"].is_string()), "{said}");
    assert!(
        events.iter().any(|event| event["event"] == "note" && event["text"].to_string().contains("tags")),
        "{said}"
    );
    let end = events.last().expect("an end");
    assert_eq!((&end["event"], &end["outcome"], &end["seed"]), (&"end".into(), &"finished".into(), &7.into()), "{end}");
    assert_eq!(end["audio_s"], 2.0);
    assert_eq!(end["file"], text(&path));
    let failed = ["render", "--progress", "json", "--lyrics", "my song.txt"];
    let output = program().args(failed).output().expect("the program runs");
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((output.status.code(), &error["event"]), (Some(2), &"error".into()), "{error}");
}
