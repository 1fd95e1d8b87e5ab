//! Promise: what the program can do is found from the program itself: help with headings and examples, the tags that a
//! model knows, completions for shells, manual pages.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::fs;

use support::{complaint, edit_json, folder, run, text, tiny_model};

fn output(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn options_are_under_headings_and_three_examples_are_at_the_end() {
    for (command, headings, examples) in [
        ("render", &["Words", "Sound", "Speed", "Output", "Model", "Machine"][..], 3),
        ("play", &["Words", "Sound", "Speed", "Output", "Model", "Machine"], 3),
        ("decode", &["Sound", "Speed", "Output", "Model", "Machine"], 0),
        ("serve", &["Clients", "Limits", "Output", "Model", "Machine"], 3),
    ] {
        let help = output(&[command, "--help"]);
        let at = |heading: &str| help.find(&format!("\n{heading}:\n")).unwrap_or_else(|| panic!("{heading}: {help}"));
        let places: Vec<usize> = headings.iter().map(|heading| at(heading)).collect();
        assert!(places.is_sorted(), "{command}: {help}");
        // Every option but those that all commands have is under a heading.
        let others = &help[at("Options")..places[0]];
        let options: Vec<&str> = others.split_whitespace().filter(|word| word.starts_with("--")).collect();
        assert_eq!(options, ["--quiet", "--verbose...", "--help"], "{command}: under no heading");
        if examples > 0 {
            assert!(at("Examples") > places[places.len() - 1], "{command}: {help}");
            assert_eq!(help[at("Examples")..].matches("\n  heartstream ").count(), examples, "{command}");
        }
    }
    let help = output(&["pull", "--help"]);
    assert_eq!(help.split("Examples:").nth(1).expect("examples").matches("heartstream pull").count(), 3);
}

/// The groups of tags that a model is known to take, when all of its examples are among them.
fn groups_with_known_examples(model: &str) -> Vec<serde_json::Value> {
    let json: serde_json::Value = serde_json::from_str(&output(&["tags", "--model", model, "--json"])).expect("JSON");
    let groups = json["tags"]["groups"].as_array().expect("groups").clone();
    let tags = groups.iter().flat_map(|group| group["tags"].as_array().expect("tags"));
    let known: Vec<&str> = tags.filter_map(|tag| tag.as_str()).collect();
    let examples = json["tags"]["examples"].as_array().expect("examples");
    assert!(examples.len() >= 3, "{model}: {examples:?}");
    for example in examples {
        assert!(example.as_str().expect("text").split(',').all(|tag| known.contains(&tag)), "{model}: {example}");
    }
    groups
}

#[test]
fn tags_lists_what_a_model_is_known_to_take_with_examples_that_are_all_known() {
    let list = output(&["tags", "--model", "demo"]);
    for word in ["instruments", "harpsichord", "hornpipe", "examples", "--tags flute,guitar,calm", "taught"] {
        assert!(list.contains(word), "{word}: {list}");
    }
    assert!(list.lines().all(|line| line.chars().count() <= 80), "{list}");
    let groups = groups_with_known_examples("demo");
    assert_eq!(groups[0]["tags"].as_array().map(Vec::len), Some(10), "the ten instruments");
    // The published models, which are known by their vocabulary, have the list of their authors' documentation.
    let model = tiny_model();
    edit_json(&model.path().join("HeartMuLa-oss-3B/config.json"), |config| config["text_vocab_size"] = 128_256.into());
    let groups = groups_with_known_examples(text(model.path()));
    assert!(groups.iter().any(|group| group["name"].to_string().contains("voice")), "{groups:?}");
    assert!(output(&["tags", "--model", text(model.path())]).contains("as far as they are known"));
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
