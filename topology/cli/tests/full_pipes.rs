//! Promise: a pipe without a reader holds up no song that is over, and no record; and what was in a file before a song
//! stays there until the song sounds.
#![cfg(unix)]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use heartstream::{Outcome, Sink};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use support::{
    PATIENCE, complaint, copy_tree, edit_json, engine, folder, program, request, run, text, tiny_model, wav,
};

/// A song that never ends by itself while this test lasts.
const LONG: [&str; 9] = ["render", "-q", "--seed", "7", "--top-k", "5", "--flow-steps", "1", "--max-seconds=280"];

/// Waits for something that must happen.
fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "in {PATIENCE:?} it did not come to this: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn is_full(pipe: &io::PipeWriter) -> bool {
    poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO).expect("a pipe") == 0
}

#[test]
fn one_signal_ends_a_song_whose_pipe_is_full() {
    let model = tiny_model();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (reader, writer) = io::pipe().expect("a pipe");
        let ours = OwnedFd::from(writer.try_clone().expect("the same pipe"));
        let mut song = program();
        let song = song.args(LONG).args(["-o", "-", "--model", text(model.path())]);
        let mut song = song.stdout(Stdio::from(ours)).stderr(Stdio::null()).spawn().expect("it runs");
        until("the pipe is full", || is_full(&writer));
        kill(Pid::from_raw(song.id() as i32), signal).expect("the program is there");
        let mut ended = None;
        until("the program ends", || {
            ended = song.try_wait().expect("the program");
            ended.is_some()
        });
        assert_eq!(ended.and_then(|ended| ended.code()), Some(130), "{signal}");
        drop(reader);
    }
}

#[test]
fn a_reader_that_is_slow_still_gets_all_of_a_song() {
    let (model, out) = (tiny_model(), folder());
    let short = ["render", "-q", "--seed", "7", "--top-k", "5", "--flow-steps", "1", "--max-seconds", "3"];
    let file = out.path().join("x.wav");
    let done = run(&[&short[..], &["-o", text(&file), "--model", text(model.path())]].concat());
    assert!(done.status.success(), "{}", complaint(&done));
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut song = {
        // The command keeps its end of the pipe, and goes before the pipe is read to its end.
        let mut command = program();
        let ours = OwnedFd::from(writer.try_clone().expect("the same pipe"));
        command.args(short).args(["-o", "-", "--model", text(model.path())]).stdout(Stdio::from(ours));
        command.spawn().expect("it runs")
    };
    until("the pipe is full", || is_full(&writer));
    drop(writer);
    let mut heard = Vec::new();
    io::Read::read_to_end(&mut reader, &mut heard).expect("a song");
    assert!(song.wait().expect("its end").success());
    let file = fs::read(file).expect("a song");
    // Their headers differ; what follows these does not.
    let samples = 3 * 48_000 * 2 * 4;
    let [heard, file] = [&heard, &file].map(|wav| wav[wav.len().saturating_sub(samples / 2)..].to_vec());
    assert!(heard == file, "the second half of the song");
}

#[test]
fn a_record_for_a_pipe_that_nobody_reads_is_refused_when_the_song_is_there_and_one_that_is_read_gets_it() {
    let (model, out) = (tiny_model(), folder());
    let (pipe, file) = (out.path().join("record"), out.path().join("x.wav"));
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe");
    let song = ["render", "-q", "--seed", "7", "--top-k", "5", "--flow-steps", "1", "--max-seconds", "1"];
    let rest = ["-o", text(&file), "--record", text(&pipe), "--model", text(model.path())];
    let arguments = [&song[..], &rest].concat();
    let refused = run(&arguments);
    assert_eq!(refused.status.code(), Some(1), "{}", complaint(&refused));
    assert!(complaint(&refused).contains("without a reader"), "{}", complaint(&refused));
    assert!(file.is_file(), "the song is there");
    let reader = {
        let pipe = pipe.clone();
        thread::spawn(move || fs::read(pipe).expect("a record"))
    };
    // The reader may still be on its way: then the pipe has none yet.
    until("the record is written", || run(&arguments).status.success());
    let record: serde_json::Value = serde_json::from_slice(&reader.join().expect("a reader")).expect("JSON");
    assert_eq!(record["seed"], 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_is_cancelled_before_it_sounds_leaves_what_was_in_its_file() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 1).await;
    let path = out.path().join("x.wav");
    fs::write(&path, "another song").expect("a file");
    let song = engine.sing_to(request(3500, 1), Sink::Wav(wav(&path))).await.expect("a song");
    song.cancel();
    let report = song.finished().await;
    assert_eq!(report.outcome, Outcome::Cancelled);
    assert_eq!(report.audio.0, 0.0, "a window takes longer than to say so");
    assert_eq!(fs::read(&path).expect("the file"), b"another song");
}

/// A model that ends every song before its first frame.
fn silent(model: &Path, to: &Path) {
    copy_tree(model, to);
    edit_json(&to.join("gen_config.json"), |config| config["audio_eos_id"] = 1.into());
}

#[test]
fn a_song_without_a_sample_leaves_what_was_in_its_file_and_removes_what_it_made() {
    let (model, out) = (tiny_model(), folder());
    let (mute, path) = (out.path().join("mute"), out.path().join("x.wav"));
    silent(model.path(), &mute);
    let render = || {
        let song = ["render", "-q", "--seed", "7", "--max-seconds", "1", "--top-k", "1", "--temperature", "0"];
        run(&[&song[..], &["-o", text(&path), "--model", text(&mute)]].concat())
    };
    let refused = render();
    assert_eq!(refused.status.code(), Some(1), "{}", complaint(&refused));
    assert!(complaint(&refused).contains("before its first frame"), "{}", complaint(&refused));
    assert!(!path.exists(), "it made the file, and there is nothing in it");
    fs::write(&path, "another song").expect("a file");
    assert_eq!(render().status.code(), Some(1));
    assert_eq!(fs::read(&path).expect("the file"), b"another song");
}

#[test]
fn a_song_that_is_there_is_written_over_and_nothing_of_it_is_left() {
    let (model, out) = (tiny_model(), folder());
    let [path, fresh] = ["x.wav", "y.wav"].map(|name| out.path().join(name));
    File::create(&path).and_then(|file| file.set_len(10_000_000)).expect("a long file");
    for path in [&path, &fresh] {
        let song = ["render", "-q", "--seed", "7", "--top-k", "5", "--flow-steps", "1", "--max-seconds", "1"];
        let done = run(&[&song[..], &["-o", text(path), "--model", text(model.path())]].concat());
        assert!(done.status.success(), "{}", complaint(&done));
    }
    assert!(fs::read(&path).expect("a song") == fs::read(&fresh).expect("a song"));
}
