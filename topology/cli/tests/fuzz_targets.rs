//! Promise: whatever bytes are read in the place of a file of the engine, reading comes to an end without a panic. The same
//! bodies run under libFuzzer (`.ci/fuzz`), whose corpus the last test writes.

#[path = "../../../fuzz/bodies.rs"]
#[allow(dead_code)] // what fuzz targets alone do
mod bodies;
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use std::{fs, path::PathBuf};

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

/// What is done with bytes.
type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 8] = [
    ("header", bodies::header),
    ("index", bodies::index),
    ("config", bodies::config),
    ("tokenizer", bodies::tokenizer),
    ("codes", bodies::codes),
    ("plan", bodies::plan),
    ("words", bodies::words),
    ("wav", bodies::wav),
];

/// Runs a target with bytes near good ones, and with any.
fn run(name: &str) {
    let (_, body) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target");
    let good = corpus::good(name);
    good.iter().for_each(|bytes| body(bytes));
    let change = (any::<Index>(), any::<Index>(), prop::collection::vec(any::<u8>(), 0..9));
    let near = (prop::sample::select(good), prop::collection::vec(change, 1..4)).prop_map(|(mut bytes, changes)| {
        for (a, b, new) in changes {
            // Mostly in what is read first.
            let near = bytes.len().min(1 << 11) + 1;
            let (a, b) = (a.index(near), b.index(near));
            bytes.splice(a.min(b)..a.max(b).min(a.min(b) + 20), new);
        }
        bytes
    });
    let any_bytes = prop::collection::vec(any::<u8>(), 0..200);
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    let check = |bytes: Vec<u8>| {
        body(&bytes);
        Ok(())
    };
    TestRunner::new(config).run(&prop_oneof![4 => near, 1 => any_bytes], check).expect("no panic");
}

#[test]
fn any_safetensors_file_is_read_or_refused() {
    run("header");
}

#[test]
fn any_index_is_followed_within_its_folder_or_refused() {
    run("index");
}

#[test]
fn any_config_is_read_or_refused() {
    run("config");
}

#[test]
fn any_tokenizer_writes_ids_of_the_model_or_is_refused() {
    run("tokenizer");
}

#[test]
fn any_codes_file_is_read_or_refused() {
    run("codes");
}

#[test]
fn any_plan_is_read_or_refused() {
    run("plan");
}

#[test]
fn any_words_become_ids_or_are_refused() {
    run("words");
}

#[test]
fn any_wav_is_read_or_refused() {
    run("wav");
}

/// Into the folder that `CORPUS` names, as `.ci/fuzz` wants it; else into one that goes away.
#[test]
fn every_target_begins_with_inputs_of_its_own() {
    let temporary = tempfile::tempdir().expect("a folder");
    let root = std::env::var_os("CORPUS").map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    for (name, _) in TARGETS {
        let folder = root.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        let inputs = corpus::good(name);
        assert!(!inputs.is_empty(), "{name} has none");
        for (place, bytes) in inputs.iter().enumerate() {
            fs::write(folder.join(format!("good-{place}")), bytes).expect("a file");
        }
    }
}
