//! Load: clients that listen, read slowly, leave, never end a request, or send anything. The server goes on, its memory is
//! flat, and every song is the one that `render` writes.
//!
//! Twenty clients for eight seconds; `make test-serve-load` has two hundred for five minutes.
#![cfg(target_os = "linux")]

mod clients;
#[path = "../served/mod.rs"]
mod served;

use std::{
    collections::HashMap,
    env, fs,
    io::Read,
    process::Command,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use clients::{Crowd, LYRICS, SEEDS, TAGS};
use serde_json::json;
use served::{Program, support::Client};

/// Between two looks at the server's memory.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
/// What the memory may grow by after the first quarter of the time: what 200 connections hold of requests and answers.
const ROOM: u64 = 48 << 20;

/// What a client of a kind does; the number is the client's own.
type Behaviour = fn(&Crowd, u64);

fn number(name: &str, usual: u64) -> u64 {
    env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn model() -> String {
    env::var("HEARTSTREAM_LOAD_MODEL").unwrap_or_else(|_| "noise".to_owned())
}

/// The songs of the seeds, as `render` writes them.
fn rendered(seconds: u64) -> HashMap<u64, Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let song = |seed: u64| {
        let path = folder.path().join("song.wav");
        let render = Command::new(env!("CARGO_BIN_EXE_heartstream"))
            .args(["render", "-q", "--format", "s16", "--tags", TAGS, "--lyrics", LYRICS, "--model", &model()])
            .args(["--seed", &seed.to_string(), "--max-seconds", &seconds.to_string(), "-o"])
            .arg(&path)
            .status();
        assert!(render.expect("the program").success());
        (seed, fs::read(&path).expect("a song"))
    };
    SEEDS.map(song).into()
}

#[test]
fn clients_of_every_kind_at_once_neither_end_the_server_nor_fill_its_memory_nor_change_a_song() {
    let (count, seconds) = (number("HEARTSTREAM_LOAD_CLIENTS", 20), number("HEARTSTREAM_LOAD_SECONDS", 8));
    let song_seconds = 4;
    let songs = rendered(song_seconds);
    let folder = tempfile::tempdir().unwrap();
    let limits = ["--queue", "32", "--songs-per-client", "64", "--loudness", "off", "--model"];
    let (mut program, client) = Program::serve(folder.path(), &[&limits[..], &[&model()]].concat());
    let until = Instant::now() + Duration::from_secs(seconds);
    let crowd = Arc::new(Crowd { client, songs, song_seconds, until, seen: Default::default() });
    // Of two hundred: 50 read slowly, 50 leave, 20 never end a head, 20 send anything, 60 listen.
    let part = |share: u64| (count * share).div_ceil(200);
    let mut threads = Vec::new();
    let kinds: [(u64, Behaviour); 5] = [
        (part(50), Crowd::reads_slowly),
        (part(50), Crowd::leaves),
        (part(20), Crowd::never_ends_a_head),
        (part(20), Crowd::sends_anything),
        (part(60), Crowd::listens),
    ];
    for (kind, (clients, behave)) in kinds.into_iter().enumerate() {
        for one in 0..clients {
            let crowd = Arc::clone(&crowd);
            threads.push(thread::spawn(move || behave(&crowd, 1000 * kind as u64 + one)));
        }
    }
    let mut memory = Vec::new();
    while Instant::now() < until {
        thread::sleep(BETWEEN_LOOKS);
        assert!(program.runs(), "the server has ended");
        memory.push(program.memory());
    }
    for thread in threads {
        thread.join().expect("a client that found all as it should be");
    }
    let settled = &memory[memory.len() / 4..];
    let [least, most] = [settled.iter().min(), settled.iter().max()].map(|size| *size.expect("looks"));
    let seen = &crowd.seen;
    let [finished, heard, left, odd] =
        [&seen.finished, &seen.heard, &seen.left, &seen.odd].map(|count| count.load(Relaxed));
    println!(
        "{count} clients, {seconds} s: {finished} songs finished and compared, {heard} streams compared, {left} clients \
         left, {odd} odd requests; resident memory {} to {} MB after the first quarter",
        least >> 20,
        most >> 20
    );
    assert!(most <= least + ROOM, "the memory grew from {least} to {most}");
    assert!(finished > 0 && heard > 0 && left > 0 && odd > 0, "each kind had its turn");
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn eight_listeners_of_a_song_cost_what_one_costs() {
    let folder = tempfile::tempdir().unwrap();
    let (program, client) = Program::serve(folder.path(), &["--model", &model(), "--loudness", "off"]);
    // The least of three: what else the machine does only adds.
    let cost = |listeners: usize| {
        let once = |_| cost_of(&program, &client, listeners);
        (0..3).map(once).fold(f64::INFINITY, f64::min)
    };
    cost_of(&program, &client, 1); // the first song makes its threads
    let (one, eight) = (cost(1), cost(8));
    println!("a song of 20 s costs {one:.2} s of the processor with one listener and {eight:.2} s with eight");
    assert!(eight <= 1.15 * one, "{eight} s instead of {one} s");
}

/// Seconds that the server computes while a song is written and heard.
fn cost_of(program: &Program, client: &Client, listeners: usize) -> f64 {
    let before = program.cpu_seconds();
    let song = client.order(20.0, json!({ "seed": 1, "first_window": 48 }));
    let id = song["id"].as_str().expect("an id").to_owned();
    let listen = |_| {
        let (client, id) = (*client, id.clone());
        thread::spawn(move || {
            let mut audio = Vec::new();
            client.open(&format!("/v1/songs/{id}/audio")).read_to_end(&mut audio).expect("a song");
            audio.len()
        })
    };
    let heard: Vec<_> = (0..listeners).map(listen).collect();
    let lengths: Vec<usize> = heard.into_iter().map(|thread| thread.join().expect("a listener")).collect();
    assert!(lengths.iter().all(|length| *length == lengths[0] && *length > 100_000), "{lengths:?}");
    program.cpu_seconds() - before
}
