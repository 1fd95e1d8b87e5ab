//! Promise: `pull` fills a directory that the engine loads, never takes a wrong file for a right one, and never fetches
//! twice what it has.

#[path = "../../../tests/support/hub.rs"]
mod hub;
#[path = "../../../tests/support/scene.rs"]
mod scene;
#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use hub::{Fault, sha256};
use scene::{CODEC, INDEX, LM, RL, SHARDS, Scene, files, published};
use support::{complaint, run, text};

#[test]
fn a_dropped_connection_is_resumed_and_the_directory_loads() {
    let scene = Scene::new();
    scene.hub.fail("GET", SHARDS[1], 2, Fault::DropAfter(1000));
    scene.hub.fail("GET", "tokenizer.json", 1, Fault::DropAfter(10));
    scene.hub.fail("HEAD", "gen_config.json", 1, Fault::Status(503, "Retry-After: 0"));
    let said = scene.done();
    let ranges = scene.ranges(SHARDS[1]);
    assert_eq!(ranges, [None, Some("bytes=1000-".to_owned()), Some("bytes=2000-".to_owned())]);
    scene.assert_complete();
    let directory = scene.directory();
    assert!(said.contains(&format!("--model {}", directory.display())), "{said}");
    let inspected = run(&["inspect", "--model", text(&directory)]);
    assert!(inspected.status.success(), "{}", complaint(&inspected));
}

#[test]
fn a_second_pull_fetches_nothing_again() {
    let scene = Scene::new();
    scene.done();
    assert_eq!(scene.fetched().len(), 8);
    assert!(scene.done().contains("all of them were there"));
    assert_eq!(scene.fetched(), [""; 0]);
    // Without the record of what was verified, the files are hashed, and still not fetched.
    fs::remove_file(scene.directory().join("pulled.json")).expect("it is there");
    scene.done();
    assert_eq!(scene.fetched(), [""; 0]);
    scene.assert_complete();
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let scene = Scene::new();
    let (stall, stalled) = mpsc::channel();
    let shard = published(&format!("HeartMuLa-oss-3B/{}", SHARDS[0]));
    let half = shard.len() / 2;
    scene.hub.fail("GET", SHARDS[0], 1, Fault::StallAfter(half, stall));
    let mut child = scene.pull(&["--quiet"]).stderr(Stdio::null()).spawn().expect("the program runs");
    stalled.recv_timeout(Duration::from_secs(60)).expect("the pull comes to the shard");
    let partial = scene.directory().join(format!("HeartMuLa-oss-3B/{}.{}.partial", SHARDS[0], &sha256(&shard)[..16]));
    let there = || fs::metadata(&partial).map_or(0, |file| file.len()) as usize;
    while there() < half {
        assert!(child.try_wait().expect("it is a child").is_none(), "the pull ended with {} bytes", there());
        std::thread::yield_now();
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(!scene.directory().join("HeartMuLa-oss-3B").join(SHARDS[0]).exists());
    scene.hub.take_seen("GET");
    scene.done();
    assert_eq!(scene.ranges(SHARDS[0]), [Some(format!("bytes={half}-"))]);
    scene.assert_complete();
}

#[test]
fn two_pulls_do_not_write_to_one_file() {
    let scene = Scene::new();
    let (stall, stalled) = mpsc::channel();
    scene.hub.fail("GET", SHARDS[0], 1, Fault::StallAfter(100, stall));
    let mut child = scene.pull(&["--quiet"]).stderr(Stdio::null()).spawn().expect("the program runs");
    stalled.recv_timeout(Duration::from_secs(60)).expect("the pull comes to the shard");
    scene.fails(&["is being written by another pull", SHARDS[0]]);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    scene.done();
    scene.assert_complete();
}

#[test]
fn an_interrupted_pull_says_how_to_go_on() {
    let scene = Scene::new();
    let (stall, stalled) = mpsc::channel();
    scene.hub.fail("GET", "gen_config.json", 1, Fault::StallAfter(1, stall));
    let child = scene.pull(&[]).stderr(Stdio::piped()).spawn().expect("the program runs");
    stalled.recv_timeout(Duration::from_secs(60)).expect("the pull comes to the file");
    let stop = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(stop.expect("there is a kill").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", complaint(&output));
    assert!(complaint(&output).contains("The same command goes on from here"), "{}", complaint(&output));
    scene.done();
    scene.assert_complete();
}

#[test]
fn a_server_that_ignores_what_part_was_asked_for_is_begun_anew() {
    let scene = Scene::new();
    scene.hub.fail("GET", SHARDS[0], 1, Fault::DropAfter(1000));
    scene.hub.fail("GET", SHARDS[0], 1, Fault::IgnoreRange);
    scene.done();
    scene.assert_complete();
}

#[test]
fn a_wrong_hash_names_the_file_and_leaves_nothing_of_it() {
    for (file, name) in [("HeartMuLa-oss-3B", SHARDS[1]), ("HeartCodec-oss", "config.json"), (".", "tokenizer.json")] {
        let scene = Scene::new();
        let ending = if file == "HeartCodec-oss" { format!("{CODEC}/{name}") } else { name.to_owned() };
        scene.hub.fail("GET", &ending, 1, Fault::FlipABit);
        scene.fails(&["is damaged: its hash should be", file.trim_start_matches('.'), name]);
        let left = files(&scene.directory());
        let path = Path::new(file).join(name).to_string_lossy().trim_start_matches("./").to_owned();
        assert!(left.iter().all(|left| *left == "pulled.json" || !left.starts_with(&path)), "{left:?}");
        scene.done();
        scene.assert_complete();
    }
}

#[test]
fn a_wrong_length_names_the_file_and_leaves_nothing_of_it() {
    let codec = format!("{CODEC}/model.safetensors");
    let length = published("HeartCodec-oss/model.safetensors").len();
    for wrong in [length - 1, length + 1] {
        let scene = Scene::new();
        scene.hub.fail("GET", &codec, 1, Fault::OtherLength(wrong));
        scene.fails(&[
            "HeartCodec-oss/model.safetensors",
            &format!("should have {length} bytes"),
            &format!("sends {wrong}"),
        ]);
        assert!(files(&scene.directory()).iter().all(|file| !file.starts_with("HeartCodec-oss/model")));
        scene.done();
        scene.assert_complete();
    }
}

#[test]
fn a_damaged_file_is_fetched_anew_and_alone() {
    let scene = Scene::new();
    scene.done();
    scene.fetched();
    let path = scene.directory().join("HeartMuLa-oss-3B").join(SHARDS[0]);
    let mut bytes = fs::read(&path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("it can be written");
    assert!(scene.done().contains("is not what the hub has"));
    assert_eq!(scene.fetched(), [SHARDS[0]]);
    scene.assert_complete();
}

#[test]
fn a_file_that_the_disk_has_no_room_for_is_not_begun() {
    let scene = Scene::new();
    scene.hub.fail("HEAD", SHARDS[1], 1, Fault::ClaimLength(1 << 60));
    scene.fails(&["are needed in", "--out"]);
    assert_eq!(scene.fetched(), [INDEX]);
}

#[test]
fn what_the_cache_of_the_hub_has_is_not_fetched() {
    let scene = Scene::new();
    let blobs = scene.home.path().join("hub").join(format!("models--{}", LM.replace('/', "--"))).join("blobs");
    fs::create_dir_all(&blobs).expect("a folder");
    let shards = SHARDS.map(|shard| published(&format!("HeartMuLa-oss-3B/{shard}")));
    fs::write(blobs.join(sha256(&shards[0])), &shards[0]).expect("it can be written");
    fs::write(blobs.join(sha256(&shards[1])), &shards[0]).expect("it can be written"); // damaged: it is not used
    scene.done();
    let fetched = scene.fetched();
    assert!(!fetched.contains(&SHARDS[0].to_owned()) && fetched.contains(&SHARDS[1].to_owned()), "{fetched:?}");
    scene.assert_complete();
}

#[test]
fn a_second_version_shares_what_it_has_in_common_with_the_first() {
    let scene = Scene::new();
    scene.hub.publish_file(RL, "config.json", b"{}".to_vec());
    scene.done();
    scene.fetched();
    let output = scene.pull(&["rl"]).output().expect("the program runs");
    assert!(output.status.success(), "{}", complaint(&output));
    assert_eq!(scene.fetched(), ["config.json"]);
    let rl = scene.home.path().join("heartstream/rl");
    assert_eq!(fs::read(rl.join("HeartMuLa-oss-3B/config.json")).expect("it is there"), b"{}");
    assert_eq!(files(&rl), files(&scene.directory()));
    scene.assert_complete();
}

#[test]
fn one_version_does_not_replace_another_in_its_directory() {
    let scene = Scene::new();
    let out = scene.home.path().join("here");
    let output = scene.pull(&["happy-new-year", "--out", text(&out)]).output().expect("the program runs");
    assert!(output.status.success(), "{}", complaint(&output));
    let output = scene.pull(&["oss-3b", "--out", text(&out)]).output().expect("the program runs");
    let complaint = complaint(&output);
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert!(complaint.contains("holds the version happy-new-year, and oss-3b would replace it"), "{complaint}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let scene = Scene::new();
    let file = scene.home.path().join("file");
    fs::write(&file, "").expect("it can be written");
    let output = scene.pull(&["--out", text(&file.join("model"))]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    assert!(complaint(&output).contains(text(&file)) && complaint(&output).contains("--out"), "{}", complaint(&output));
}
