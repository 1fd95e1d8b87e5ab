//! Promise: a song does not depend on how its frames were drafted, and its report says what drafting came to.

#[path = "../../../tests/support/mod.rs"]
mod support;

use heartstream::{
    Continuity, Outcome, SongRequest, Speculation, plan::DrafterName, report::PrefetchReport, units::Frames,
};
use heartstream_tools::synth::{SynthSize, synthesise};
use support::{assert_same, complaint, engine, folder, preparing, request, run, sung, text, tiny_model};

/// What a record says of drafting, wherever something was drafted and something was right.
const METRICS: [&str; 37] = [
    "plain_frames",
    "spec_rounds",
    "spec_frames",
    "spec_draft_frames",
    "spec_accepted_frames",
    "spec_accepted_frames_by_pos",
    "spec_match_by_codebook",
    "spec_first_reject_codebook",
    "frames_per_verify",
    "depth_passes_per_frame",
    "jacobi_guess_right",
    "k_chosen",
    "prefetch_chosen",
    "policy_switches",
    "drafters",
    "cache.cache_built",
    "cache.cache_exact",
    "cache.cache_near",
    "cache.cache_miss",
    "cache.cache_stale",
    "cache.cache_unused",
    "cache.accepted_on_hit",
    "cache.accepted_on_miss",
    "cache.draft_busy_during_verify",
    "time.backbone",
    "time.depth_verify",
    "time.completion",
    "time.draft",
    "time.wait_draft",
    "time.sample",
    "time.plain",
    "time.host_sync",
    "time.codec",
    "bytes_read_estimate",
    "effective_gb_per_s",
    "tau_hits",
    "burst_frames_most",
];

/// Frames of a song: several rounds of every setting, and windows of more than one length.
const FRAMES: u64 = 60;

fn settings() -> impl Iterator<Item = Speculation> {
    let untrained = DrafterName::ALL.into_iter().filter(|name| !name.is_trained());
    let alone = untrained.flat_map(|name| {
        let counts: &[usize] = if name == DrafterName::DepthJacobi { &[0] } else { &[0, 1, 3, 8] };
        counts.iter().map(move |frames| Speculation::Fixed { drafters: vec![name], frames: *frames })
    });
    let chained = Speculation::Fixed { drafters: vec![DrafterName::NGram, DrafterName::CarryOver], frames: 4 };
    alone.chain([chained, Speculation::Auto])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_gives_the_same_samples_with_and_without_guidance() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let plain = engine.with_speculation(Speculation::Off).expect("nothing is drafted");
    for cfg_scale in [1.0, 1.5] {
        let mut song = request(FRAMES, 7);
        song.sampling.cfg_scale = cfg_scale;
        let (expected, report) = sung(&plain, song.clone()).await;
        assert_eq!(report.speculation, None, "nothing was drafted");
        for setting in settings() {
            let engine = engine.with_speculation(setting.clone()).expect("drafters that need no training");
            let (drafted, report) = sung(&engine, song.clone()).await;
            assert_same(&format!("{setting}, guidance {cfg_scale}"), &drafted, &expected);
            let speculation = report.speculation.expect("drafting was counted");
            assert_eq!(speculation.plain_frames + speculation.spec_frames, FRAMES, "{setting}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_other_counts_of_everything_gives_the_same_samples_with_prepared_drafts_and_without() {
    let model = folder();
    synthesise(SynthSize::Odd, 5, model.path(), &mut |_, _| ()).expect("a checkpoint");
    let engine = engine(&model, 1, 1).await;
    let preparing = preparing(&model).await;
    let plain = engine.with_speculation(Speculation::Off).expect("nothing is drafted");
    for cfg_scale in [1.0, 1.5] {
        // In windows that are no longer than they must be: these are many songs.
        let mut song = SongRequest { continuity: Continuity::Chained, ..request(13, 7) };
        song.sampling.cfg_scale = cfg_scale;
        let (expected, _) = sung(&plain, song.clone()).await;
        for setting in settings() {
            for engine in [&engine, &preparing] {
                let engine = engine.with_speculation(setting.clone()).expect("drafters that need no training");
                let (drafted, _) = sung(&engine, song.clone()).await;
                assert_same(&format!("{setting}, guidance {cfg_scale}"), &drafted, &expected);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_whose_drafts_are_prepared_meanwhile_is_the_same_and_its_report_says_what_became_of_them() {
    let model = tiny_model();
    let preparing = preparing(&model).await;
    let plain = preparing.with_speculation(Speculation::Off).expect("nothing is drafted");
    let (expected, _) = sung(&plain, request(FRAMES, 7)).await;
    for setting in ["depth-decoder:1", "depth-decoder:4", "ngram,depth-decoder:8", "auto"] {
        let engine = preparing.with_speculation(setting.parse().expect("a setting")).expect("an engine");
        let (drafted, report) = sung(&engine, request(FRAMES, 7)).await;
        assert_same(setting, &drafted, &expected);
        let speculation = report.speculation.expect("drafting was counted");
        let PrefetchReport { cache_exact, cache_near, cache_miss, .. } = speculation.cache;
        if setting != "auto" {
            assert!(speculation.prefetch_chosen, "{setting}");
            assert_eq!(cache_exact + cache_near + cache_miss, speculation.spec_rounds - 1, "{setting}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_its_model_ends_is_as_long_however_it_is_drafted() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let plain = engine.with_speculation(Speculation::Off).expect("nothing is drafted");
    // With every code among the candidates, one that ends the song comes up sooner or later.
    let song = |seed| {
        let mut song = SongRequest { max_frames: Frames(400), ..request(FRAMES, seed) };
        song.sampling.top_k = 100;
        song
    };
    let mut ended = 0;
    for seed in 0..6 {
        let (expected, report) = sung(&plain, song(seed)).await;
        ended += u32::from(report.frames < Frames(400));
        for setting in ["depth-jacobi", "carry-over:8", "depth-decoder:3", "auto"] {
            let setting: Speculation = setting.parse().expect("a setting");
            let engine = engine.with_speculation(setting.clone()).expect("drafters that need no training");
            let (drafted, drafted_report) = sung(&engine, song(seed)).await;
            assert_eq!(drafted_report.outcome, Outcome::Finished);
            assert_eq!(drafted_report.frames, report.frames, "{setting}, seed {seed}");
            assert_same(&format!("{setting}, seed {seed}"), &drafted, &expected);
        }
    }
    assert!(ended > 0, "some of the songs were ended by their model");
}

#[test]
fn files_of_the_program_are_equal_byte_for_byte_and_its_record_counts() {
    let (model, out) = (tiny_model(), folder());
    let render = |name: &str, setting: &str| {
        let (wav, record) = (out.path().join(format!("{name}.wav")), out.path().join(format!("{name}.json")));
        let song = ["render", "-q", "--seed", "7", "--max-seconds", "4", "--top-k", "5", "--model", text(model.path())];
        let rest = ["--flow-steps", "2", "--speculate", setting, "-o", text(&wav), "--record", text(&record)];
        let output = run(&[&song[..], &rest].concat());
        assert!(output.status.success(), "{}", complaint(&output));
        let record = std::fs::read(record).expect("a record");
        let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
        (std::fs::read(wav).expect("a file"), record["speculation"].clone())
    };
    let (plain, none) = render("off", "off");
    assert!(none.is_null());
    for setting in ["auto", "depth-jacobi", "carry-over:3", "ngram,carry-over:2"] {
        let (drafted, record) = render("drafted", setting);
        assert!(drafted == plain, "{setting}");
        assert_eq!(
            record["plain_frames"].as_u64().expect("a count") + record["spec_frames"].as_u64().expect("one"),
            50
        );
        if setting == "carry-over:3" {
            assert_eq!(record["plain_frames"], 1, "the first frame is not drafted");
            let rounds = record["spec_rounds"].as_u64().expect("a count");
            let frames = record["frames_per_verify"].as_f64().expect("a number");
            assert!((frames - 49.0 / rounds as f64).abs() < 1e-9 && frames >= 1.0, "{record}");
            assert_eq!(record["spec_match_by_codebook"].as_array().map(Vec::len), Some(8));
            for name in METRICS {
                let found = name.split('.').fold(&record, |found, name| &found[name]);
                assert!(!found.is_null(), "{name} in {record:#}");
            }
            let bytes = record["bytes_read_estimate"].as_f64().expect("a count");
            let seconds = ["backbone", "depth_verify", "completion", "draft", "sample", "plain"];
            let seconds: f64 = seconds.iter().map(|part| record["time"][part].as_f64().expect("seconds")).sum();
            let rate = record["effective_gb_per_s"].as_f64().expect("a rate");
            assert!((rate * seconds * 1e9 / bytes - 1.0).abs() < 1e-6, "{record:#}");
            assert!(record["noised_gap_min"].as_f64() <= record["noised_gap_mean"].as_f64(), "{record:#}");
        }
    }
    let refused = run(&["render", "-q", "--speculate", "heads:2", "--model", text(model.path()), "--max-seconds", "1"]);
    assert_eq!(refused.status.code(), Some(2), "{}", complaint(&refused));
    assert!(complaint(&refused).contains("drafter.safetensors"), "{}", complaint(&refused));
    let wrong = run(&["render", "-q", "--speculate", "sometimes"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn drafts_are_prepared_on_a_device_that_is_there_and_others_are_refused_by_name() {
    let (model, out) = (tiny_model(), folder());
    let render = |name: &str, more: &[&str]| {
        let (wav, record) = (out.path().join(format!("{name}.wav")), out.path().join(format!("{name}.json")));
        let song = ["render", "-q", "--seed", "7", "--max-seconds", "3", "--top-k", "5", "--model", text(model.path())];
        let rest = ["--flow-steps", "2", "--speculate", "depth-decoder:2", "-o", text(&wav), "--record", text(&record)];
        (run(&[&song[..], &rest, more].concat()), wav, record)
    };
    let (done, plain, _) = render("plain", &[]);
    assert!(done.status.success(), "{}", complaint(&done));
    let (done, wav, record) = render("beside", &["--draft-device", "cpu"]);
    assert!(done.status.success(), "{}", complaint(&done));
    assert!(std::fs::read(wav).expect("a song") == std::fs::read(plain).expect("a song"));
    let record: serde_json::Value = serde_json::from_slice(&std::fs::read(record).expect("a record")).expect("JSON");
    assert_eq!(record["options"]["draft_device"], "cpu");
    assert_eq!(record["speculation"]["prefetch_chosen"], true);
    for (more, word) in [
        (&["--draft-device", "gpu"][..], "cuda:N"),
        // Without CUDA there is none, and with it none of that number.
        (&["--draft-device", "cuda:1000"], "cuda:1000"),
        // A processor may draft for a GPU, where there is one.
        (&["--draft-device", "cpu", "--lm-device", "cuda:1000"], "cuda:1000"),
    ] {
        let (refused, wav, _) = render("refused", more);
        assert_eq!(refused.status.code(), Some(2), "{}", complaint(&refused));
        assert!(complaint(&refused).contains(word), "{}", complaint(&refused));
        assert!(!wav.exists(), "nothing is left of it");
    }
}
