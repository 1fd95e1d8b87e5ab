//! Promise: a model that ends a song before its first frame is asked again, by a rule that is part of the seed; only a
//! model that does so every time fails, and says what to do.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::path::Path;

use heartstream::{
    Continuity, Heartstream, Outcome, SongReport, SongRequest, Speculation, codes::SavedSong, units::Frames,
};
use support::{assert_same, complaint, edit_json, engine, folder, preparing, request, run, sung, text, tiny_model};
use tempfile::TempDir;

/// A model in which a code of `end` or more ends the song.
fn ending_at(end: u32) -> TempDir {
    let model = tiny_model();
    edit_json(&model.path().join("gen_config.json"), |config| config["audio_eos_id"] = end.into());
    model
}

/// Some of all first frames end the song of such a model.
const OFTEN: u32 = 31;

/// A song of one short window.
fn song(seed: u64) -> SongRequest {
    let mut song = SongRequest { continuity: Continuity::Chained, ..request(12, seed) };
    song.sampling.top_k = 100;
    song
}

/// Seeds whose songs are drawn again.
async fn redrawn_seeds(engine: &Heartstream, count: usize) -> Vec<u64> {
    let mut seeds = Vec::new();
    for seed in 0..200 {
        let mut first = SongRequest { max_frames: Frames(1), ..song(seed) };
        first.first_window.most = Frames(1);
        if redrawn(&sung(engine, first).await.1) {
            seeds.push(seed);
        }
        if seeds.len() == count {
            return seeds;
        }
    }
    panic!("{} of 200 songs were drawn again", seeds.len())
}

fn redrawn(report: &SongReport) -> bool {
    assert_eq!(report.outcome, Outcome::Finished);
    assert!(report.frames.0 > 0 && report.audio.0 > 0.0);
    let said = report.notes.iter().any(|note| note.contains("before its first frame"));
    assert_eq!(said, report.redraws > 0, "{:?}", report.notes);
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_would_be_empty_is_drawn_again_and_is_one_song_however_it_is_drafted() {
    let model = ending_at(OFTEN);
    let engine = engine(&model, 1, 1).await;
    let plain = engine.with_speculation(Speculation::Off).expect("nothing is drafted");
    let preparing = preparing(&model).await;
    for seed in redrawn_seeds(&plain, 3).await {
        let (expected, report) = sung(&plain, song(seed)).await;
        assert!(redrawn(&report), "seed {seed}");
        for setting in ["depth-jacobi", "carry-over:4", "ngram,depth-decoder:3", "auto"] {
            for engine in [&engine, &preparing] {
                let setting = setting.parse().expect("a setting");
                let engine = engine.with_speculation(setting).expect("drafters that need no training");
                let (drafted, drafted_report) = sung(&engine, song(seed)).await;
                assert_eq!(drafted_report.redraws, report.redraws, "seed {seed}");
                assert_same(&format!("seed {seed}"), &drafted, &expected);
            }
        }
    }
}

/// A seed whose song is drawn again and has more than three frames.
async fn seed_of_a_redrawn_song(engine: &Heartstream) -> u64 {
    for seed in redrawn_seeds(engine, 12).await {
        if sung(engine, song(seed)).await.1.frames.0 > 3 {
            return seed;
        }
    }
    panic!("no such song among twelve")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_of_such_a_song_is_gone_on_with_and_decoded_as_if_nothing_had_happened() {
    let (model, out) = (ending_at(OFTEN), folder());
    let engine = engine(&model, 1, 1).await;
    let seed = seed_of_a_redrawn_song(&engine).await;
    let [whole, again, codes] = ["whole.wav", "again.wav", "song.codes"].map(|name| out.path().join(name));
    let common = ["-q", "--model", text(model.path())];
    let seed = seed.to_string();
    let new = ["--seed", &seed, "--max-seconds", "0.96", "--top-k", "100", "--flow-steps", "2", "--tags", "piano,calm"];
    let words = ["--lyrics", "[Verse]\nThe sun creeps in across the floor"];
    let write = |arguments: &[&[&str]]| {
        let done = run(&arguments.concat());
        assert!(done.status.success(), "{}", complaint(&done));
    };
    write(&[&["render"], &common, &new, &words, &["-o", text(&whole), "--save-codes", text(&codes)]]);
    let expected = std::fs::read(&whole).expect("a song");
    cut(&codes, 2);
    write(&[&["render"], &common, &["--resume", text(&codes), "-o", text(&again), "--save-codes", text(&codes)]]);
    assert!(std::fs::read(&again).expect("a song") == expected, "resumed");
    write(&[&["decode", text(&codes)], &common, &["-o", text(&again)], &["--flow-steps", "2"]]);
    assert!(std::fs::read(&again).expect("a song") == expected, "decoded");
}

/// Leaves the first frames of a saved song.
fn cut(codes: &Path, frames: usize) {
    let mut kept = SavedSong::read(codes).expect("a song that was kept").codes;
    assert!(kept.frames() > frames);
    kept.codes.truncate(frames * kept.codebooks);
    // What is taken out of the notes when a file is read is put into them when it is written.
    kept.write(codes).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_ends_every_song_before_its_first_frame_fails_with_what_to_do() {
    let model = ending_at(1);
    let engine = engine(&model, 1, 1).await;
    let song = engine.sing(song(3)).await.expect("a song");
    match song.finished().await.outcome {
        Outcome::Failed(error) => {
            assert!(error.message.contains("in 9 of 9 draws") && error.message.contains("another seed"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_program_says_that_a_song_was_drawn_again_and_writes_it_down() {
    let (model, out) = (ending_at(OFTEN), folder());
    let [wav, record] = ["x.wav", "x.json"].map(|name| out.path().join(name));
    for seed in 0..64 {
        let seed = seed.to_string();
        let song = ["render", "--model", text(model.path()), "--seed", &seed, "--max-seconds", "1", "--top-k", "100"];
        let rest = ["--flow-steps", "1", "-o", text(&wav), "--record", text(&record)];
        let done = run(&[&song[..], &rest].concat());
        assert!(done.status.success(), "{}", complaint(&done));
        let json = std::fs::read(&record).expect("a record");
        let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let redraws = json["redraws"].as_u64().expect("a count");
        assert_eq!(complaint(&done).contains("note: the model ended the song before its first frame"), redraws > 0);
        if redraws > 0 {
            assert!(complaint(&done).contains(&format!("draw {} of at most 9", redraws + 1)), "{}", complaint(&done));
            return;
        }
    }
    panic!("no such song among 64");
}
