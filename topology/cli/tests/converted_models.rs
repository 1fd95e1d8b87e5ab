//! Promise: a converted model is half as large and sings the same songs, bit for bit.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path};

use support::{complaint, edit_json, folder, run, samples, text};

fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    entries.map(|entry| if entry.path().is_dir() { bytes_in(&entry.path()) } else { size(&entry.path()) }).sum()
}

fn size(file: &Path) -> u64 {
    fs::metadata(file).expect("a file").len()
}

/// Runs a command that must succeed.
fn done(args: &[&str]) {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", complaint(&output));
}

#[test]
fn a_converted_model_sings_what_the_original_sings_with_weights_stored_so() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let [original, converted] = [path("original"), path("converted")];
    done(&["synth", "--size", "small", "--out", text(&original)]);
    edit_json(&original.join("gen_config.json"), |config| config["flow_guidance"] = 2.into());
    done(&["convert", "--model", text(&original), "--out", text(&converted), "--codec", "f16"]);
    let [own, copied] = [&original, &converted].map(|model| fs::read(model.join("gen_config.json")).expect("a file"));
    assert_eq!(own, copied, "the model's own defaults come along");
    assert!(bytes_in(&converted) * 19 < bytes_in(&original) * 10, "about half as large");
    let song = |name: &str, model: &Path, more: &[&str]| {
        let wav = path(name);
        let usual = ["render", "--model", text(model), "-o", text(&wav), "--seed", "4", "--max-seconds", "1"];
        done(&[&usual, more].concat());
        samples(&wav)
    };
    let narrow = ["--lm-weights", "bf16", "--codec-weights", "f16"];
    let sung = song("converted.wav", &converted, &[]);
    assert!(song("original.wav", &original, &narrow) == sung);
    assert!(song("wide.wav", &original, &[]) != sung, "rounding is heard by a comparison of bits");
}

#[test]
fn what_is_there_is_not_written_over() {
    let folder = folder();
    let output = run(&["convert", "--out", text(folder.path())]);
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    assert!(complaint(&output).contains("is there already"), "{}", complaint(&output));
}
