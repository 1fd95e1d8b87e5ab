//! Promise: `pull` asks the hub that it is told to ask, bears what passes, and explains what does not.

#[path = "../../../tests/support/hub.rs"]
mod hub;
#[path = "../../../tests/support/scene.rs"]
mod scene;
#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, net::TcpListener};

use hub::{COMMIT, Fault, Seen};
use scene::{CODEC, GEN, INDEX, LM, SHARDS, Scene};
use serde_json::{Value, json};
use support::complaint;

#[cfg(unix)]
#[test]
fn redirects_are_followed_while_they_lead_to_a_file() {
    let scene = Scene::new();
    let renamed = "Location: /HeartMuLa/HeartMuLaGen/resolve/main/gen_config.json";
    scene.hub.fail("HEAD", "gen_config.json", 5, Fault::Status(307, renamed));
    scene.hub.fail("GET", "gen_config.json", 5, Fault::Status(307, renamed));
    scene.done();
    scene.assert_complete();
    let scene = Scene::new();
    scene.hub.fail("HEAD", "gen_config.json", usize::MAX, Fault::Status(307, renamed));
    scene.fails(&["gen_config.json", "more than 5 redirects"]);
    for elsewhere in ["Location: file:///etc/passwd", "Location: somewhere", "Location: http://", "X-Nothing: 1"] {
        let scene = Scene::new();
        scene.hub.fail("GET", "gen_config.json", 1, Fault::Status(302, elsewhere));
        scene.fails(&["gen_config.json", "expected an address that can be followed"]);
    }
}

#[test]
fn a_server_that_is_busy_is_asked_again_but_not_for_ever() {
    let scene = Scene::new();
    scene.hub.fail("GET", SHARDS[0], 3, Fault::Status(429, "Retry-After: 0"));
    scene.hub.fail("HEAD", SHARDS[1], 3, Fault::Status(500, "Retry-After: 0"));
    scene.done();
    scene.assert_complete();

    let scene = Scene::new();
    scene.hub.fail("GET", SHARDS[0], usize::MAX, Fault::Status(503, "Retry-After: 0"));
    scene.fails(&[SHARDS[0], "503", "8 times one after another"]);
    let scene = Scene::new();
    scene.hub.fail("HEAD", SHARDS[0], 1, Fault::Status(429, "Retry-After: 86400"));
    scene.fails(&[SHARDS[0], "429", "again later"]);
}

#[test]
fn what_a_hub_does_not_have_is_named() {
    let scene = Scene::new();
    scene.hub.fail("HEAD", "gen_config.json", 1, Fault::Status(404, "X-Error-Code: EntryNotFound"));
    scene.fails(&["HeartMuLaGen/resolve/", "gen_config.json does not exist", "HF_ENDPOINT"]);
}

#[test]
fn a_gated_repository_asks_for_a_token_and_a_wrong_token_is_told_apart() {
    let scene = Scene::new();
    scene.hub.fail("HEAD", &format!("{LM}/config.json"), usize::MAX, Fault::Status(401, "X-Error-Code: GatedRepo"));
    scene.fails(&[LM, "401", "set HF_TOKEN to a token"]);
    let output = scene.pull(&[]).env("HF_TOKEN", "hf_wrong").output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("its token is not valid"), "{}", complaint(&output));
    assert!(!complaint(&output).contains("hf_wrong"));
}

#[test]
fn the_token_is_a_bearer_to_the_hub_and_to_nobody_else() {
    let scene = Scene::new();
    let output = scene.pull(&["--quiet"]).env("HF_TOKEN", "hf_secret").output().expect("the program runs");
    assert_eq!((output.status.code(), complaint(&output).as_str()), (Some(0), ""));
    let asked = [scene.hub.take_seen("HEAD"), scene.hub.take_seen("GET")].concat();
    let (store, hub): (Vec<Seen>, Vec<Seen>) = asked.into_iter().partition(|seen| seen.path.starts_with("/store"));
    assert!(store.len() == 3 && store.iter().all(|seen| seen.authorization.is_none()), "{store:?}");
    assert!(hub.iter().all(|seen| seen.authorization.as_deref() == Some("Bearer hf_secret")), "{hub:?}");

    // What `hf auth login` wrote is taken where HF_TOKEN is not set.
    let scene = Scene::new();
    fs::write(scene.home.path().join("token"), "hf_login\n").expect("it can be written");
    scene.done();
    let asked = scene.hub.take_seen("HEAD");
    assert!(asked.iter().all(|seen| seen.authorization.as_deref() == Some("Bearer hf_login")), "{asked:?}");
}

#[test]
fn all_files_of_a_repository_are_of_one_commit() {
    let scene = Scene::new();
    scene.done();
    let asked = scene.hub.take_seen("HEAD");
    let of_branch = |repository: &str| {
        asked.iter().filter(|seen| seen.path.starts_with(&format!("/{repository}/resolve/main/"))).count()
    };
    // The branch is asked for once; then it is known which commit it is.
    assert_eq!([GEN, LM, CODEC].map(of_branch), [1, 1, 1]);
    let fetched = scene.hub.take_seen("GET");
    assert!(fetched.iter().all(|seen| seen.path.contains(COMMIT)), "{fetched:?}");
    let record: Value =
        serde_json::from_slice(&fs::read(scene.directory().join("pulled.json")).expect("a record")).expect("JSON");
    assert_eq!(record["files"]["HeartMuLa-oss-3B/config.json"]["commit"], COMMIT);
}

#[test]
fn offline_one_paragraph_says_what_to_do_and_nothing_is_left() {
    let scene = Scene::new();
    // A port that was free a moment ago, and has no listener now.
    let refused = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let output = scene.pull(&[]).env("HF_ENDPOINT", format!("http://{refused}")).output().expect("the program runs");
    let complaint = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    let by_hand = format!("all of {LM} into {}", scene.directory().join("HeartMuLa-oss-3B").display());
    for words in ["cannot reach 127.0.0.1", "HF_ENDPOINT", "mirror", "tokenizer.json and gen_config.json", &by_hand] {
        assert!(complaint.contains(words), "{words:?} is not in: {complaint}");
    }
    assert_eq!(complaint.trim_end().lines().count(), 1, "{complaint}");
    assert!(!scene.home.path().join("heartstream").exists());
}

#[test]
fn an_index_that_leads_elsewhere_is_refused() {
    let scene = Scene::new();
    for name in ["../../outside.safetensors", "/tmp/outside.safetensors", "sub/model.safetensors", "model.sh"] {
        scene.hub.publish_file(LM, INDEX, json!({ "weight_map": { "a": name } }).to_string().into_bytes());
        scene.fails(&["no index of shards that can be followed", name, LM]);
        assert!(scene.fetched().contains(&INDEX.to_owned()));
    }
}

#[test]
fn a_mirror_that_gives_no_hashes_is_followed_with_a_warning() {
    let scene = Scene::new();
    scene.hub.fail("HEAD", SHARDS[0], 1, Fault::NoHash);
    scene.hub.fail("GET", SHARDS[0], 1, Fault::DropAfter(1000));
    assert!(scene.done().contains(&format!("no hash of HeartMuLa-oss-3B/{}, so only its length", SHARDS[0])));
    scene.assert_complete();
}

#[test]
fn settings_and_arguments_that_cannot_be_used_are_wrong_usage() {
    let scene = Scene::new();
    for (variable, value) in [("HF_ENDPOINT", "not an address"), ("HF_TOKEN", "with\na line feed")] {
        let output = scene.pull(&[]).env(variable, value).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
        assert!(complaint(&output).contains(&format!("the environment variable {variable} must be")));
    }
    let output = scene.pull(&["7b"]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains("happy-new-year"), "{}", complaint(&output));
    assert_eq!(scene.fetched(), [""; 0]);
}
