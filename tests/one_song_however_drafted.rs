//! Promise: a song does not depend on how its frames were drafted, and its report says what drafting came to.

mod support;

use heartstream::{DrafterName, Outcome, SongRequest, Speculation, units::Frames};
use support::{assert_same, complaint, engine, folder, request, run, sung, text, tiny_model};

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
            let rounds = record["spec_rounds"].as_u64().expect("a count");
            let frames = record["frames_per_verify"].as_f64().expect("a number");
            assert!((frames - 50.0 / rounds as f64).abs() < 1e-9 && frames >= 1.0, "{record}");
            assert_eq!(record["spec_match_by_codebook"].as_array().map(Vec::len), Some(8));
        }
    }
    let refused = run(&["render", "-q", "--speculate", "heads:2", "--model", text(model.path()), "--max-seconds", "1"]);
    assert_eq!(refused.status.code(), Some(2), "{}", complaint(&refused));
    assert!(complaint(&refused).contains("drafter.safetensors"), "{}", complaint(&refused));
    let wrong = run(&["render", "-q", "--speculate", "sometimes"]);
    assert_eq!(wrong.status.code(), Some(2));
}
