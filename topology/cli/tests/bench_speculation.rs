//! Promise: `bench speculation` compares every way of drafting in one run, and `distill` makes a drafter that is found.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{collections::BTreeMap, path::Path};

use heartstream_tools::synth::{SynthSize, synthesise};
use support::{complaint, copy_tree, folder, run, text, tiny_model};

fn json(arguments: &[&str]) -> serde_json::Value {
    let output = run(arguments);
    assert!(output.status.success(), "{}", complaint(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_drafter_and_count_has_a_row_beside_plain_decoding_and_what_was_predicted() {
    let (model, out) = (tiny_model(), folder());
    let plot = out.path().join("speed.svg");
    let bench = ["bench", "speculation", "-q", "--json", "--model", text(model.path()), "--seconds", "2"];
    let options = [
        "--repeats",
        "1",
        "--counts",
        "1,3",
        "--oracles",
        "0,1",
        "--draft-cores",
        "0",
        "--threads",
        "1",
        "--bits",
        "8,3",
    ];
    let report = json(&[&bench[..], &options, &["--plot", text(&plot)]].concat());
    let rows = report["rows"].as_array().expect("rows");
    let row = |drafter: &str, k: Option<u64>, prefetch: bool| {
        let found =
            rows.iter().find(|row| row["drafter"] == drafter && row["k"].as_u64() == k && row["prefetch"] == prefetch);
        found.unwrap_or_else(|| panic!("no row of {drafter} with {k:?} frames, prefetch {prefetch}")).clone()
    };
    for (drafter, k) in [("auto", None), ("depth-jacobi", Some(0)), ("carry-over", Some(3)), ("ngram", Some(1))] {
        let row = row(drafter, k, false);
        assert!(row["speedup"].as_f64().expect("a number") > 0.0, "{row}");
    }
    assert!(row("depth-decoder", Some(3), true)["cache"]["built"].as_u64() > Some(0), "drafts were prepared");
    let (right, wrong) = (row("oracle:1", Some(3), false), row("oracle:0", Some(3), false));
    // 25 frames, of which every round writes four; the last has one frame left.
    assert!((right["frames_per_verify"].as_f64().expect("a number") - 25.0 / 7.0).abs() < 1e-9, "{right}");
    assert_eq!(wrong["frames_per_verify"], 1.0);
    let passes = right["depth_passes_per_frame"].as_f64().expect("a number");
    // One for each round or one for each frame, whichever costs less here.
    assert!((7.0 / 25.0 - 1e-9..1.0 + 1e-9).contains(&passes), "{right}");
    assert!(right["predicted_speedup"].as_f64() > wrong["predicted_speedup"].as_f64());
    // The adaptive rows: with the usual drafters, with prefetched drafts, and adversarial.
    for (drafter, prefetch) in [("auto", false), ("auto", true), ("auto, adversarial", false)] {
        assert!(row(drafter, None, prefetch)["speedup"].as_f64() > Some(0.0));
    }
    row("carry-over", Some(16), false);
    assert_eq!(report["codebooks"].as_array().map(Vec::len), Some(8));
    for name in ["entropy_bits", "likeliest", "next_frame_same", "same_after_window_frame"] {
        assert!(report["codebooks"][3][name].as_f64().is_some_and(|share| share >= 0.0), "{name}");
    }
    let coarse = report["coarse_weights"].as_array().expect("models with coarser weights");
    let right = |place: usize| {
        let matches = coarse[place]["match"].as_array().expect("a share for each codebook");
        assert_eq!(matches.len(), 8);
        matches.iter().map(|share| share.as_f64().expect("a share")).sum::<f64>() / 8.0
    };
    assert_eq!((&coarse[0]["bits"], &coarse[1]["bits"]), (&8.into(), &3.into()));
    assert!(right(0) > 0.9 && right(1) < right(0), "{coarse:?}");
    assert!(std::fs::read_to_string(plot).expect("a drawing").starts_with("<svg"));
    for wrong in [["--seconds", "0"], ["--bits", "1"], ["--bits", "8,33"], ["--draft-device", "cuda:1000"]] {
        let refused = run(&[&["bench", "speculation"][..], &wrong].concat());
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {}", complaint(&refused));
    }
}

#[test]
fn a_model_of_random_weights_is_measured_without_any_files() {
    let bench = ["bench", "speculation", "-q", "--json", "--random", "small", "--seconds", "0.4"];
    let report = json(
        &[&bench[..], &["--repeats", "1", "--counts", "1", "--oracles", "1", "--threads", "1", "--bits=0"]].concat(),
    );
    assert_eq!(report["coarse_weights"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["model"], "random small");
    let rows = report["rows"].as_array().expect("rows");
    let right = rows.iter().find(|row| row["drafter"] == "oracle:1" && row["k"] == 1).expect("an oracle");
    // Five frames: two rounds of two, and one of one.
    assert!((right["frames_per_verify"].as_f64().expect("a number") - 5.0 / 3.0).abs() < 1e-9, "{right}");
    assert!(right["speedup"].as_f64() > Some(0.0) && right["prefetch"] == false, "{right}");
}

#[test]
fn a_distilled_drafter_is_found_and_its_songs_are_the_plain_ones() {
    let (model, out) = (tiny_model(), folder());
    let taught = out.path().join("taught");
    copy_tree(model.path(), &taught);
    let distill = ["distill", "-q", "--model", text(&taught), "--songs", "3", "--seconds", "3", "--steps", "40"];
    let output = run(&distill);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(taught.join("HeartMuLa-oss-3B/drafter.safetensors").is_file());
    let render = |name: &str, setting: &str| {
        let path = out.path().join(name);
        let song = ["render", "-q", "--seed", "3", "--max-seconds", "3", "--flow-steps", "1", "--top-k", "5"];
        let rest = ["--model", text(&taught), "--speculate", setting, "-o", text(&path)];
        let output = run(&[&song[..], &rest].concat());
        assert!(output.status.success(), "{setting}: {}", complaint(&output));
        std::fs::read(path).expect("a song")
    };
    let plain = render("off.wav", "off");
    for setting in ["auto", "heads:3", "heads:8", "heads-viterbi:2", "next-state:4", "heads,carry-over:6"] {
        assert!(render("drafted.wav", setting) == plain, "{setting}");
    }
    let refused = run(&["distill", "--songs", "3", "--seconds", "3"]);
    assert_eq!(refused.status.code(), Some(2), "the model in the program: {}", complaint(&refused));
    let damaged = taught.join("HeartMuLa-oss-3B/drafter.safetensors");
    std::fs::write(&damaged, b"nothing").expect("written");
    let refused =
        run(&["render", "-q", "--max-seconds", "1", "--model", text(&taught), "-o", text(&out.path().join("x"))]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("drafter.safetensors"), "{}", complaint(&refused));
}

#[test]
fn training_a_drafter_goes_on_where_it_was_or_with_a_drafter_that_is_given() {
    let (model, other, out) = (tiny_model(), folder(), folder());
    synthesise(SynthSize::Tiny, 6, other.path(), &mut |_, _| ()).expect("another checkpoint");
    let distill = |model: &Path, steps: &str, rest: &[&str]| {
        let songs = ["distill", "-q", "--model", text(model), "--songs", "2", "--seconds", "2", "--steps", steps];
        run(&[&songs[..], rest].concat())
    };
    let numbers = |path: &Path| {
        let bytes = std::fs::read(path).expect("a drafter");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("tensors");
        let held = tensors.tensors().into_iter().map(|(name, tensor)| (name, tensor.data().to_vec()));
        held.collect::<BTreeMap<_, _>>()
    };
    let [drafter, next, unfinished] =
        ["first.safetensors", "next.safetensors", "next.training.safetensors"].map(|name| out.path().join(name));
    let output = distill(model.path(), "3", &["--out", text(&drafter)]);
    assert!(output.status.success(), "{}", complaint(&output));

    // Without a step more, what was given and what was interrupted is what it was.
    let output = distill(model.path(), "0", &["--from", text(&drafter), "--out", text(&next)]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(numbers(&next) == numbers(&drafter));
    std::fs::remove_file(&next).expect("there");
    std::fs::copy(&drafter, &unfinished).expect("copied");
    let output = distill(model.path(), "3", &["--out", text(&next)]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(numbers(&next) == numbers(&drafter) && !unfinished.exists(), "a complete run is not resumed");

    std::fs::copy(&drafter, &unfinished).expect("copied");
    let refused = |output: std::process::Output, because: &str| {
        assert_eq!(output.status.code(), Some(1));
        assert!(complaint(&output).contains(because), "{}", complaint(&output));
    };
    refused(distill(model.path(), "5", &["--from", text(&drafter), "--out", text(&next)]), "beside --from");
    refused(distill(other.path(), "5", &["--out", text(&next)]), "one for another model");
    std::fs::write(&unfinished, b"nothing").expect("written");
    refused(distill(model.path(), "5", &["--out", text(&next)]), "next.training.safetensors: expected");
    std::fs::remove_file(&unfinished).expect("there");
    let lost = out.path().join("lost.safetensors");
    refused(distill(model.path(), "5", &["--from", text(&lost), "--out", text(&next)]), "lost.safetensors");
    let heads = ["--heads", "4", "--from", text(&drafter), "--out", text(&next)];
    refused(distill(model.path(), "5", &heads), "heads");
}
