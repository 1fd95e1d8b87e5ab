//! Songs over HTTP: heard while they are written by any number of listeners, and found again.

mod support;

use std::{io::Read, thread};

use heartstream::Checkpoint;
use heartstream_serve::SecondsPerLine;
use heartstream_tools::synth::{SynthSize, synthesise};
use serde_json::json;
use support::{Running, built, engine};

fn id(ordered: &serde_json::Value) -> String {
    ordered["id"].as_str().expect("an id").to_owned()
}

/// Behind the head of a WAV with INFO: the samples.
fn samples(wav: &[u8]) -> &[u8] {
    let place = wav.windows(4).position(|window| window == b"data").expect("a data chunk");
    &wav[place + 8..]
}

/// What the engine itself gives for the order of `Running::order`, as 16 bits with dither.
fn sung(seconds: f64) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("song.wav");
    let mut request = heartstream::SongRequest::new("calm", "[Verse]\nla la");
    request.seed = 7;
    request.max_frames = heartstream::units::Seconds(seconds).frames();
    request.first_window.most = heartstream::units::Frames(8);
    let target = heartstream::wav::WavTarget::file(&path, heartstream::wav::SampleFormat::S16).expect("a file");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let song = runtime.block_on(engine().sing_to(request, heartstream::Sink::Wav(target))).expect("a song");
    runtime.block_on(song.finished());
    samples(&std::fs::read(&path).expect("a file")).to_vec()
}

#[test]
fn early_late_and_latest_listeners_hear_the_song_that_the_engine_sings() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let id = id(&server.order(4.0, json!({})));
    let expected = sung(4.0);
    thread::scope(|scope| {
        let early: Vec<_> = (0..8).map(|_| scope.spawn(|| server.audio(&id))).collect();
        server.wait_for_sound(&id);
        let late = scope.spawn(|| server.audio(&id));
        for listener in early.into_iter().chain([late]) {
            assert!(samples(&listener.join().unwrap()) == expected, "another song");
        }
    });
    server.wait_for(&id, "done");
    let finished = server.audio(&id);
    assert!(samples(&finished) == expected, "the file is another song");
    let reader = hound::WavReader::new(&finished[..]).unwrap();
    assert_eq!(reader.duration() as usize, expected.len() / 4, "the file says how long it is");
}

#[test]
fn who_joins_from_now_on_gets_a_head_and_only_what_comes_next() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let id = id(&server.order(120.0, json!({})));
    server.wait_for_sound(&id);
    server.post(&format!("/v1/songs/{id}/pause"), &json!({}));
    server.wait_for(&id, "paused");
    let mut listener = server.open(&format!("/v1/songs/{id}/audio?from=now"));
    let mut now = vec![0; 44];
    listener.read_exact(&mut now).unwrap(); // its place in the song is chosen when the head is there
    server.post(&format!("/v1/songs/{id}/resume"), &json!({}));
    listener.read_to_end(&mut now).unwrap();
    let all = server.audio(&id);
    assert_eq!(&now[..4], b"RIFF");
    let (now, all) = (samples(&now), samples(&all));
    assert!(now.len() < all.len() && all.ends_with(now), "{} of {} bytes", now.len(), all.len());
}

#[test]
fn events_tell_a_song_from_the_queue_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let first = server.order(60.0, json!({}));
    let second = id(&server.order(1.0, json!({ "seed": 8 })));
    assert_eq!(server.song(&second)["place"], 0);
    let mut events = server.events(&second);
    assert_eq!(events.next().unwrap().0, "song");
    assert_eq!(events.next().unwrap().0, "queued");
    assert_eq!(server.delete(&format!("/v1/songs/{}", id(&first))).status, 202);
    server.wait_for(&id(&first), "cancelled");
    let names: Vec<String> = events.map(|(name, _)| name).filter(|name| name != "progress").collect();
    let tail = &names[names.len().saturating_sub(2)..];
    assert!(tail == ["first_sound", "done"] || names == ["done"], "{names:?}");
    let (song, cancelled) = (server.song(&second), server.song(&id(&first)));
    assert_eq!((&song["state"], &song["seconds"]), (&json!("finished"), &json!(0.96)));
    assert_eq!(cancelled["state"], "cancelled");
}

#[test]
fn frames_are_counted_while_a_song_is_written_and_each_once() {
    let place = tempfile::tempdir().expect("a folder");
    let server = Running::start(place.path(), |_| ());
    let counted = || -> u64 {
        let metrics = server.get("/metrics").text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("heartstream_frames_total "));
        line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count of frames: {metrics}"))
    };
    let id = id(&server.order(120.0, json!({})));
    server.wait_for_sound(&id);
    server.post(&format!("/v1/songs/{id}/pause"), &json!({}));
    server.wait_for(&id, "paused");
    assert!(counted() > 0, "frames of a song that is not over");
    server.delete(&format!("/v1/songs/{id}"));
    server.wait_for(&id, "cancelled");
    let written = server.song(&id)["frames"].as_u64().expect("a count");
    assert_eq!(counted(), written);
}

#[test]
fn a_song_that_waits_is_cancelled_at_once_and_those_behind_it_move_up() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let songs: Vec<String> = (0..3).map(|seed| id(&server.order(60.0, json!({ "seed": seed })))).collect();
    assert_eq!(server.song(&songs[2])["place"], 1);
    server.delete(&format!("/v1/songs/{}", songs[1]));
    assert_eq!(server.song(&songs[1])["state"], "cancelled");
    assert_eq!(server.song(&songs[2])["place"], 0);
    assert_eq!(server.get(&format!("/v1/songs/{}/audio", songs[1])).status, 404, "nothing of it was written");
}

#[test]
fn takes_are_songs_of_their_own_that_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.limits.songs = 3);
    let ordered = server.order(1.0, json!({ "takes": 3 }));
    let songs = ordered["songs"].as_array().unwrap();
    let seeds: Vec<&str> = songs.iter().map(|song| song["seed"].as_str().unwrap()).collect();
    assert_eq!(seeds, ["7", "8", "9"]);
    assert_eq!(
        songs.iter().map(|song| &song["take_of"]).collect::<Vec<_>>(),
        [&json!(null), &ordered["id"], &ordered["id"]]
    );
    let audio: Vec<Vec<u8>> = songs.iter().map(|song| server.audio(song["id"].as_str().unwrap())).collect();
    assert_ne!(samples(&audio[0]), samples(&audio[1]));
}

#[test]
fn finished_songs_are_found_by_their_words_and_served_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let id = id(&server.order(1.0, json!({ "lyrics": "[Verse]\nA kettle hums" })));
    server.wait_for(&id, "done");
    let found = server.get("/v1/songs?q=kettle").json();
    assert_eq!((found["count"].as_u64(), &found["songs"][0]["title"]), (Some(1), &json!("A kettle hums")));
    assert_eq!(server.get("/v1/songs?q=snow").json()["count"], 0);
    let path = format!("/v1/songs/{id}/audio");
    let whole = server.get(&path);
    let part = server.get_with(&path, "Range", "bytes=100-199");
    assert_eq!((part.status, &part.body[..]), (206, &whole.body[100..200]));
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{}", whole.body.len()));
    assert_eq!(server.get_with(&path, "Range", "bytes=99999999-").status, 416);
    let download = server.get(&format!("{path}?download=true"));
    assert_eq!(download.header("content-disposition"), "attachment; filename=\"A-kettle-hums.wav\"");
    assert_eq!(server.delete(&format!("/v1/songs/{id}")).status, 204);
    assert_eq!(server.get(&path).status, 404);
    assert!(std::fs::read_dir(folder.path().join("songs")).unwrap().next().is_none(), "its files are gone");
}

#[test]
fn who_asks_for_the_head_of_a_song_alone_ends_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let id = id(&server.order(600.0, json!({ "while_listened": true })));
    server.wait_for_sound(&id);
    let head = server.head(&format!("/v1/songs/{id}/audio"));
    assert_eq!((head.status, head.header("content-type"), head.body.len()), (200, "audio/wav", 0));
    assert_eq!(server.song(&id)["state"], "writing");
    assert_eq!(server.delete(&format!("/v1/songs/{id}")).status, 202);
}

#[test]
fn a_song_says_how_it_was_asked_for_so_that_it_can_be_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let options = json!({ "temperature": 0.8, "top_k": 20, "cfg_scale": 2.0, "flow_steps": 3, "flow_guidance": 1.5 });
    let first = server.order(1.0, options);
    let mut again = first["songs"][0]["options"].clone();
    assert_eq!((&again["top_k"], &again["cfg_scale"], &again["first_window"]), (&json!(20), &json!(2.0), &json!(8)));
    again["seed"] = json!(7);
    let second = server.order(1.0, again);
    assert_eq!(first["songs"][0]["options"], second["songs"][0]["options"]);
    let [first, second] = [first, second].map(|ordered| server.audio_when_done(ordered["id"].as_str().unwrap()));
    assert!(samples(&first) == samples(&second), "another song");
}

#[test]
fn what_an_order_leaves_out_is_the_models_own_and_what_it_says_wins() {
    let place = tempfile::tempdir().unwrap();
    // More steps than clients may ask for: what the model does by itself, they may.
    let own = json!({ "temperature": 0.7, "top_k": 20, "cfg_scale": 2.0, "flow_steps": 4, "flow_guidance": 2.5 });
    let model = |name: &str, fields: &serde_json::Value| {
        let folder = place.path().join(name);
        synthesise(SynthSize::Tiny, 5, &folder, &mut |_, _| ()).unwrap();
        let path = folder.join("gen_config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        std::fs::write(&path, config.to_string()).unwrap();
        built(Checkpoint::open(&folder).unwrap())
    };
    let start = |name: &str, fields: &serde_json::Value| {
        let library = place.path().join(format!("{name}-library"));
        Running::with(model(name, fields), &library, |options| options.limits.flow_steps = 3)
    };
    let own_server = start("own", &own);
    let ordered = own_server.order(1.0, json!({}));
    let mut options = ordered["songs"][0]["options"].clone();
    let defaults = &own_server.get("/v1/models").json()["data"][0]["defaults"];
    for (name, value) in own.as_object().unwrap() {
        assert_eq!([&options[name], &defaults[name]], [value, value], "{name}");
    }
    assert_eq!(defaults["first_window"], 48);
    assert!(own_server.post("/v1/songs", &json!({ "lyrics": "la", "flow_steps": 5 })).status == 422);
    options["seed"] = json!(7);
    let again = own_server.order(1.0, options);
    let [first, again] = [&ordered, &again].map(|ordered| own_server.audio_when_done(ordered["id"].as_str().unwrap()));
    assert!(samples(&first) == samples(&again), "ordered again with all that it says");
    let wins = json!({ "temperature": 1.0, "top_k": 10, "cfg_scale": 1.5, "flow_steps": 2, "flow_guidance": 1.25 });
    let plain_server = start("plain", &json!({}));
    let [other, plain] = [&own_server, &plain_server].map(|server| {
        let ordered = server.order(1.0, wins.clone());
        server.audio_when_done(ordered["id"].as_str().unwrap())
    });
    assert!(samples(&other) == samples(&plain) && samples(&other) != samples(&first), "what an order says wins");
}

#[test]
fn who_leaves_ends_a_song_that_wants_to_be_listened_to_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.limits.songs = 2);
    let kept = id(&server.order(600.0, json!({})));
    let left = id(&server.order(600.0, json!({ "seed": 8, "while_listened": true })));
    for song in [&kept, &left] {
        let request = format!("GET /v1/songs/{song}/audio HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut listener = server.raw(&request);
        listener.read_exact(&mut [0; 2000]).unwrap();
    }
    server.wait_for(&left, "cancelled");
    assert_eq!(server.song(&kept)["state"], "writing");
}

#[test]
fn an_openai_client_gets_a_song_for_speech() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |_| ());
    let speech = json!({
        "model": "heartstream", "voice": "alloy", "input": "[Verse]\nla la", "instructions": "calm",
        "response_format": "flac", "stream_format": "audio", "seconds": 1.0,
    });
    let answer = server.post("/v1/audio/speech", &speech);
    assert_eq!((answer.status, answer.header("content-type")), (200, "audio/flac"));
    assert_eq!(&answer.body[..4], b"fLaC");
    let refused = server.post("/v1/audio/speech", &json!({ "input": "la", "response_format": "aac" }));
    assert_eq!(refused.status, 422);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("flac"));
}

#[test]
fn a_check_forecasts_the_length_by_the_models_card_and_then_by_the_songs_there_were() {
    let folder = tempfile::tempdir().unwrap();
    let checked = |server: &Running, lyrics: &str| {
        let answer = server.post("/v1/check", &json!({ "lyrics": lyrics, "seconds": 20.0 }));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["length"].clone()
    };
    let server = Running::start(folder.path(), |_| ());
    assert_eq!(checked(&server, "[Verse]\nla la"), json!(null), "nothing is known of such a model");
    server.stop();

    let card = SecondsPerLine::new(2.0, 3.0, 15.0);
    let server = Running::start(folder.path(), |options| options.seconds_per_line = Some(card));
    assert_eq!(checked(&server, "[Verse]\nla la\nla"), json!({ "low": 4.0, "likely": 6.0, "high": 20.0 }));
    assert_eq!(checked(&server, "[Intro]"), json!(null), "no line is sung");
}

#[test]
fn one_stream_has_the_events_of_all_songs_also_of_those_that_are_ordered_later() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(folder.path(), |options| options.limits.songs = 2);
    let first = id(&server.order(600.0, json!({})));
    let mut events = server.all_events().map(|(name, data)| (name, data["id"].as_str().unwrap().to_owned()));
    assert_eq!(events.next().unwrap(), ("song".to_owned(), first.clone()));
    let second = id(&server.order(1.0, json!({ "seed": 8 })));
    let of_second: Vec<String> = events
        .by_ref()
        .filter(|(_, id)| *id == second)
        .map(|(name, _)| name)
        .take_while(|name| name != "done")
        .collect();
    assert_eq!(of_second[0], "song");
    server.delete(&format!("/v1/songs/{first}"));
    assert!(events.any(|event| event == ("cancelled".to_owned(), first.clone())));
}
