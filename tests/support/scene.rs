//! A hub with a small checkpoint, a machine that has nothing of it yet, and `heartstream pull` between them.
#![allow(dead_code)] // each test file uses its part of this

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    hub::{Hub, Seen},
    support::{complaint, folder, program},
};

pub const GEN: &str = "HeartMuLa/HeartMuLaGen";
pub const LM: &str = "HeartMuLa/HeartMuLa-oss-3B-happy-new-year";
pub const RL: &str = "HeartMuLa/HeartMuLa-RL-oss-3B-20260123";
pub const CODEC: &str = "HeartMuLa/HeartCodec-oss-20260123";
pub const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
pub const INDEX: &str = "model.safetensors.index.json";

/// A small checkpoint, its language model in two shards as published, its codec in one file.
pub fn checkpoint() -> &'static Path {
    static CHECKPOINT: OnceLock<TempDir> = OnceLock::new();
    let folder = CHECKPOINT.get_or_init(|| {
        let folder = folder();
        let size = heartstream_tools::synth::SynthSize::Tiny;
        heartstream_tools::synth::synthesise(size, 1, folder.path(), &mut |_, _| ()).expect("a checkpoint");
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
pub struct Scene {
    pub hub: Hub,
    pub home: TempDir,
}

impl Scene {
    pub fn new() -> Self {
        let (hub, checkpoint) = (Hub::start(), checkpoint());
        hub.publish(GEN, checkpoint);
        hub.publish(LM, &checkpoint.join("HeartMuLa-oss-3B"));
        hub.publish(RL, &checkpoint.join("HeartMuLa-oss-3B"));
        hub.publish(CODEC, &checkpoint.join("HeartCodec-oss"));
        Self { hub, home: folder() }
    }

    /// `heartstream pull` with this hub, and nothing of this machine's own settings.
    pub fn pull(&self, arguments: &[&str]) -> Command {
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
    pub fn run(&self) -> Output {
        self.pull(&[]).output().expect("the program runs")
    }

    /// Pulls, and it must go well.
    pub fn done(&self) -> String {
        let output = self.run();
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        complaint(&output)
    }

    /// Pulls, and it must fail, saying this.
    pub fn fails(&self, says: &[&str]) -> String {
        let output = self.run();
        let complaint = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        for words in says {
            assert!(complaint.contains(words), "{words:?} is not in: {complaint}");
        }
        complaint
    }

    /// The directory that is filled if none is given.
    pub fn directory(&self) -> PathBuf {
        self.home.path().join("heartstream/happy-new-year")
    }

    /// The directory holds the model, byte for byte, and nothing that was left over.
    pub fn assert_complete(&self) {
        let mut expected = files(checkpoint());
        expected.insert("pulled.json".to_owned());
        assert_eq!(files(&self.directory()), expected);
        for file in files(checkpoint()) {
            let same = fs::read(checkpoint().join(&file)).expect("published")
                == fs::read(self.directory().join(&file)).expect("pulled");
            assert!(same, "{file}");
        }
    }

    /// What was fetched since it was last asked for: names of files, each as often as it was served.
    pub fn fetched(&self) -> Vec<String> {
        let name = |seen: &Seen| seen.path.rsplit('/').next().unwrap_or_default().to_owned();
        // Weights are a redirect to the store first.
        let given = |seen: &Seen| seen.path.starts_with("/store") || !seen.path.ends_with(".safetensors");
        self.hub.take_seen("GET").into_iter().filter(given).map(|seen| name(&seen)).collect()
    }

    /// The parts of a file in the store that were asked for.
    pub fn ranges(&self, file: &str) -> Vec<Option<String>> {
        let of_file = |seen: &Seen| seen.path.starts_with("/store") && seen.path.ends_with(file);
        self.hub.take_seen("GET").into_iter().filter(of_file).map(|seen| seen.range).collect()
    }
}

/// The files under a folder, as paths in it.
pub fn files(folder: &Path) -> BTreeSet<String> {
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

pub fn published(file: &str) -> Vec<u8> {
    fs::read(checkpoint().join(file)).expect("it is published")
}
