//! Promise: hubs that do not do as the real one are met half-way where that is safe, and named where it is not; without a
//! network the cache of the hub's own programs is as good; nothing planted in the directory leads out of it.

#[path = "../../../tests/support/hub.rs"]
mod hub;
#[path = "../../../tests/support/scene.rs"]
mod scene;
#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path};

use hub::{COMMIT, Fault, sha256};
use scene::{CODEC, GEN, LM, SHARDS, Scene, checkpoint, published};
use support::{complaint, text};

#[test]
fn a_hub_that_knows_no_head_is_asked_for_the_first_byte() {
    let scene = Scene::new();
    for file in ["config.json", "tokenizer.json", "gen_config.json", "index.json", ".safetensors"] {
        scene.hub.fail("HEAD", file, 100, Fault::Status(405, ""));
    }
    scene.done();
    scene.assert_complete();
}

#[test]
fn a_hub_that_says_no_length_before_the_file_comes_is_asked_for_a_part() {
    let scene = Scene::new();
    scene.hub.fail("HEAD", "tokenizer.json", 100, Fault::Chunked);
    scene.hub.fail("HEAD", &format!("{CODEC}/config.json"), 100, Fault::Chunked);
    scene.done();
    scene.assert_complete();
}

#[test]
fn a_web_page_is_never_taken_for_a_file() {
    for method in ["HEAD", "GET"] {
        for file in ["tokenizer.json", "index.json"] {
            let scene = Scene::new();
            scene.hub.fail(method, file, 100, Fault::Page);
            let said = scene.fails(&["web page", file, "log in"]);
            assert!(!said.contains("panicked"), "{said}");
            assert!(!scene.directory().join(file).exists());
        }
    }
}

#[test]
fn a_proxy_that_does_not_answer_is_named() {
    let scene = Scene::new();
    let mut pull = scene.pull(&[]);
    let output = pull.env_remove("NO_PROXY").env("HTTP_PROXY", "http://me:secret@127.0.0.1:1").output();
    let said = complaint(&output.expect("the program runs"));
    assert!(said.contains("127.0.0.1:1 (HTTP_PROXY)") && !said.contains("secret"), "{said}");
}

#[cfg(unix)]
mod unix {
    use super::*;

    /// The cache of the hub's own programs with all of a version in it.
    fn cache(home: &Path) {
        let put = |repository: &str, folder: &Path| {
            let own = home.join("hub").join(format!("models--{}", repository.replace('/', "--")));
            let (blobs, snapshot) = (own.join("blobs"), own.join("snapshots").join(COMMIT));
            for folder in [&blobs, &snapshot, &own.join("refs")] {
                fs::create_dir_all(folder).expect("a folder");
            }
            fs::write(own.join("refs/main"), COMMIT).expect("a reference");
            for entry in fs::read_dir(folder).expect("a folder").flatten().filter(|entry| entry.path().is_file()) {
                let blob = blobs.join(sha256(&fs::read(entry.path()).expect("a file")));
                fs::copy(entry.path(), &blob).expect("a blob");
                std::os::unix::fs::symlink(&blob, snapshot.join(entry.file_name())).expect("a link");
            }
        };
        put(GEN, checkpoint());
        put(LM, &checkpoint().join("HeartMuLa-oss-3B"));
        put(CODEC, &checkpoint().join("HeartCodec-oss"));
    }

    #[test]
    fn without_a_network_the_cache_is_used_where_all_of_it_is_there() {
        for (variable, value) in [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", "http://127.0.0.1:1")] {
            let scene = Scene::new();
            let offline = || scene.pull(&[]).env(variable, value).output().expect("the program runs");
            let output = offline();
            let said = complaint(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(if variable == "HF_ENDPOINT" { "cannot reach" } else { "HF_HUB_OFFLINE" }), "{said}");
            cache(scene.home.path());
            let output = offline();
            assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
            scene.assert_complete();
            assert!(scene.hub.take_seen("GET").is_empty() && scene.hub.take_seen("HEAD").is_empty());
            let weights = scene.directory().join("HeartMuLa-oss-3B").join(SHARDS[0]);
            assert!(
                fs::symlink_metadata(weights).expect("a file").is_file(),
                "a second name of the file, not of a link"
            );
        }
    }

    #[test]
    fn a_cache_with_a_wrong_file_is_not_taken() {
        let scene = Scene::new();
        cache(scene.home.path());
        let link = scene.home.path().join("hub").join(format!("models--{}", GEN.replace('/', "--")));
        let blob = link.join("snapshots").join(COMMIT).join("tokenizer.json").canonicalize().expect("a blob");
        let mut bytes = fs::read(&blob).expect("a blob");
        bytes[20] ^= 1;
        fs::write(&blob, bytes).expect("a blob");
        let output = scene.pull(&[]).env("HF_HUB_OFFLINE", "1").output().expect("the program runs");
        let said = complaint(&output);
        assert!(output.status.code() == Some(1) && said.contains("is not what was published"), "{said}");
    }

    #[test]
    fn nothing_that_was_planted_is_written_through_or_waited_for() {
        let secret = "nothing of this is to be lost";
        let scene = Scene::new();
        let victim = scene.home.path().join("victim");
        fs::write(&victim, secret).expect("a file");
        let directory = scene.directory();
        fs::create_dir_all(directory.join("HeartMuLa-oss-3B")).expect("a folder");
        let hash = sha256(&published(&format!("HeartMuLa-oss-3B/{}", SHARDS[0])));
        let partial = directory.join(format!("HeartMuLa-oss-3B/{}.{}.partial", SHARDS[0], &hash[..16]));
        std::os::unix::fs::symlink(&victim, &partial).expect("a link");
        scene.fails(&["cannot write", text(&partial)]);
        assert_eq!(fs::read_to_string(&victim).expect("a file"), secret);
        fs::remove_file(&partial).expect("a link");
        std::os::unix::fs::symlink(&victim, directory.join("pulled.json.new")).expect("a link");
        scene.fails(&["cannot write", "pulled.json.new"]);
        assert_eq!(fs::read_to_string(&victim).expect("a file"), secret);
        fs::remove_file(directory.join("pulled.json.new")).expect("a link");
        // A record that is a pipe is no record, and its writer is not waited for.
        let _ = fs::remove_file(directory.join("pulled.json"));
        nix::unistd::mkfifo(&directory.join("pulled.json"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        scene.done();
        scene.assert_complete();
    }
}
