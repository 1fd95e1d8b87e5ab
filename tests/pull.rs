//! Promise: `pull` fills a directory that the engine loads, never takes a wrong file for a right one, and never fetches
//! twice what it has.

#[path = "support/hub.rs"]
mod hub;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{OnceLock, mpsc},
    time::Duration,
};

use hub::{COMMIT, Fault, Hub, Seen, sha256};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use support::{complaint, folder, program, run, text};
use tempfile::TempDir;

const GEN: &str = "HeartMuLa/HeartMuLaGen";
const LM: &str = "HeartMuLa/HeartMuLa-oss-3B-happy-new-year";
const RL: &str = "HeartMuLa/HeartMuLa-RL-oss-3B-20260123";
const CODEC: &str = "HeartMuLa/HeartCodec-oss-20260123";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
const INDEX: &str = "model.safetensors.index.json";

/// A small checkpoint, its language model in two shards as published, its codec in one file.
fn checkpoint() -> &'static Path {
    static CHECKPOINT: OnceLock<TempDir> = OnceLock::new();
    let folder = CHECKPOINT.get_or_init(|| {
        let folder = folder();
        let size = heartstream_models::synth::SynthSize::Tiny;
        heartstream_models::synth::synthesise(size, 1, folder.path()).expect("a checkpoint");
        split(&folder.path().join("HeartMuLa-oss-3B"));
        folder
    });
    folder.path()
}

/// Makes two shards and an index of one file.
fn split(folder: &Path) {
    let single = folder.join("model.safetensors");
    let bytes = fs::read(&single).expect("the weights");
    let tensors = SafeTensors::deserialize(&bytes).expect("safetensors").tensors();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = BTreeMap::new();
    for (name, tensors) in SHARDS.iter().zip([first, second]) {
        map.extend(tensors.iter().map(|(tensor, _)| (tensor.clone(), *name)));
        let views = tensors.iter().map(|(tensor, view)| (tensor, TensorView::clone(view)));
        fs::write(folder.join(name), safetensors::serialize(views, None).expect("a shard")).expect("it is written");
    }
    fs::write(folder.join(INDEX), json!({ "weight_map": map }).to_string()).expect("it is written");
    fs::remove_file(single).expect("it is there");
}

/// A hub with the checkpoint, and a machine without anything.
struct Scene {
    hub: Hub,
    home: TempDir,
}

impl Scene {
    fn new() -> Self {
        let (hub, checkpoint) = (Hub::start(), checkpoint());
        hub.publish(GEN, checkpoint);
        hub.publish(LM, &checkpoint.join("HeartMuLa-oss-3B"));
        hub.publish(RL, &checkpoint.join("HeartMuLa-oss-3B"));
        hub.publish(CODEC, &checkpoint.join("HeartCodec-oss"));
        Self { hub, home: folder() }
    }

    /// `heartstream pull` with this hub, and nothing of this machine's own settings.
    fn pull(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("HF_") || name.to_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command.env("HF_HOME", self.home.path()).env("HF_ENDPOINT", &self.hub.address).env("NO_PROXY", "*");
        command.arg("pull").args(arguments);
        command
    }

    /// Pulls into the default directory.
    fn run(&self) -> Output {
        self.pull(&[]).output().expect("the program runs")
    }

    /// Pulls, and it must go well.
    fn done(&self) -> String {
        let output = self.run();
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        complaint(&output)
    }

    /// Pulls, and it must fail, saying this.
    fn fails(&self, says: &[&str]) -> String {
        let output = self.run();
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        for words in says {
            assert!(complaint.contains(words), "{words:?} is not in: {complaint}");
        }
        complaint
    }

    /// The directory that is filled if none is given.
    fn directory(&self) -> PathBuf {
        self.home.path().join("heartstream/happy-new-year")
    }

    /// The directory holds the model, byte for byte, and nothing that was left over.
    fn assert_complete(&self) {
        let mut expected = files(checkpoint());
        expected.insert("pulled.json".to_owned());
        assert_eq!(files(&self.directory()), expected);
        for file in files(checkpoint()) {
            let same = fs::read(checkpoint().join(&file)).expect("published")
                == fs::read(self.directory().join(&file)).expect("pulled");
            assert!(same, "{file}");
        }
    }

    /// What was fetched since it was last asked for: names of files, each as often as it was given out.
    fn fetched(&self) -> Vec<String> {
        let name = |seen: &Seen| seen.path.rsplit('/').next().unwrap_or_default().to_owned();
        // Weights are a redirect to the store first.
        let given = |seen: &Seen| seen.path.starts_with("/store") || !seen.path.ends_with(".safetensors");
        self.hub.take_seen("GET").into_iter().filter(given).map(|seen| name(&seen)).collect()
    }

    /// The parts of a file in the store that were asked for.
    fn ranges(&self, file: &str) -> Vec<Option<String>> {
        let of_file = |seen: &Seen| seen.path.starts_with("/store") && seen.path.ends_with(file);
        self.hub.take_seen("GET").into_iter().filter(of_file).map(|seen| seen.range).collect()
    }
}

/// The files under a folder, as paths in it.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().expect("a plain name");
        if entry.path().is_dir() {
            found.extend(files(&entry.path()).iter().map(|file| format!("{name}/{file}")));
        } else {
            found.insert(name);
        }
    }
    found
}

fn published(file: &str) -> Vec<u8> {
    fs::read(checkpoint().join(file)).expect("it is published")
}

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

#[cfg(unix)]
#[test]
fn an_interrupted_pull_says_how_to_go_on() {
    let scene = Scene::new();
    let (stall, stalled) = mpsc::channel();
    scene.hub.fail("GET", "gen_config.json", 1, Fault::StallAfter(1, stall));
    let child = scene.pull(&[]).stderr(Stdio::piped()).spawn().expect("the program runs");
    stalled.recv_timeout(Duration::from_secs(60)).expect("the pull comes to the file");
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("there is a kill").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", complaint(&output));
    assert!(complaint(&output).contains("The same command goes on from here"), "{}", complaint(&output));
    scene.done();
    scene.assert_complete();
}

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
    // A port that was free a moment ago, and where nobody listens now.
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let output = scene.pull(&[]).env("HF_ENDPOINT", format!("http://{nobody}")).output().expect("the program runs");
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

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let scene = Scene::new();
    let file = scene.home.path().join("file");
    fs::write(&file, "").expect("it can be written");
    let output = scene.pull(&["--out", text(&file.join("model"))]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    assert!(complaint(&output).contains(text(&file)) && complaint(&output).contains("--out"), "{}", complaint(&output));
}
