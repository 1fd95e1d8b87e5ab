//! Promise: what computes is chosen by its name, and what cannot be had is refused before anything is made.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::Path;

use support::{complaint, folder, program, refusal::refused, run, text};

#[test]
fn the_processor_is_what_computes_unless_something_else_is_asked_for() {
    let folder = folder();
    let song = |name: &str, more: &[&str]| {
        let path = folder.path().join(name);
        let arguments = ["render", "-q", "--seed", "5", "--max-seconds", "1", "--flow-steps", "1", "-o", text(&path)];
        let output = run(&[&arguments[..], more].concat());
        assert!(output.status.success(), "{}", complaint(&output));
        std::fs::read(path).expect("a file")
    };
    let usual = song("usual.wav", &[]);
    assert!(usual == song("cpu.wav", &["--device", "cpu"]));
    // What is asked for one stage goes before what is asked for all; where that is a GPU, it is not even looked for.
    let each = ["--lm-device", "cpu", "--flow-device", "cpu", "--vocoder-device", "cpu"];
    assert!(usual == song("each.wav", &[&["--device", "cuda:1000"], &each[..]].concat()));
}

#[test]
fn the_name_of_a_loudspeaker_is_answered_with_the_option_for_loudspeakers() {
    for arguments in [["play", "--device", "Built-in Audio"], ["render", "--flow-device", "hw:0"]] {
        let output = program().args(arguments).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
        assert!(complaint(&output).contains("--speaker"), "{}", complaint(&output));
    }
}

/// There is no GPU with such a number, and in a program without CUDA there is none at all.
#[test]
fn a_gpu_that_is_not_there_is_refused_with_what_to_do_and_leaves_nothing() {
    let folder = folder();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/half");
    let says = if cfg!(feature = "cuda") { "cuda:999" } else { "--features cuda" };
    for option in ["--device", "--lm-device", "--flow-device", "--vocoder-device"] {
        refused(folder.path(), &golden, &["render", "-q", "-o", "song.wav", option, "cuda:999"], 2, &[says]);
    }
    refused(folder.path(), &golden, &["check", text(&golden), "--device", "cuda:999"], 2, &[says]);
}
