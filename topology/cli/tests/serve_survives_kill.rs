//! Kill: whatever the moment, nothing finished is lost, and what was interrupted goes on to what it would have been.
//! Three kills; `HEARTSTREAM_KILLS` asks for more.
#![cfg(unix)]

mod served;

use std::{collections::HashMap, path::Path, thread, time::Duration};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use served::{Program, support::Client};

/// Seeds of the songs, each of which is written once without being killed.
const SEEDS: [u64; 3] = [1, 2, 3];
const SECONDS: f64 = 12.0;

/// The program with the library `folder`, once it listens.
fn start(folder: &Path) -> (Program, Client) {
    let limits = ["--max-songs", "2", "--queue", "1000", "--songs-per-client", "1000"];
    Program::serve(folder, &[&["--model", "noise"], &limits[..]].concat())
}

fn order(client: &Client, seed: u64) -> Value {
    client.order(SECONDS, json!({ "seed": seed, "first_window": 8 }))
}

/// Songs of a state, by id, with their seeds.
fn songs(client: &Client, state: &str) -> HashMap<String, u64> {
    let found = client.get(&format!("/v1/songs?limit=200&state={state}")).json();
    let songs = found["songs"].as_array().expect("songs").iter();
    let text = |song: &Value, name: &str| song[name].as_str().expect("text").to_owned();
    songs.map(|song| (text(song, "id"), text(song, "seed").parse().expect("a seed"))).collect()
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_finished_and_the_rest_goes_on() {
    let kills: u64 = std::env::var("HEARTSTREAM_KILLS").map_or(3, |text| text.parse().expect("a count"));
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let (program, client) = start(&whole);
    let expected: HashMap<u64, Vec<u8>> = SEEDS
        .into_iter()
        .map(|seed| (seed, client.audio_when_done(order(&client, seed)["id"].as_str().unwrap())))
        .collect();
    drop(program);

    let library = folder.path().join("killed");
    let mut seen_finished: HashMap<String, u64> = HashMap::new();
    let mut asked = 0;
    for kill in 0..=kills {
        let (program, client) = start(&library);
        let finished = songs(&client, "finished");
        assert!(seen_finished.keys().all(|id| finished.contains_key(id)), "a finished song is gone after kill {kill}");
        for (id, seed) in &finished {
            assert!(client.audio(id) == expected[seed], "kill {kill}: the song {id} is another one");
        }
        let interrupted = songs(&client, "interrupted");
        for id in interrupted.keys() {
            assert_eq!(client.post(&format!("/v1/songs/{id}/resume"), &json!({})).status, 202);
        }
        if kill == kills {
            for (id, seed) in interrupted {
                assert!(client.audio_when_done(&id) == expected[&seed], "the song {id} went on to another one");
            }
            assert_eq!(songs(&client, "finished").len(), asked, "a song that was ordered is lost");
            return;
        }
        for seed in [SEEDS[kill as usize % 3], SEEDS[(kill as usize + 1) % 3]] {
            order(&client, seed);
            asked += 1;
        }
        // A moment from no time at all to that of a few songs, another one for each kill.
        thread::sleep(Duration::from_millis(kill.wrapping_mul(7919) % 1500));
        seen_finished = songs(&client, "finished");
        drop(program);
    }
}

#[test]
fn a_server_that_is_asked_to_end_or_whose_terminal_is_closed_keeps_its_songs_to_be_resumed() {
    let folder = tempfile::tempdir().unwrap();
    for (count, signal) in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().enumerate() {
        let (program, client) = start(folder.path());
        assert_eq!(songs(&client, "interrupted").len(), count, "before {signal}");
        client.order(240.0, json!({ "seed": count }));
        program.signal(signal);
        assert_eq!(program.exit_code(), Some(0), "{signal}");
    }
    let (_program, client) = start(folder.path());
    assert_eq!(songs(&client, "interrupted").len(), 3);
}
