//! Promise: nothing is lost. A song's codes can be saved, decoded again, and resumed, and it is the same song.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path};

use heartstream::{
    Continuity, FirstWindow, Outcome, Sink, Sinks, SongRequest, Stage,
    codes::{SavedSong, SongCodes},
    units::Frames,
};
use support::{assert_same, complaint, engine, folder, program, read, run, samples, sung, text, tiny_model};

const FRAMES: u64 = 120;

fn request(frames: u64, seed: u64) -> SongRequest {
    SongRequest { continuity: Continuity::Chained, ..support::request(frames, seed) }
}

/// A song of which the codes are saved in `path`, and its samples.
async fn saved(engine: &heartstream::Heartstream, request: SongRequest, path: &Path) -> Vec<f32> {
    let sinks = Sinks::from(Sink::Subscriber).and_codes(path);
    let (song, report) = read(engine.sing_to(request, sinks).await.expect("a song")).await;
    assert_eq!(report.outcome, Outcome::Finished);
    assert!(report.stages.iter().any(|stage| stage.stage == Stage::CodesSink && stage.items == report.frames.0));
    song
}

/// The samples of a saved song, decoded again.
async fn decoded(engine: &heartstream::Heartstream, file: SavedSong) -> Vec<f32> {
    let decoder = engine.decoder().expect("the whole model");
    let song = decoder.decode(file.codes, &file.request, Sink::Subscriber).await.expect("a decoding");
    read(song).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn keeping_codes_changes_nothing_and_they_decode_to_the_same_sound() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 1).await;
    let (expected, _) = sung(&engine, request(FRAMES, 3)).await;
    let path = out.path().join("song.codes");
    assert_same("with its codes saved", &saved(&engine, request(FRAMES, 3), &path).await, &expected);
    let file = SavedSong::read(&path).expect("a saved song");
    assert_eq!(file.codes.frames() as u64, FRAMES);
    assert_eq!((file.request.seed, file.request.lyrics.clone()), (3, request(FRAMES, 3).lyrics));
    let decoded = decoded(&engine, file).await;
    assert_same("decoded again", &decoded, &expected);
    assert_eq!(fs::read_dir(out.path()).expect("a folder").count(), 1, "nothing is left beside the file");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_is_gone_on_with_is_the_song_that_never_stopped() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 1).await;
    let path = out.path().join("song.codes");
    let expected = saved(&engine, request(FRAMES, 4), &path).await;
    let whole = SavedSong::read(&path).expect("a saved song");
    let width = whole.codes.codebooks;
    for frames in [1, 47, 48, 49, 96, FRAMES as usize - 1, FRAMES as usize] {
        let codes = SongCodes { codes: whole.codes.codes[..frames * width].to_vec(), ..whole.codes.clone() };
        let part = SavedSong { codes, ..whole.clone() };
        let again = out.path().join("again.codes");
        let sinks = Sinks::from(Sink::Subscriber).and_codes(&again);
        let (song, report) = read(engine.resume(part, &path, sinks).await.expect("a song")).await;
        assert_same(&format!("resumed after {frames} frames"), &song, &expected);
        assert_eq!(report.frames, Frames(FRAMES));
        assert_eq!(SavedSong::read(&again).expect("a saved song").codes.codes, whole.codes.codes);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_another_model_are_not_gone_on_with() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 1).await;
    let path = out.path().join("song.codes");
    saved(&engine, request(20, 4), &path).await;
    let file = SavedSong::read(&path).expect("a saved song");
    let other = SavedSong { checkpoint: "0123456789abcdef".to_owned(), ..file.clone() };
    let error = engine.resume(other, &path, Sink::Subscriber).await.err().expect("another checkpoint").to_string();
    assert!(error.contains("0123456789abcdef") && error.contains(engine.fingerprint()), "{error}");
    let mut strange = file;
    strange.codes.codes[13] = 999;
    let error = engine.resume(strange, &path, Sink::Subscriber).await.err().expect("a strange code").to_string();
    assert!(error.contains("code 5 of frame 1 is 999"), "{error}");
}

#[test]
fn a_killed_run_is_gone_on_with_by_the_program() {
    let (model, out) = (tiny_model(), folder());
    let file = |name: &str| out.path().join(name);
    let asked =
        ["--seed", "5", "--max-seconds", "12", "--top-k", "5", "--model", text(model.path())].map(str::to_owned);
    let render = |more: &[&str]| {
        let mut command = program();
        command.arg("render").arg("--quiet").args(&asked).args(more);
        command
    };
    let (whole, codes) = (file("whole.wav"), file("song.codes"));
    let output = render(&["-o", text(&whole), "--save-codes", text(&codes)]).output().expect("it runs");
    assert!(output.status.success(), "{}", complaint(&output));

    // As a kill leaves it: the file as it was written some time before the end.
    let saved = SongCodes::read(&codes).expect("saved codes");
    SongCodes { codes: saved.codes[..60 * saved.codebooks].to_vec(), ..saved }.write(&codes).expect("written");
    let resumed = file("resumed.wav");
    let common = ["--quiet", "--model", text(model.path())];
    let output = program()
        .args(["render", "--resume", text(&codes), "-o", text(&resumed), "--save-codes", text(&codes)])
        .args(common)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(fs::read(&resumed).expect("a song") == fs::read(&whole).expect("a song"), "the songs differ");

    let decoded = file("decoded.wav");
    let output = program().args(["decode", text(&codes), "-o", text(&decoded)]).args(common).output().expect("it runs");
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(fs::read(&decoded).expect("a song") == fs::read(&whole).expect("a song"), "the songs differ");
    let output =
        program().args(["decode", text(&codes), "-o", text(&decoded), "--flow-steps", "1"]).args(common).output();
    assert!(output.expect("it runs").status.success());
    assert_ne!(samples(&decoded), samples(&whole), "another count of steps is another sound");
}

/// A song of the program's whose codes are kept in `codes`: so many seconds, into `song`.
fn render_kept(model: &Path, seconds: &str, song: &Path, codes: &Path) {
    let output = program()
        .args(["render", "--quiet", "--model", text(model), "--seed", "5", "--top-k", "5", "--max-seconds", seconds])
        .args(["-o", text(song), "--save-codes", text(codes)])
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", complaint(&output));
}

#[test]
fn a_song_that_ran_into_its_limit_goes_on_with_more_seconds_to_what_it_would_have_been() {
    let (model, out) = (tiny_model(), folder());
    let file = |name: &str| out.path().join(name);
    let (codes, short, whole) = (file("song.codes"), file("short.wav"), file("whole.wav"));
    render_kept(model.path(), "12", &whole, &codes);
    render_kept(model.path(), "6", &short, &codes);
    assert!(samples(&short).len() < samples(&whole).len());
    let resumed = |seconds: &str| {
        let resume =
            ["--resume", text(&codes), "--max-seconds", seconds, "-o", text(&short), "--save-codes", text(&codes)];
        program().args(["render", "--quiet", "--model", text(model.path())]).args(resume).output().expect("it runs")
    };
    let output = resumed("12");
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(fs::read(&short).expect("a song") == fs::read(&whole).expect("a song"), "the songs differ");
    // What is written is not taken back.
    let output = resumed("6");
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("max-seconds must be at least the 12.00 s that are written"), "{said}");
}

#[test]
fn a_kept_song_of_more_frames_than_the_model_has_room_for_is_refused() {
    let (model, out) = (tiny_model(), folder());
    let (song, codes) = (out.path().join("song.wav"), out.path().join("song.codes"));
    render_kept(model.path(), "1", &song, &codes);
    let good = SongCodes::read(&codes).expect("kept codes");
    for frames in [1_u64 << 32, u64::MAX] {
        let mut request: serde_json::Value = serde_json::from_str(&good.notes["request"]).expect("a request");
        request["max_frames"] = frames.into();
        let mut kept = good.clone();
        kept.notes.insert("request".to_owned(), request.to_string());
        kept.write(&codes).expect("written");
        let output = run(&["render", "--model", text(model.path()), "--resume", text(&codes), "-o", text(&song)]);
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in [text(&codes), &format!("{frames} frames"), "room for"] {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_that_cannot_be_written_cost_the_copy_and_not_the_song() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 1).await;
    let (expected, _) = sung(&engine, request(FRAMES, 3)).await;
    let nowhere = out.path().join("no such folder").join("song.codes");
    let sinks = Sinks::from(Sink::Subscriber).and_codes(&nowhere);
    let (song, report) = read(engine.sing_to(request(FRAMES, 3), sinks).await.expect("a song")).await;
    assert_eq!(report.outcome, Outcome::Finished);
    assert_same("without its copy", &song, &expected);
    let said = report.notes.iter().find(|note| note.contains("goes on without its codes being kept"));
    assert!(said.is_some_and(|note| note.contains(text(&nowhere))), "{:?}", report.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_cuts_a_song_again_as_it_was_cut() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 1).await;
    // As the segmenter may choose it under a deadline.
    let first_window = FirstWindow { most: Frames(11), deadline: None };
    let (expected, report) = sung(&engine, SongRequest { first_window, ..request(FRAMES, 6) }).await;
    assert_eq!(report.first_window, Some(Frames(11)));
    let path = out.path().join("song.codes");
    saved(&engine, SongRequest { first_window, ..request(FRAMES, 6) }, &path).await;
    let file = SavedSong::read(&path).expect("a saved song");
    assert_eq!(file.request.first_window, first_window);
    let decoded = decoded(&engine, file).await;
    assert_same("cut as before", &decoded, &expected);
}

#[test]
fn the_program_plays_the_plan_of_a_record_again_and_refuses_that_of_another_model() {
    let out = folder();
    let file = |name: &str| out.path().join(name);
    let (song, again, record) = (file("song.wav"), file("again.wav"), file("record.json"));
    let common = ["--quiet", "--seed", "2", "--max-seconds", "4"];
    let render = |more: &[&str]| run(&[&["render"], &common[..], more].concat());
    let output = render(&["-o", text(&song), "--record", text(&record), "--first-audio", "350ms"]);
    assert!(output.status.success(), "{}", complaint(&output));
    let output = render(&["-o", text(&again), "--plan", text(&record)]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(fs::read(&again).expect("a song") == fs::read(&song).expect("a song"), "the songs differ");

    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
    for (field, value, word) in [
        ("checkpoint", serde_json::json!("0123456789abcdef"), "0123456789abcdef"),
        ("continuity", serde_json::json!("sideways"), "continuity"),
        ("first_window", serde_json::json!(0), "first_window"),
        ("look_ahead", serde_json::json!(-1), "look_ahead"),
        ("look_ahead", serde_json::json!(53), "look-ahead must be from 0 to 52"),
    ] {
        let before = std::mem::replace(&mut json["plan"][field], value);
        fs::write(&record, json.to_string()).expect("written");
        let output = render(&["-o", text(&again), "--plan", text(&record)]);
        assert_eq!(output.status.code(), Some(2), "{field}: {}", complaint(&output));
        assert!(complaint(&output).contains(word), "{field}: {}", complaint(&output));
        json["plan"][field] = before;
    }
    // A plan of before windows had a look-ahead is not played as something that it was not.
    json["plan"].as_object_mut().expect("an object").remove("look_ahead");
    fs::write(&record, json.to_string()).expect("written");
    let output = render(&["-o", text(&again), "--plan", text(&record)]);
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    assert!(complaint(&output).contains("no song is cut so any more"), "{}", complaint(&output));
}
