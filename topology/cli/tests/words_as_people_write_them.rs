//! Promise: words are what was meant, in whatever form they come; what was changed in them is said, and what is surely no
//! song is refused with how to sing it all the same. The words themselves are those of `tests/cases/inputs`.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, io::Write, path::Path, process::Stdio};

use serde_json::Value;
use support::{complaint, folder, program, refusal::refused, samples, text, tiny_model};

/// The words of the table, once for each form that they come in.
const INPUTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/cases/inputs/");

fn input(name: &str) -> String {
    format!("{INPUTS}{name}")
}

/// What the model sees of a prompt, and what is said about it.
fn prompt(arguments: &[&str]) -> Value {
    let output = program().args(["inspect", "--json"]).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    report["prompt"].clone()
}

fn notes(prompt: &Value) -> Vec<String> {
    let notes = prompt["notes"].as_array().expect("notes");
    notes.iter().map(|note| note.as_str().expect("a sentence").to_owned()).collect()
}

#[test]
fn a_file_of_words_is_the_same_words_with_every_mark_and_line_break_that_editors_write() {
    let expected = prompt(&["--lyrics", &input("lyrics_lf.txt"), "--tags", "piano,happy"]);
    assert_eq!(expected["lyrics"], "[verse]\na kettle hums\nthe window clears\n\n[chorus]\nlet it ring\n");
    for name in ["lyrics_crlf.txt", "lyrics_cr.txt", "lyrics_bom.txt", "lyrics_utf16.txt"] {
        let found = prompt(&["--lyrics", &input(name), "--tags", &input("tags_bom.txt")]);
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn the_song_of_a_file_with_other_line_breaks_is_the_same_song() {
    let folder = folder();
    let sung = |name: &str| {
        let path = folder.path().join("song.wav");
        let render = ["render", "-q", "--seed", "3", "--max-seconds", "0.4", "-o", text(&path), "--lyrics"];
        let output = program().args(render).arg(input(name)).output().expect("the program runs");
        assert!(output.status.success(), "{name}: {}", complaint(&output));
        samples(&path)
    };
    assert!(sung("lyrics_lf.txt") == sung("lyrics_crlf.txt"));
}

#[test]
fn words_come_from_standard_input_as_from_a_file() {
    let expected = prompt(&["--lyrics", &input("lyrics_lf.txt")]);
    let mut inspect = program();
    inspect.args(["inspect", "--json", "--lyrics", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut inspect = inspect.spawn().expect("the program runs");
    let bytes = fs::read(input("lyrics_utf16.txt")).expect("an input");
    inspect.stdin.take().expect("a pipe").write_all(&bytes).expect("it reads");
    let output = inspect.wait_with_output().expect("it ends");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["prompt"], expected);
}

#[test]
fn text_in_an_old_encoding_and_lyrics_of_nothing_are_refused() {
    let (place, model) = (folder(), tiny_model());
    let cases: [(&str, &[&str]); 3] = [
        ("lyrics_gbk.txt", &["not UTF-8", "byte 8 is wrong (0xb4)", "iconv -f GBK -t UTF-8"]),
        ("lyrics_only_bom.txt", &["the lyrics are empty", "[Instrumental]"]),
        ("lyrics_only_zwsp.txt", &["the lyrics are empty", "[Instrumental]"]),
    ];
    for (name, says) in cases {
        let lyrics = input(name);
        let render = ["render", "-q", "--model", text(model.path()), "-o", "song.wav", "--lyrics", &lyrics];
        refused(place.path(), model.path(), &render, 2, says);
    }
}

#[test]
fn what_looks_like_a_path_and_is_none_is_refused_with_how_to_sing_it_all_the_same() {
    let (place, model) = (folder(), tiny_model());
    fs::write(place.path().join("hymn.txt"), "la").expect("a file");
    let refuse = |option: &str, value: &str, says: &[&str]| {
        let render = ["render", "-q", "--model", text(model.path()), "-o", "song.wav", option, value];
        refused(place.path(), model.path(), &render, 2, says);
    };
    for path in ["my song.txt", "~/lyrics", "lyrics.json", "my_lyrics", "C:\\songs\\new.txt", "words/one"] {
        refuse("--lyrics", path, &["no file", "Give a file that exists", "--lyrics '[Verse]\\n"]);
    }
    refuse("--lyrics", "hymn", &["no file", "\"hymn.txt\""]);
    refuse("--tags", "tags.txt", &["no file", "--tags 'tags.txt,'"]);
    refuse("--lyrics", "{\"lyrics\": \"la\"}", &["JSON", "words alone"]);
    let sung = prompt(&["--lyrics", "[Verse]\\nmy song.txt"]);
    assert_eq!(sung["lyrics"], "[verse]\nmy song.txt");
}

#[test]
fn a_backslash_and_n_is_a_line_break_where_the_text_has_no_real_one() {
    let found = prompt(&["--lyrics", "[Verse]\\nla\\n\\n[Outro]"]);
    assert_eq!(found["lyrics"], "[verse]\nla\n\n[outro]");
    assert!(notes(&found).iter().any(|note| note.contains("line break")), "{found}");
    assert_eq!(prompt(&["--lyrics", "[Verse]\nla \\n la"])["lyrics"], "[verse]\nla \\n la");
}

#[test]
fn time_stamps_are_taken_out_and_lines_that_look_like_marks_are_pointed_at() {
    let timed = prompt(&["--lyrics", &input("lyrics_timed.lrc")]);
    assert_eq!(timed["lyrics"], "a kettle hums\nthe window clears\n");
    assert!(notes(&timed).iter().any(|note| note.contains("4 time stamps and headers")), "{timed}");
    let marks = prompt(&["--lyrics", &input("lyrics_parens.txt")]);
    let written = fs::read_to_string(input("lyrics_parens.txt")).expect("an input");
    assert_eq!(marks["lyrics"], written.to_lowercase());
    assert!(notes(&marks).iter().any(|note| note.contains("(Verse 1)") && note.contains("[Verse]")), "{marks}");
}

#[test]
fn tags_are_brought_into_the_form_that_the_model_knows_and_that_is_said() {
    let clean = prompt(&["--tags", "piano,happy"]);
    assert!(notes(&clean).is_empty(), "{clean}");
    for tags in ["piano;happy", "piano，happy", "piano,,happy,", "[\"piano\",\"happy\"]", &input("tags_lines.txt")] {
        let found = prompt(&["--tags", tags]);
        assert_eq!(found["tags_ids"], clean["tags_ids"], "{tags}");
        assert!(notes(&found).iter().any(|note| note.contains("\"piano,happy\"")), "{tags}: {found}");
    }
}

#[test]
fn tags_that_the_built_in_model_does_not_know_are_named_with_where_the_known_ones_are_listed() {
    let said = |tags: &str| notes(&prompt(&["--model", "demo", "--tags", tags])).join("|");
    let unknown = said("heavy metal,piano,drums");
    assert!(unknown.contains("\"heavy metal\" and \"drums\"") && unknown.contains("heartstream tags"), "{unknown}");
    assert!(!unknown.contains("piano"), "{unknown}");
    assert!(said("kazoo").contains("\"kazoo\""));
    assert!(said("paino,calm").contains("\"paino\" meant to be \"piano\""));
    assert_eq!(said("flute,guitar,calm"), "");
}

#[test]
fn a_note_is_printed_before_the_song_and_is_in_its_record() {
    let folder = folder();
    let record = folder.path().join("record.json");
    let path = folder.path().join("song.wav");
    let render = ["render", "--max-seconds", "0.4", "--tags", "piano;happy", "-o", text(&path), "--record"];
    let output = program().args(render).arg(&record).output().expect("the program runs");
    assert!(output.status.success(), "{}", complaint(&output));
    let said = complaint(&output);
    assert_eq!(said.matches("note: the tags were read as").count(), 1, "{said}");
    assert!(said.find("note: the tags") < said.find("written in"), "{said}");
    let record: Value = serde_json::from_slice(&fs::read(Path::new(&record)).expect("a record")).expect("JSON");
    assert!(record["notes"].to_string().contains("the tags were read as"), "{record}");
}
