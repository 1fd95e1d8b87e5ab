//! Promise: what is played is the song. A machine without a sound card plays on a null sink, and its monitor is
//! compared with the rendered file, sample by sample.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    f64::consts::TAU,
    io::{BufRead, BufReader},
    path::Path,
    process::{Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc::channel},
    thread,
    time::Duration,
};

use support::{complaint, folder, null_sink::NullSink, program, run, samples, text};

const SONG: [&str; 4] = ["--seed", "7", "--max-seconds", "8"];
/// Longest wait for something to be said.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a song is played again because the machine was too busy to play it.
const TRIES: usize = 5;

/// One song at a time: each takes the whole machine, and is heard in real time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The song that is played: interleaved at 48 kHz.
fn rendered(folder: &Path) -> Vec<f32> {
    let path = folder.join("song.wav");
    let output = run(&[&["render", "-o", text(&path)], &SONG[..]].concat());
    assert!(output.status.success(), "{}", complaint(&output));
    samples(&path)
}

/// Plays the song and records it, without any gap that the program reports. A machine that is busy with something else
/// may let the audio callback run late; the program says when that was so, and the song is played again.
fn played(sink: &NullSink, rate: u32, options: &[&str]) -> Vec<f32> {
    let mut last = String::new();
    for _ in 0..TRIES {
        let recording = sink.record("recording");
        let mut play = program();
        sink.environment(&mut play);
        let output: Output = play.args(["play", "-v"]).args(SONG).args(options).output().expect("the program runs");
        let recording = recording.stop(rate);
        assert!(output.status.success(), "{}", complaint(&output));
        last = complaint(&output);
        if !["silence for want of music", "ran dry", "was lost"].iter().any(|gap| last.contains(gap)) {
            return recording;
        }
    }
    panic!("8 s were not played without a gap in {TRIES} tries; of the last: {last}");
}

/// The place in `recording` of the tenth of a second of `song` that begins at `from`.
fn place_of(song: &[f32], from: usize, recording: &[f32]) -> usize {
    let length = 2 * 4_800;
    let part = &song[2 * from..2 * from + length];
    assert!(part.iter().any(|sample| sample.abs() > 0.01), "there is sound");
    let fits = |place: &usize| {
        recording[2 * place..2 * place + length].iter().zip(part).all(|(heard, sample)| (heard - sample).abs() < 1e-4)
    };
    (0..recording.len().saturating_sub(length) / 2).find(fits).expect("the song is heard")
}

#[test]
fn what_a_null_sink_records_is_the_rendered_song_sample_by_sample() {
    let _turn = turn();
    let folder = folder();
    let song = rendered(folder.path());
    let sink = NullSink::start(48_000);
    let recording = played(&sink, 48_000, &[]);
    let place = place_of(&song, 24_000, &recording).checked_sub(24_000).expect("from its beginning");
    let heard = &recording[2 * place..];
    assert!(heard.len() >= song.len(), "{} of {} samples were heard", heard.len() / 2, song.len() / 2);
    let furthest = heard.iter().zip(&song).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(furthest < 1e-4, "the furthest sample is {furthest} off");
    let others = recording[..2 * place].iter().chain(&heard[song.len()..]);
    assert!(others.into_iter().all(|sample| *sample == 0.0), "nothing else is heard");
}

/// The left channel's spectrum at `frequency`, times a second.
fn spectrum(song: &[f32], rate: f64, frequency: f64) -> (f64, f64) {
    song.iter().step_by(2).enumerate().fold((0.0, 0.0), |(re, im), (n, sample)| {
        let (sin, cos) = (TAU * frequency * n as f64 / rate).sin_cos();
        (re + f64::from(*sample) * cos / rate, im - f64::from(*sample) * sin / rate)
    })
}

#[test]
fn a_sink_at_44_1_khz_hears_the_song_at_its_length_and_with_its_spectrum() {
    let _turn = turn();
    let folder = folder();
    let song = rendered(folder.path());
    let sink = NullSink::start(44_100);
    let recording = played(&sink, 44_100, &["--device-rate", "44100"]);
    let is_sound = |sample: &f32| *sample != 0.0;
    let first = recording.iter().position(is_sound).expect("something is heard") / 2;
    let last = recording.iter().rposition(is_sound).expect("something is heard") / 2;
    let (samples, expected) = (last + 1 - first, song.len() / 2 * 441 / 480);
    assert!(samples.abs_diff(expected) < 10, "{samples} samples for {expected}");
    let heard = &recording[2 * first..2 * (last + 1)];
    let distance = |(a, b): (f64, f64), (c, d): (f64, f64)| (a - c).hypot(b - d);
    let frequencies = (1..60).map(|step| 313.0 * f64::from(step));
    let (mut error, mut power) = (0.0, 0.0);
    for frequency in frequencies {
        let (x, y) = (spectrum(&song, 48_000.0, frequency), spectrum(heard, 44_100.0, frequency));
        error += distance(x, y).powi(2);
        power += distance(x, (0.0, 0.0)).powi(2);
    }
    // Phases too: a song that begins a sample late would be a third of a turn off at the highest of them.
    assert!(error < 1e-4 * power, "the spectrum is {:.1} dB off", 10.0 * (error / power).log10());
}

/// Plays the song on a server that is killed when playing has started, and records what its successor plays. `None`
/// when the machine was too busy to play it.
fn played_again(sink: &mut NullSink) -> Option<Vec<f32>> {
    let mut play = program();
    sink.environment(&mut play);
    play.arg("play").args(SONG).stderr(Stdio::piped()).stdin(Stdio::null());
    let mut play = play.spawn().expect("the program runs");
    let (say, said) = channel();
    let stderr = play.stderr.take().expect("a pipe");
    thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
    let until = |part: &str| loop {
        let line = said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing about \"{part}\""));
        if line.contains(part) {
            return line;
        }
    };
    until("playing starts now");
    sink.kill();
    until("the audio device was lost");
    sink.restart();
    let recording = sink.record("rest");
    until("the audio device is back");
    let end = until("8.00 s played in");
    assert!(play.wait().expect("it ends").success());
    let recording = recording.stop(48_000);
    (!end.contains("ran dry") && !end.contains("silence for want")).then_some(recording)
}

#[test]
fn a_sound_server_that_dies_and_comes_back_hears_the_rest_of_the_song() {
    let _turn = turn();
    let folder = folder();
    let song = rendered(folder.path());
    let mut sink = NullSink::start(48_000);
    let recording = (0..TRIES).find_map(|_| played_again(&mut sink)).expect("a machine with time to play");
    let end = song.len() / 2;
    let place = place_of(&song, end - 48_000, &recording) + 48_000;
    // From the first sample that is heard to the end, it is the song.
    let first = recording.iter().position(|sample| *sample != 0.0).expect("something is heard") / 2;
    let rest = &song[2 * (end - (place - first))..];
    assert!(rest.len() > 48_000);
    let furthest = recording[2 * first..].iter().zip(rest).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    assert!(furthest < 1e-4, "the furthest sample is {furthest} off");
}

#[test]
fn devices_lists_the_sink_and_names_that_are_none_are_refused_with_those_that_are() {
    let _turn = turn();
    let sink = NullSink::start(48_000);
    let mut list = program();
    sink.environment(&mut list);
    let output = list.args(["devices", "--json"]).output().expect("the program runs");
    let devices: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let default = devices.as_array().and_then(|all| all.iter().find(|device| device["default"] == true));
    let default = default.unwrap_or_else(|| panic!("a default device: {devices}"));
    assert!(default["formats"].as_array().is_some_and(|formats| formats.contains(&"f32".into())), "{default}");
    assert!(default["channels"].as_array().is_some_and(|channels| channels.contains(&2.into())), "{default}");
    let id = default["id"].as_str().expect("a name");
    let mut play = program();
    sink.environment(&mut play);
    let output = play.args(["play", "--speaker", "a toaster"]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    assert!(complaint(&output).contains("a toaster") && complaint(&output).contains(id), "{}", complaint(&output));
    let mut play = program();
    sink.environment(&mut play);
    let output = play.args(["play", "--speaker", id, "--seed", "1", "--max-seconds", "0.08"]).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", complaint(&output));
}
