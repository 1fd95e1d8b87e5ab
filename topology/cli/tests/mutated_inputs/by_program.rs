//! An input as a user of the program gives it, with strange options and variables.

use std::{fs, path::Path};

use heartstream_models::foreign_text;

use crate::{
    Target,
    mutate::Rng,
    support::{complaint, program},
};

const STRANGE: [&str; 12] =
    ["", "-1", "0", "1e309", "NaN", "99999999999999999999", "\u{1b}[2J", "x", "/", "1,,2", "ngram:0", "cuda:77"];
const OPTIONS: [&str; 12] = [
    "--seed",
    "--max-seconds",
    "--top-k",
    "--temperature",
    "--speculate",
    "--threads",
    "--flow-steps",
    "--first-window",
    "--memory-limit",
    "--device",
    "--flow-workers",
    "--continuity",
];
const VARIABLES: [&str; 8] = [
    "RAYON_NUM_THREADS",
    "HEARTSTREAM_KERNELS",
    "HEARTSTREAM_MODEL",
    "RUST_LOG",
    "CANDLE_NUM_THREADS",
    "COLUMNS",
    "TERM",
    "LANG",
];

/// Renders, decodes, inspects or checks, and demands an exit code of 0 to 2 and few plain words.
pub fn by_program(
    model: &Path,
    target: Target,
    words: &(String, String),
    codes: Option<Vec<u8>>,
    plan: Option<Vec<u8>>,
    rng: &mut Rng,
) {
    let mut command = program();
    command.current_dir(model);
    match (target, codes) {
        (_, Some(codes)) => {
            fs::write(model.join("x.codes"), codes).expect("a file");
            command.args(["decode", "x.codes"]);
        }
        (Target::Bytes("goldens.safetensors"), _) => {
            command.args(["check", "."]);
        }
        (Target::Json(_) | Target::Bytes(_), _) if rng.below(2) == 0 => {
            command.arg("inspect");
        }
        _ => {
            let words = [&words.0, &words.1].map(|words| words.replace('\0', " "));
            command.args(["render", "-o", "x.wav", "--max-seconds", "0.3", "--top-k", "5"]);
            command.args([format!("--tags={}", words[0]), format!("--lyrics={}", words[1])]);
        }
    }
    if !matches!(target, Target::Bytes("goldens.safetensors")) {
        command.args(["--model", "."]);
    }
    if let Some(plan) = plan {
        fs::write(model.join("x.json"), plan).expect("a file");
        command.args(["--plan", "x.json"]);
    }
    if target == Target::Options {
        command.arg(format!("{}={}", rng.pick(&OPTIONS), rng.pick(&STRANGE)));
    }
    if target == Target::Environment {
        command.env(rng.pick(&VARIABLES), rng.pick(&STRANGE));
    }
    let output = command.output().expect("the program runs");
    let said = complaint(&output);
    let code = output.status.code();
    assert!(matches!(code, Some(0..=2)), "{command:?}: {:?}: {said}", output.status);
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{command:?}: {said}");
    assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{command:?}: {said:?}");
    if code != Some(0) {
        let (lines, bytes) = (said.lines().count(), said.len());
        // Warnings of other things may come before the error.
        let error = said.find("heartstream: ").map_or("", |start| &said[start..]);
        assert!(error.len() <= foreign_text::MOST_BYTES + 200, "{command:?}: {lines} lines, {bytes} bytes: {said}");
        assert!(error.lines().count() <= foreign_text::MOST_LINES, "{command:?}: {lines} lines: {said}");
    }
}
