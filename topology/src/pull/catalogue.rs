//! Catalogue of published versions, their repositories, and the files of each.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use heartstream_models::{CODEC_PART, LM_PARTS, TOKENIZER, text::decode_json};
use serde_json::Value;

/// The file that says which shards the weights are in; a repository of one file has none.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// The weights of a repository without an index.
pub(crate) const SINGLE: &str = "model.safetensors";
/// The sizes of a model.
const CONFIG: &str = "config.json";
/// The ids with a meaning.
const GEN_CONFIG: &str = "gen_config.json";
/// More shards than this has no index that describes a model of this family: the published ones have four.
const MOST_SHARDS: usize = 1000;
/// File systems take names of 255 bytes; a file under way has a longer name than the file.
const LONGEST_NAME: usize = 120;

/// A published language model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The first release, of 14 January 2026.
    Oss3b,
    /// Tuned by reinforcement learning to follow styles and tags, 23 January 2026.
    Rl,
    /// Recommended: follows lyrics best, 13 February 2026.
    HappyNewYear,
}

impl Version {
    /// The short name, as a user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oss3b => "oss-3b",
            Self::Rl => "rl",
            Self::HappyNewYear => "happy-new-year",
        }
    }

    fn repository(self) -> &'static str {
        match self {
            Self::Oss3b => "HeartMuLa/HeartMuLa-oss-3B",
            Self::Rl => "HeartMuLa/HeartMuLa-RL-oss-3B-20260123",
            Self::HappyNewYear => "HeartMuLa/HeartMuLa-oss-3B-happy-new-year",
        }
    }
}

/// A repository, and what of it goes where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// `OWNER/NAME` on the hub.
    pub repository: &'static str,
    /// The folder of the model directory that its files go to; empty for the directory itself.
    pub folder: &'static str,
    /// Files that it must have.
    pub files: &'static [&'static str],
    /// Whether it has weights too, in shards with an index or in one file.
    pub weights: bool,
}

impl Source {
    /// Where `file` of this repository lies in a model directory.
    pub(crate) fn place(&self, file: &str) -> PathBuf {
        PathBuf::from(self.folder).join(file)
    }
}

/// The repositories that a model directory of `version` consists of.
pub(crate) fn sources(version: Version) -> [Source; 3] {
    let model = |repository, folder| Source { repository, folder, files: &[CONFIG], weights: true };
    [
        Source { repository: "HeartMuLa/HeartMuLaGen", folder: "", files: &[TOKENIZER, GEN_CONFIG], weights: false },
        model(version.repository(), LM_PARTS[0]),
        model("HeartMuLa/HeartCodec-oss-20260123", CODEC_PART),
    ]
}

/// Which repository goes where, for a reader who copies the files to `directory` without this program.
pub(crate) fn by_hand(version: Version, directory: &Path) -> String {
    let lines = sources(version).map(|source| {
        let what = if source.weights { "all of".to_owned() } else { format!("{} of", source.files.join(" and ")) };
        format!("{what} {} into {}", source.repository, directory.join(source.folder).display())
    });
    lines.join(", ")
}

/// The shards that an index names.
///
/// # Errors
/// A sentence that says what is wrong with the index. A name is only accepted when it is that of a weights file in the
/// index's own folder: it becomes a path on this machine.
pub(crate) fn shards(index: &[u8]) -> Result<BTreeSet<String>, String> {
    let index = decode_json(index).map_err(|reason| format!("it is {reason}"))?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or("it has no object `weight_map`")?;
    let mut names = BTreeSet::new();
    for name in map.values() {
        match name.as_str().filter(|name| is_weights_file(name)) {
            Some(name) => names.insert(name.to_owned()),
            None => {
                return Err(format!("`weight_map` must name safetensors files of its own folder, but names {name}"));
            }
        };
    }
    match names.len() {
        0 => Err("its `weight_map` is empty".to_owned()),
        count if count > MOST_SHARDS => Err(format!("it names {count} files, and at most {MOST_SHARDS} are expected")),
        _ => Ok(names),
    }
}

/// Plain letters only: such a name means the same on every system, and leads nowhere.
fn is_weights_file(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    name.len() <= LONGEST_NAME && !name.starts_with('.') && name.ends_with(".safetensors") && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_fills_the_layout_that_the_engine_loads() {
        for version in [Version::Oss3b, Version::Rl, Version::HappyNewYear] {
            let sources = sources(version);
            let places: Vec<PathBuf> =
                sources.iter().flat_map(|source| source.files.iter().map(|file| source.place(file))).collect();
            let expected =
                ["tokenizer.json", "gen_config.json", "HeartMuLa-oss-3B/config.json", "HeartCodec-oss/config.json"];
            assert_eq!(places, expected.map(PathBuf::from));
        }
    }

    #[test]
    fn the_shards_of_an_index_are_named_once_and_in_order() {
        let index =
            br#"{"weight_map": {"b": "model-00002-of-00002.safetensors", "a": "model-00001-of-00002.safetensors",
            "c": "model-00002-of-00002.safetensors"}}"#;
        let names: Vec<String> = shards(index).expect("an index").into_iter().collect();
        assert_eq!(names, ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]);
    }

    #[test]
    fn a_name_that_leads_out_of_its_folder_is_refused() {
        for name in [
            "../model.safetensors",
            "/etc/model.safetensors",
            "a/model.safetensors",
            "a\\\\model.safetensors",
            "C:model.safetensors",
            "model.safetensors\\u0000.safetensors",
            "..safetensors",
            ".safetensors",
            "model.py",
            "model\\n.safetensors",
            "",
        ] {
            let index = format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#);
            let problem = shards(index.as_bytes()).expect_err(name);
            assert!(problem.contains("of its own folder"), "{name}: {problem}");
        }
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for (index, problem) in [
            ("", "not JSON"),
            ("[]", "no object `weight_map`"),
            (r#"{"weight_map": []}"#, "no object `weight_map`"),
            (r#"{"weight_map": {}}"#, "is empty"),
            (r#"{"weight_map": {"a": 1}}"#, "but names 1"),
        ] {
            assert!(shards(index.as_bytes()).expect_err(index).contains(problem), "{index}");
        }
        let names = (0..=MOST_SHARDS).map(|shard| format!(r#""{shard}": "{shard}.safetensors""#));
        let index = format!(r#"{{"weight_map": {{{}}}}}"#, names.collect::<Vec<_>>().join(","));
        assert!(shards(index.as_bytes()).expect_err("too many").contains("1001 files"));
    }
}
