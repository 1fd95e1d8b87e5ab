//! Promise: a song that is cancelled ends at once, and its file plays as far as it was written.

#[path = "../../../tests/support/mod.rs"]
mod support;

use heartstream::{Continuity, Outcome, Sink, SongRequest};
use support::{FRAME, HOP, assert_prefix, engine, folder, request, samples, sung, tiny_model, until, wav};

/// Two windows; what a longer song begins with is the same up to the end of the first one.
const FRAMES: u64 = 400;
const COMMON: usize = HOP * FRAME;

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_song_says_so_and_its_file_is_what_the_whole_song_begins_with() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 2).await;
    let (whole, _) = sung(&engine, request(FRAMES, 1)).await;

    let path = out.path().join("x.wav");
    let sinks = vec![Sink::Wav(wav(&path))];
    let song = engine.sing_to(request(3500, 1), sinks).await.expect("a song");
    until("something is in the file", || song.snapshot().delivered.0 > 0).await;
    song.cancel();
    let report = song.finished().await;
    assert_eq!(report.outcome, Outcome::Cancelled);
    let file = samples(&path);
    assert!(!file.is_empty());
    assert_eq!(file.len() as u64, 2 * report.audio.samples(), "the report says what is in the file");
    assert_prefix("the file", &file[..file.len().min(COMMON)], &whole);

    // Before the first sound, and twice: no matter.
    let path = out.path().join("y.wav");
    let sinks = vec![Sink::Wav(wav(&path)), Sink::Subscriber];
    let song = engine.sing_to(request(3500, 1), sinks).await.expect("a song");
    song.cancel();
    song.cancel();
    let report = song.finished().await;
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert!(samples(&path).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_grow_leave_a_prefix_too() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 2, 1).await;
    for continuity in [Continuity::Chained, Continuity::Parallel] {
        let song = SongRequest { continuity, ..request(FRAMES, 1) };
        let (whole, _) = sung(&engine, song.clone()).await;
        let path = out.path().join("x.wav");
        let song = engine.sing_to(song, Sink::Wav(wav(&path))).await.expect("a song");
        until("something is in the file", || song.snapshot().delivered.0 > 0).await;
        song.cancel();
        assert_eq!(song.finished().await.outcome, Outcome::Cancelled);
        let file = samples(&path);
        assert!(!file.is_empty() && file.len() < whole.len(), "{continuity:?}: {} samples", file.len());
        assert_prefix(&format!("{continuity:?}"), &file, &whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_nobody_reads_can_be_cancelled() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let mut song = engine.sing(request(3500, 1)).await.expect("a song");
    let first = song.next_block().await.expect("a block");
    assert_eq!(first.start.0, 0);
    until("the reader's queue is full", || song.snapshot().delivered > first.end()).await;
    song.cancel();
    assert_eq!(song.finished().await.outcome, Outcome::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_all_that_was_decoded_before_its_song_was_cancelled() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 1).await;
    let path = out.path().join("x.wav");
    let sinks = vec![Sink::Wav(wav(&path)), Sink::Subscriber];
    let mut song = engine.sing_to(request(3500, 1), sinks).await.expect("a song");
    let first = song.next_block().await.expect("a block");
    // The reader stops, and its queue fills until nothing of the song moves.
    until("the song is held back", || song.snapshot().delivered > first.end()).await;
    song.cancel();
    until("a song ends though its reader has stopped", || engine.lent_threads() == 0).await;
    let mut read = first.samples.clone();
    while let Some(block) = song.next_block().await {
        read.extend(&block.samples);
    }
    assert_eq!(song.finished().await.outcome, Outcome::Cancelled);
    let file = samples(&path);
    assert!(read == file, "the file has {} samples, and {} were read", file.len(), read.len());
    assert!(read.len() > first.samples.len());
}

/// A song to the program's file, ended by a signal while it is written.
#[cfg(unix)]
#[test]
fn the_program_ends_gracefully_when_it_is_asked_to() {
    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };
    use std::{process::Stdio, time::Instant};
    use support::{PATIENCE, program, text};

    let (model, out) = (tiny_model(), folder());
    let arguments = |path: &std::path::Path, seconds: &str| {
        let render = ["render", "--model", text(model.path()), "--seed", "7", "--top-k", "5", "--flow-steps", "2"];
        [&render[..], &["--continuity", "reference", "--max-seconds", seconds, "-o", text(path)]].concat().join("\n")
    };
    let whole = out.path().join("whole.wav");
    let done = program().args(arguments(&whole, "32").lines()).output().expect("the program runs");
    assert!(done.status.success());
    let whole = samples(&whole);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let path = out.path().join(format!("{signal}.wav"));
        let mut song = program();
        let mut song = song.args(arguments(&path, "280").lines()).stderr(Stdio::piped()).spawn().expect("it runs");
        let since = Instant::now();
        // More than a header: music is being written.
        while std::fs::metadata(&path).map_or(0, |file| file.len()) < 100_000 {
            assert!(since.elapsed() < PATIENCE, "there is no music");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        kill(Pid::from_raw(song.id() as i32), signal).expect("the program is there");
        let ended = song.wait().expect("its end");
        assert_eq!(ended.code(), Some(130), "{signal}");
        let file = samples(&path);
        assert!(!file.is_empty());
        assert_prefix(&format!("the file after {signal}"), &file[..file.len().min(COMMON)], &whole);
    }
}
