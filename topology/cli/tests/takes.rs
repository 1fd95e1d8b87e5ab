//! Promise: takes are the songs of their seeds, each in a file of its own, and a table says what came of them.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::fs;

use support::{complaint, folder, program, text};

const WORDS: [&str; 6] = ["--tags", "piano", "--lyrics", "a", "--max-seconds", "2"];

/// Runs the program in `place` and returns its exit code and what it said.
fn run_in(place: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = program().current_dir(place).args(arguments).args(WORDS).output().expect("the program runs");
    (output.status.code(), complaint(&output))
}

#[test]
fn every_take_is_the_song_of_its_seed_and_has_a_line_in_the_table() {
    let folder = folder();
    let place = folder.path();
    let (code, said) =
        run_in(place, &["render", "--seed", "7", "--takes", "3", "-o", "t-{n}.wav", "--record", "t-{n}.json"]);
    assert_eq!(code, Some(0), "{said}");
    for (number, seed) in [(1, "7"), (2, "8"), (3, "9")] {
        let (code, said) = run_in(place, &["render", "--seed", seed, "-o", "alone.wav"]);
        assert_eq!(code, Some(0), "{said}");
        let take = fs::read(place.join(format!("t-{number}.wav"))).expect("a take");
        assert!(take == fs::read(place.join("alone.wav")).expect("a song"), "take {number} is another song");
        let record = fs::read(place.join(format!("t-{number}.json"))).expect("a record");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        assert_eq!(record["seed"].to_string(), seed);
    }
    for (number, seed) in [("1", "7"), ("2", "8"), ("3", "9")] {
        let file = format!("t-{number}.wav");
        let line = said.lines().rev().find(|line| line.ends_with(&file)).expect("a line of the table");
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((cells[0], cells[1]), (number, seed), "{said}");
        assert!(line.contains("2.00 s") && line.contains("finished"), "{line}");
    }
}

#[test]
fn takes_without_a_name_write_over_nothing() {
    let folder = folder();
    fs::write(folder.path().join("take-2.wav"), "mine").expect("a file");
    let (code, said) = run_in(folder.path(), &["render", "--takes", "2"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(fs::read(folder.path().join("take-2.wav")).expect("a file"), b"mine");
    assert!(folder.path().join("take-2-1.wav").exists() && folder.path().join("take-2-2.wav").exists(), "{said}");
    assert!(!folder.path().join("take-1.wav").exists());
}

#[test]
fn one_file_for_all_takes_is_refused_before_a_model_is_loaded() {
    let folder = folder();
    for option in ["-o", "--record", "--save-codes"] {
        let (code, said) = run_in(folder.path(), &["render", "--takes", "2", option, "song.x"]);
        assert_eq!(code, Some(2), "{option}: {said}");
        assert!(said.contains("song-{n}.x") && !said.contains("loading"), "{said}");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_program_that_reads_events_gets_the_table_as_one() {
    let folder = folder();
    let path = folder.path().join("{n}.flac");
    let (code, said) =
        run_in(folder.path(), &["render", "--takes", "2", "--seed", "1", "--progress", "json", "-o", text(&path)]);
    assert_eq!(code, Some(0), "{said}");
    let events = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let events: Vec<_> = events.collect();
    assert_eq!(events.iter().filter(|event| event["event"] == "end").count(), 2, "{said}");
    let table = &events.last().expect("events")["takes"];
    assert_eq!((table[1]["take"].as_u64(), table[1]["seed"].as_u64()), (Some(2), Some(2)), "{said}");
    assert!(table[0]["outcome"] == "finished" && table[0]["lufs"].is_number(), "{said}");
    assert!(folder.path().join("2.flac").exists());
}

#[test]
fn takes_that_are_made_at_once_or_within_a_memory_limit_are_the_same() {
    let folder = folder();
    let place = folder.path();
    let (code, said) = run_in(place, &["render", "--seed", "3", "--takes", "5", "-o", "a{n}.wav"]);
    assert_eq!(code, Some(0), "{said}");
    let limited = ["render", "--seed", "3", "--takes", "5", "-o", "b{n}.wav", "--memory-limit", "4GB"];
    let (code, said) = run_in(place, &limited);
    assert_eq!(code, Some(0), "{said}");
    for number in 1..=5 {
        let file = |name: &str| fs::read(place.join(format!("{name}{number}.wav"))).expect("a take");
        assert!(file("a") == file("b"), "take {number}");
    }
}
