//! Promise: a song stays within the memory that it may take, says what it gave up for it, and is the same song.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::fs;

use heartstream::{
    Builder, Continuity, EngineError, Heartstream, Outcome, Placement, Sink, Sinks, SongRequest, Stage,
    codes::SavedSong,
    memory::{MemoryPlan, MemorySize, SongSize},
    plan::Plan,
};
use heartstream_models::{ModelDirectory, weights::Storage};
use support::{assert_same, complaint, folder, program, read, run, samples, sung, text};

const FRAMES: u64 = 60;

fn request(seed: u64) -> SongRequest {
    SongRequest { continuity: Continuity::Chained, ..support::request(FRAMES, seed) }
}

fn placement() -> Placement {
    Placement { flow_workers: 1, threads: Some(1), ..Placement::default() }
}

fn builder() -> Builder {
    Heartstream::builder(heartstream_tools::synth::noise()).placement(placement())
}

/// The estimate for a song like that of seed `seed` with the model of noise, its codec as it is asked
/// for with `codec`.
fn estimated(codec: Storage) -> MemoryPlan {
    let directory =
        ModelDirectory::open(heartstream_tools::synth::noise()).expect("a model").stored_as(Storage::Auto, codec);
    let prompt = directory.load_tokenizer().expect("a tokenizer").prompt(&request(1).tags, &request(1).lyrics);
    let size =
        SongSize::of(&request(1), heartstream_models::heartmula::prompt_positions(&prompt.expect("words").ids) as u64)
            .expect("a song");
    MemoryPlan::estimate(&directory, &Plan::new(&placement()).expect("a plan"), &size).expect("a forecast")
}

/// Too little for both halves at once, with either codec.
fn too_little_to_stream() -> MemorySize {
    let half = estimated(Storage::As(heartstream::plan::WeightDtype::F16));
    let limit = half.streaming() - 1;
    assert!(half.one_after_the_other() <= limit);
    MemorySize(limit)
}

async fn in_turn() -> Heartstream {
    let engine = builder().memory_limit(too_little_to_stream(), &request(1)).build().await.expect("an engine");
    assert!(
        engine.decoder().is_none() && engine.memory_adjustment().expect("a change").contains("writes the whole song")
    );
    engine
}

/// The codec of an engine that loads one half after the other, for songs to compare with.
fn same_codec(engine: &Heartstream) -> Storage {
    let half = engine.memory_adjustment().is_some_and(|sentence| sentence.contains("f16"));
    if half { Storage::As(heartstream::plan::WeightDtype::F16) } else { Storage::Auto }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_half_after_the_other_gives_the_song_of_both_at_once_bit_for_bit() {
    let engine = in_turn().await;
    let both = builder().weights(Storage::Auto, same_codec(&engine)).build().await.expect("an engine");
    for seed in [1, 7] {
        let (expected, whole) = sung(&both, request(seed)).await;
        let (song, report) = sung(&engine, request(seed)).await;
        assert_same("one half after the other", &song, &expected);
        assert_eq!((report.outcome, report.frames, report.audio), (Outcome::Finished, whole.frames, whole.audio));
        let took_part = |stage| report.stages.iter().any(|report| report.stage == stage && report.items > 0);
        assert!([Stage::LanguageModel, Stage::CodesSource, Stage::FlowWorker].into_iter().all(took_part));
        assert!(report.notes.iter().any(|note| note.contains("nothing sounds before")), "{:?}", report.notes);
    }
    assert_eq!(engine.lent_threads(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn songs_that_load_one_half_after_the_other_wait_for_each_other_and_are_the_same_songs() {
    let engine = in_turn().await;
    let songs: Vec<_> = [1, 2, 3]
        .into_iter()
        .map(|seed| {
            let engine = engine.clone();
            tokio::spawn(async move { sung(&engine, request(seed)).await.0 })
        })
        .collect();
    let both = builder().weights(Storage::Auto, same_codec(&engine)).build().await.expect("an engine");
    for (song, seed) in songs.into_iter().zip([1, 2, 3]) {
        assert_same("beside others", &song.await.expect("a song"), &sung(&both, request(seed)).await.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_songs_are_made_at_once_as_there_is_memory_for() {
    let limit = MemorySize(estimated(Storage::Auto).streaming_of(3));
    for (asked, fewer) in [(8, true), (3, false)] {
        let engine = builder().memory_limit(limit, &request(1)).max_songs(asked).build().await.expect("an engine");
        let said = engine.memory_adjustment().is_some_and(|sentence| sentence.contains("memory for 3 songs at once"));
        assert_eq!(said, fewer, "{:?}", engine.memory_adjustment());
        let songs: Vec<_> = (0..4).map(|seed| engine.queue(request(seed), Sink::Subscriber).expect("a song")).collect();
        let turns: Vec<_> = songs.iter().map(|song| song.place().turn).collect();
        assert_eq!(turns, [true, true, true, false]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_is_cancelled_in_either_half_and_gives_everything_back() {
    let engine = in_turn().await;
    let (whole, _) = sung(&engine, request(1)).await;
    // While it is written: nothing of it is heard.
    let mut song = engine.sing(request(1)).await.expect("a song");
    song.cancel();
    assert!(song.next_block().await.is_none());
    let report = song.finished().await;
    assert_eq!((report.outcome, report.audio.0), (Outcome::Cancelled, 0.0));
    // While it is heard: what was heard is the song's beginning.
    let mut song = engine.sing(request(1)).await.expect("a song");
    let block = song.next_block().await.expect("a block");
    song.cancel();
    support::assert_prefix("the first block", &block.samples, &whole);
    assert_eq!(song.finished().await.outcome, Outcome::Cancelled);
    assert_eq!(engine.lent_threads(), 0);
    // Dropped without a word: the next one has its turn all the same.
    drop(engine.sing(request(1)).await.expect("a song"));
    assert_same("after three that were ended", &sung(&engine, request(1)).await.0, &whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_kept_and_gone_on_with_as_ever() {
    let (engine, out) = (in_turn().await, folder());
    let path = out.path().join("song.codes");
    let sinks = Sinks::from(Sink::Subscriber).and_codes(&path);
    let (song, _) = read(engine.sing_to(request(4), sinks).await.expect("a song")).await;
    let mut saved = SavedSong::read(&path).expect("a saved song");
    assert_eq!(saved.codes.frames() as u64, FRAMES);
    saved.codes.codes.truncate(20 * saved.codes.codebooks);
    let again = engine.resume(saved, &path, Sink::Subscriber).await.expect("a song");
    assert_same("resumed", &read(again).await.0, &song);
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_goes_from_the_first_frame_to_the_last_sample_and_ends_once() {
    let engine = in_turn().await;
    let song = engine.sing(request(1)).await.expect("a song");
    let mut progress = song.progress();
    let watched = tokio::spawn(async move {
        let mut frames = 0;
        while progress.changed().await.is_ok() {
            let now = *progress.borrow_and_update();
            assert!(now.frames_written.0 >= frames, "{} frames after {frames}", now.frames_written.0);
            frames = now.frames_written.0;
            if now.ended {
                return (frames, now.delivered.0);
            }
        }
        (frames, 0)
    });
    let (samples, _) = read(song).await;
    assert_eq!(watched.await.expect("a watcher"), (FRAMES, samples.len() as u64 / 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_enough_memory_nothing_changes_and_nothing_is_said() {
    let limit = MemorySize(estimated(Storage::Auto).streaming());
    let engine = builder().memory_limit(limit, &request(1)).build().await.expect("an engine");
    assert_eq!((engine.memory_adjustment(), engine.decoder().is_some()), (None, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_below_every_way_is_an_error_that_names_both() {
    let limit = MemorySize(1_000_000);
    match builder().memory_limit(limit, &request(1)).build().await.err() {
        Some(EngineError::Memory { limit: found, needs, streaming, .. }) => {
            assert!(found == limit && needs > limit && streaming > needs);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_program_says_that_nothing_streams_and_writes_the_same_file() {
    let out = folder();
    let (plain, limited) = (out.path().join("plain.wav"), out.path().join("limited.wav"));
    let record = out.path().join("record.json");
    let song = [
        "render",
        "--model",
        "noise",
        "--seed",
        "1",
        "--max-seconds",
        "4",
        "--threads",
        "1",
        "--codec-weights",
        "stored",
    ];
    // Both halves take more than one; the smallest limit that works is found in what a refusal says.
    let refused = run(&[&song[..], &["--memory-limit", "1MB", "-o", text(&limited)]].concat());
    assert_eq!(refused.status.code(), Some(1), "{}", complaint(&refused));
    let said = complaint(&refused);
    for part in ["1.0 MB", "at the least", "--max-seconds", "--codec-weights f16", "--memory-limit"] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    assert!(!limited.exists(), "nothing is left of a song that was refused");
    let needs = said.split("needs ").nth(1).and_then(|rest| rest.split(" MB").next()).expect("what it needs");
    let limit = format!("{:.1}MB", needs.parse::<f64>().expect("megabytes") + 0.1);
    let run_to = |path, more: &[&str]| run(&[&song[..], &["-o", text(path)], more].concat());
    assert!(run_to(&plain, &[]).status.success());
    let output = run_to(&limited, &["--memory-limit", &limit, "--record", text(&record)]);
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(complaint(&output).contains("nothing sounds before"), "{}", complaint(&output));
    assert!(fs::read(&plain).expect("a file") == fs::read(&limited).expect("a file"), "the same file");
    assert!(!samples(&limited).is_empty());
    let record: serde_json::Value = serde_json::from_slice(&fs::read(&record).expect("a file")).expect("JSON");
    assert!(record["notes"].to_string().contains("nothing sounds before"), "{record:#}");
}

#[test]
fn a_saved_song_is_decoded_within_a_limit_or_refused_before_its_file_is_made() {
    let out = folder();
    let [song, codes, decoded] = ["song.wav", "song.codes", "decoded.wav"].map(|name| out.path().join(name));
    let render = ["render", "-q", "--seed", "1", "--max-seconds", "3", "--threads", "1", "-o", text(&song)];
    let output = run(&[&render[..], &["--save-codes", text(&codes)]].concat());
    assert!(output.status.success(), "{}", complaint(&output));
    let decode = |limit: &str| {
        run(&["decode", "-q", text(&codes), "--threads", "1", "-o", text(&decoded), "--memory-limit", limit])
    };
    let refused = decode("1MB");
    assert_eq!(refused.status.code(), Some(1), "{}", complaint(&refused));
    let said = complaint(&refused);
    assert!(said.contains("decoding needs") && said.contains("1.0 MB"), "{said}");
    assert!(!decoded.exists(), "nothing is left of what was refused");
    let needs = said.split("needs ").nth(1).and_then(|rest| rest.split(" MB").next()).expect("what it needs");
    let output = decode(&format!("{:.1}MB", needs.parse::<f64>().expect("megabytes") + 0.1));
    assert!(output.status.success(), "{}", complaint(&output));
    assert!(fs::read(&song).expect("a file") == fs::read(&decoded).expect("a file"), "the same file");
}

#[test]
fn what_is_no_size_is_wrong_usage() {
    for size in ["8", "8X", "-1GB", "0MB", "much"] {
        let output = program().args(["render", "-o", "never.wav", &format!("--memory-limit={size}")]).output();
        let output = output.expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{size}");
        assert!(complaint(&output).contains("such as 8GB"), "{}", complaint(&output));
    }
}

#[test]
fn inspect_estimates_every_term_and_the_whole_in_either_way() {
    let sum = |seconds: &str| {
        let output = run(&["inspect", "--json", "--max-seconds", seconds]);
        assert!(output.status.success(), "{}", complaint(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let memory = report["memory_bytes"].as_object().expect("terms").clone();
        let bytes = |name: &str| memory[name].as_u64().expect("bytes");
        let terms = memory.keys().filter(|name| !["together", "one_after_the_other"].contains(&name.as_str()));
        assert_eq!(terms.map(|name| bytes(name)).sum::<u64>(), bytes("together"));
        assert!(bytes("one_after_the_other") < bytes("together"));
        bytes("together")
    };
    assert!(sum("240") > sum("30"));
}
