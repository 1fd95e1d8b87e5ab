//! Promise: a song that `serve` has made by another machine is the song of this one, whatever becomes of that machine.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    served::{Program, support::Client},
    support::{PATIENCE, folder, text},
    workers::{Worker, token},
};

/// The name of another machine's song in a record, and `null` for one of this machine.
type Machines = Vec<Option<String>>;

/// Options of a server, with a worker where there is one.
fn server(library: &Path, worker: Option<(&Worker, &Path)>, more: &[&str]) -> (Program, Client) {
    server_noting(library, worker, more, Stdio::null())
}

fn server_noting(library: &Path, worker: Option<(&Worker, &Path)>, more: &[&str], to: Stdio) -> (Program, Client) {
    let mut arguments = vec!["--model", "noise", "--songs-per-client", "64", "--max-seconds", "10m"];
    if let Some((worker, token_file)) = worker {
        arguments.extend(["--workers", &worker.address, "--workers-token-file", text(token_file)]);
    }
    arguments.extend(more);
    Program::serve_noting(library, &arguments, to)
}

/// A worker of the noise model that makes `songs` songs at once.
fn song_worker(token_file: &Path, songs: &str) -> Worker {
    Worker::start(token_file, "127.0.0.1:0", &["--songs", "--max-songs", songs, "--model", "noise"], None)
}

fn order(client: &Client, seed: u64, seconds: f64) -> String {
    client.order(seconds, json!({ "seed": seed }))["id"].as_str().expect("an id").to_owned()
}

/// Looks again and again until there is something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < PATIENCE, "in {PATIENCE:?} it did not come to this: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until other machines make so many songs at once.
fn until_places(client: &Client, count: usize) {
    let line = format!("heartstream_places_elsewhere {count}");
    until(&line, || client.get("/metrics").text().lines().any(|found| found == line).then_some(()));
}

/// The one of `ids` that another machine writes, once it sounds.
fn elsewhere<'a>(client: &Client, ids: &'a [String]) -> &'a String {
    let is_there = |id: &&String| {
        let song = client.song(id);
        song["machine"].is_string() && song["seconds"].as_f64() > Some(0.0)
    };
    until("a song that another machine writes", || ids.iter().find(is_there))
}

/// The machines that a finished song was made by.
fn machines(library: &Path, id: &str) -> Machines {
    let record = fs::read(library.join("songs").join(id).join("record.json")).expect("a record");
    let record: Value = serde_json::from_slice(&record).expect("JSON");
    serde_json::from_value(record["machines"].clone()).expect("machines")
}

/// Songs of these seeds, as this machine makes them alone.
fn alone(seeds: &[u64], seconds: f64) -> HashMap<u64, Vec<u8>> {
    let library = folder();
    let (_program, client) = server(library.path(), None, &[]);
    let ids: Vec<(u64, String)> = seeds.iter().map(|seed| (*seed, order(&client, *seed, seconds))).collect();
    ids.into_iter().map(|(seed, id)| (seed, client.audio_when_done(&id))).collect()
}

#[test]
fn songs_are_spread_over_this_machine_and_a_song_worker_and_are_the_same() {
    let (seeds, seconds, folder) = ([1, 2, 3, 4, 5], 12.0, folder());
    let expected = alone(&seeds, seconds);
    let token_file = token(folder.path(), 'a');
    let worker = song_worker(&token_file, "2");
    let library = folder.path().join("library");
    let (_program, client) = server(&library, Some((&worker, &token_file)), &[]);
    until_places(&client, 2);
    let ids = seeds.map(|seed| order(&client, seed, seconds));
    let mut made_by = Machines::new();
    for (seed, id) in seeds.iter().zip(&ids) {
        assert!(client.audio_when_done(id) == expected[seed], "the song {seed} is another one");
        made_by.extend(machines(&library, id));
    }
    let there = made_by.iter().flatten().filter(|name| **name == worker.address).count();
    assert_eq!(made_by.len(), seeds.len(), "each song is made by one machine: {made_by:?}");
    assert!(there >= 2, "the worker makes two at once: {made_by:?}");
}

#[test]
fn a_song_whose_machine_is_killed_goes_on_and_its_listener_has_all_of_it() {
    let (seeds, seconds, folder) = ([1, 2], 60.0, folder());
    let expected = alone(&seeds, seconds);
    let token_file = token(folder.path(), 'a');
    let mut worker = song_worker(&token_file, "1");
    let library = folder.path().join("library");
    let (_program, client) = server(&library, Some((&worker, &token_file)), &[]);
    // Killed as soon as it sounds, and once more while it is paused.
    for paused in [false, true] {
        until_places(&client, 1);
        let ids = seeds.map(|seed| order(&client, seed, seconds));
        let listeners = ids.clone().map(|id| thread::spawn(move || client.audio(&id)));
        let there = elsewhere(&client, &ids).clone();
        if paused {
            client.post(&format!("/v1/songs/{there}/pause"), &json!({}));
            client.wait_for(&there, "paused");
        }
        worker.kill();
        if paused {
            until("the song is another machine's", || client.song(&there)["machine"].is_null().then_some(()));
            client.post(&format!("/v1/songs/{there}/resume"), &json!({}));
        }
        for ((seed, id), listener) in seeds.iter().zip(&ids).zip(listeners) {
            let (heard, whole) = (listener.join().expect("a listener"), client.audio_when_done(id));
            assert!(whole == expected[seed], "the song {seed} is another one");
            // The head of a stream says no length.
            assert!(
                heard.len() == whole.len() && heard[1000..] == whole[1000..],
                "a listener has all of the song {seed}"
            );
        }
        assert_eq!(machines(&library, &there), [Some(worker.address.clone()), None], "it went on here");
        let address = worker.address.clone();
        worker = Worker::start(&token_file, &address, &["--songs", "--model", "noise"], None);
    }
}

#[test]
fn a_song_that_is_cancelled_frees_its_place_on_another_machine() {
    let folder = folder();
    let token_file = token(folder.path(), 'a');
    let worker = song_worker(&token_file, "1");
    let library = folder.path().join("library");
    let (_program, client) = server(&library, Some((&worker, &token_file)), &[]);
    until_places(&client, 1);
    let mut ids: Vec<String> = (1..=3).map(|seed| order(&client, seed, 600.0)).collect();
    for _ in 0..2 {
        let there = elsewhere(&client, &ids).clone();
        client.delete(&format!("/v1/songs/{there}"));
        client.wait_for(&there, "cancelled");
        ids.retain(|id| *id != there);
        ids.push(order(&client, 9, 600.0));
    }
    elsewhere(&client, &ids);
}

#[test]
fn a_song_worker_of_another_model_is_refused_with_a_note_and_songs_are_made_on_this_machine() {
    let (seconds, folder) = (4.0, folder());
    let expected = alone(&[1], seconds);
    let token_file = token(folder.path(), 'a');
    let mut worker = Worker::start(&token_file, "127.0.0.1:0", &["--songs", "--model", "demo"], None);
    let (library, notes) = (folder.path().join("library"), folder.path().join("notes"));
    let to = File::create(&notes).expect("a file");
    let (_program, client) = server_noting(&library, Some((&worker, &token_file)), &[], to.into());
    until("a note", || {
        let said = fs::read_to_string(&notes).expect("notes");
        (said.contains("is left out: it has the model") && said.contains("This machine has the model")).then_some(())
    });
    let id = order(&client, 1, seconds);
    assert!(client.audio_when_done(&id) == expected[&1], "it is the same song");
    assert_eq!(machines(&library, &id), [None]);
    assert!(worker.runs(), "an engine of another model does a worker no harm");
}
