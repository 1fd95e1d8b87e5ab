//! Promise: what the program can do is found from the program itself: help with headings and examples, the tags that a
//! model knows, completions for shells, manual pages.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::fs;

use support::{complaint, folder, run, text, tiny_model};

fn output(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn options_are_under_headings_and_three_examples_are_at_the_end() {
    for command in ["render", "play"] {
        let help = output(&[command, "--help"]);
        let places = ["Words:", "Sound:", "Speed:", "Output:", "Model:", "Machine:", "Examples:"].map(|heading| {
            help.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{command}: no {heading} in {help}"))
        });
        assert_eq!(help[places[6]..].matches("\n  heartstream ").count(), 3, "{command}");
        assert!(places.is_sorted(), "{command}: {help}");
        // Every option but those that all commands have is under a heading.
        let others = help.split("\nOptions:\n").nth(1).expect("options of all commands");
        let others = others.split("\nWords:\n").next().expect("text");
        for option in ["--tags", "--seed", "--output", "--model", "--threads"] {
            assert!(!others.contains(option), "{command}: {option} is under no heading");
        }
    }
    let help = output(&["pull", "--help"]);
    assert_eq!(help.split("Examples:").nth(1).expect("examples").matches("heartstream pull").count(), 3);
}

#[test]
fn tags_lists_what_a_model_is_known_to_take_with_examples_that_are_all_known() {
    let list = output(&["tags", "--model", "demo"]);
    for word in ["instruments", "harpsichord", "hornpipe", "examples", "--tags flute,guitar,calm", "taught"] {
        assert!(list.contains(word), "{word}: {list}");
    }
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    let json: serde_json::Value = serde_json::from_str(&output(&["tags", "--model", "demo", "--json"])).expect("JSON");
    let groups = json["tags"]["groups"].as_array().expect("groups");
    assert_eq!(groups[0]["tags"].as_array().map(Vec::len), Some(10), "the ten instruments");
    for example in json["tags"]["examples"].as_array().expect("examples") {
        let known: Vec<&str> = groups
            .iter()
            .flat_map(|group| group["tags"].as_array().expect("tags"))
            .filter_map(|tag| tag.as_str())
            .collect();
        assert!(example.as_str().expect("text").split(',').all(|tag| known.contains(&tag)), "{example}");
    }
    let unknown = run(&["tags", "--model", "noise"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(complaint(&unknown).contains("nothing is known"), "{}", complaint(&unknown));
}

#[test]
fn a_list_of_tags_that_is_damaged_costs_no_song_and_is_said() {
    let model = tiny_model();
    fs::write(model.path().join("tags.json"), "{").expect("a file");
    let inspected = output(&["inspect", "--model", text(model.path())]);
    assert!(inspected.contains("tags.json is ignored"), "{inspected}");
    let refused = run(&["tags", "--model", text(model.path())]);
    assert!(complaint(&refused).contains("tags.json"), "{}", complaint(&refused));
}

#[test]
fn every_shell_gets_its_completions_and_every_command_its_page() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = output(&["completions", shell]);
        assert!(script.contains("heartstream") && script.contains("max-seconds"), "{shell}");
    }
    let folder = folder();
    output(&["man", "--out", text(&folder.path().join("man1"))]);
    let page = |name: &str| fs::read_to_string(folder.path().join("man1").join(name)).unwrap_or_default();
    for name in ["heartstream.1", "heartstream-render.1", "heartstream-play.1", "heartstream-bench-speculation.1"] {
        assert!(page(name).contains(".TH"), "{name}");
    }
    assert!(page("heartstream-render.1").contains("max\\-seconds"));
}
