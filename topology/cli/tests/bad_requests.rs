//! Promise: never silent about a request. Words, options and paths that cannot be get one paragraph that names what is
//! wrong and what to do; nothing panics, and nothing half-written is left behind.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::fs;

use support::{folder, refusal::refused, text, tiny_model};

#[test]
fn words_that_cannot_be_sung_are_refused() {
    let (place, model) = (folder(), tiny_model());
    fs::write(place.path().join("latin1.txt"), b"caf\xe9").expect("a file");
    fs::write(place.path().join("empty.txt"), b"").expect("a file");
    fs::write(place.path().join("huge.txt"), "la ".repeat(500_000)).expect("a file");
    let long = "la ".repeat(2000);
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--lyrics", ""], &["the lyrics are empty", "[Instrumental]"]),
        (&["--lyrics", " \n\t"], &["the lyrics are empty", "[Instrumental]"]),
        (&["--lyrics", "empty.txt"], &["the lyrics are empty", "[Instrumental]"]),
        (&["--lyrics", &long], &["tags and lyrics take", "4096", "Shorten the lyrics"]),
        (&["--tags", &long], &["tags and lyrics take", "4096", "Shorten"]),
        (&["--lyrics", "huge.txt"], &["huge.txt", "1 MiB", "Shorten"]),
        (&["--tags", "latin1.txt"], &["the tags in latin1.txt", "byte 3", "UTF-8"]),
        (&["--lyrics", "latin1.txt"], &["the lyrics in latin1.txt", "byte 3", "UTF-8"]),
        (&["--lyrics", "nothing.txt"], &["nothing.txt", "Give a file that exists"]),
    ];
    for (words, says) in cases {
        let render = [&["render", "-q", "--model", text(model.path()), "-o", "song.wav"], words].concat();
        refused(place.path(), model.path(), &render, 2, says);
    }
}

#[test]
fn options_out_of_range_are_refused_by_name() {
    let (place, model) = (folder(), tiny_model());
    let cases: [(&str, &[&str]); 14] = [
        ("temperature", &["NaN", "-1", "inf", "-inf", "warm"]),
        ("top-k", &["0", "-3", "1.5"]),
        ("cfg-scale", &["0.5", "NaN", "inf", "-2", "1000.5", "1e300"]),
        ("flow-steps", &["0", "1001", "-1", "99999999999999999999"]),
        ("flow-guidance", &["0", "NaN", "inf", "1001", "1e38"]),
        ("flow-workers", &["0", "65", "many"]),
        ("flow-precision", &["f16", "bf16", "half"]),
        ("threads", &["0", "100000"]),
        ("max-seconds", &["0", "-1", "NaN", "inf", "0.01", "long"]),
        ("lm-cores", &["4000", "a", "3-1", ""]),
        ("flow-cores", &["0,4001", "99999999999999999999"]),
        ("vocoder-cores", &["4002"]),
        ("seed", &["-1", "1.5", "18446744073709551616"]),
        ("record", &[""]),
    ];
    for (option, values) in cases {
        for value in values {
            let given = format!("--{option}={value}");
            let render = ["render", "-q", "--model", text(model.path()), "-o", "song.wav", &given];
            refused(place.path(), model.path(), &render, 2, &[option]);
        }
    }
}

#[test]
fn a_drafter_that_cannot_be_trained_is_refused_before_songs_are_written() {
    let (place, model) = (folder(), tiny_model());
    for (option, value) in [("seconds", "1e300"), ("seconds", "400"), ("steps", "0"), ("threads", "100000")] {
        let given = format!("--{option}={value}");
        let distill = ["distill", "-q", "--model", text(model.path()), &given];
        refused(place.path(), model.path(), &distill, 2, &[option, "must be"]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_not_utf8_is_refused_by_its_name_with_what_to_do() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    let place = folder();
    let name = OsStr::from_bytes(b"n\xff");
    for option in ["--model", "--lyrics", "--tags", "--seed"] {
        let mut program = support::program();
        let output = program.args(["render", option]).arg(name).current_dir(place.path()).output().expect("it runs");
        let said = support::complaint(&output);
        assert_eq!(output.status.code(), Some(2), "{option}: {said}");
        assert!(said.contains("not UTF-8: n\u{fffd}") && said.contains("ln -s"), "{option}: {said}");
    }
    let output = support::program().arg("inspect").env("HEARTSTREAM_MODEL", name).output().expect("it runs");
    assert!(support::complaint(&output).contains("HEARTSTREAM_MODEL is not UTF-8"), "{}", support::complaint(&output));
    let takes = ["render", "--takes", "2", "--max-seconds", "0.3", "-o"];
    let mut program = support::program();
    let output = program.args(takes).arg(OsStr::from_bytes(b"n\xff-{n}.wav")).output().expect("it runs");
    let said = support::complaint(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("not UTF-8") && said.contains("take-{n}.wav"), "{said}");
}

#[test]
fn a_song_that_cannot_be_written_is_not_begun() {
    let (place, model) = (folder(), tiny_model());
    fs::create_dir(place.path().join("folder")).expect("a folder");
    fs::write(place.path().join("file"), "mine").expect("a file");
    let (a_name, elsewhere) = ("Give the name of a file", "Give a path in a directory that exists");
    let outputs =
        [("folder", a_name), (".", a_name), ("no/such/folder/song.wav", elsewhere), ("file/song.wav", elsewhere)];
    for (output, remedy) in outputs {
        let render = ["render", "-q", "--model", text(model.path()), "-o", output];
        refused(place.path(), model.path(), &render, 1, &[&format!("cannot write {output}"), remedy]);
    }
    for (record, remedy) in [("folder", a_name), ("no/such/folder/record.json", elsewhere)] {
        let render = ["render", "-q", "--model", text(model.path()), "-o", "song.wav", "--record", record];
        refused(place.path(), model.path(), &render, 1, &[&format!("cannot write {record}"), remedy]);
    }
    let both = ["render", "-q", "--model", text(model.path()), "-o", "x.wav", "--record", "./x.wav"];
    refused(place.path(), model.path(), &both, 2, &["record", "x.wav", "another file"]);
    // What was there before is still there when the song is refused later on.
    let render = ["render", "-q", "--model", text(model.path()), "-o", "file", "--lyrics", &"la ".repeat(2000)];
    refused(place.path(), model.path(), &render, 2, &["Shorten"]);
    assert_eq!(fs::read(place.path().join("file")).expect("the file"), b"mine");
}
