//! The library: what was finished is there after a restart, and what was not can be resumed.

mod support;

use serde_json::json;
use support::Running;

#[test]
fn a_song_that_the_end_of_the_server_interrupts_goes_on_to_what_it_would_have_been() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let finished = server.order(1.0, json!({}));
    let finished = finished["id"].as_str().unwrap();
    server.wait_for(finished, "done");
    let whole = server.order(20.0, json!({ "seed": 3 }));
    let whole = server.audio_when_done(whole["id"].as_str().unwrap());
    let cut = server.order(20.0, json!({ "seed": 3 }));
    let cut = cut["id"].as_str().unwrap().to_owned();
    let waiting = server.order(20.0, json!({ "seed": 3 }));
    let waiting = waiting["id"].as_str().unwrap().to_owned();
    server.wait_for_sound(&cut);
    let before = server.audio(finished);
    server.stop();

    let server = Running::start(folder.path(), |_| ());
    assert_eq!(server.audio(finished), before, "what was finished is what it was");
    for song in [&cut, &waiting] {
        assert_eq!(server.song(song)["state"], "interrupted");
        assert_eq!(server.post(&format!("/v1/songs/{song}/resume"), &json!({})).status, 202);
        assert!(server.audio_when_done(song) == whole, "another song");
        assert_eq!(server.post(&format!("/v1/songs/{song}/resume"), &json!({})).status, 409);
    }
}

#[test]
fn every_song_has_its_record_its_codes_and_its_level() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.gain = Some(-6.0));
    let ordered = server.order(4.0, json!({ "format": "flac" }));
    let id = ordered["id"].as_str().unwrap();
    server.wait_for(id, "done");
    let song = server.song(id);
    assert!(song["loudness"].as_f64().is_some_and(|lufs| (-70.0..0.0).contains(&lufs)), "{song}");
    assert!(song["true_peak"].as_f64().is_some_and(|peak| peak < 0.0), "{song}");
    let files = folder.path().join("songs").join(id);
    let record = std::fs::read_to_string(files.join("record.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["state"], &record["request"]["seed"]), (&json!("finished"), &json!(7)));
    assert!(heartstream::codes::SavedSong::read(&files.join("codes.safetensors")).is_ok());
    assert_eq!(std::fs::metadata(files.join("audio.flac")).unwrap().len(), song["bytes"].as_u64().unwrap());
}
