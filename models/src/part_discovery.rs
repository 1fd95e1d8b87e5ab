//! Discovery of the parts of a model directory: by their published names, else by what their config.json says.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use crate::{
    directory::{CODEC_PART, LM_PARTS},
    error::{ModelError, Result},
    foreign_text::shown,
    weights::Checkpoint,
};

/// Bytes of a config.json, at most: the published ones have 2 kB.
const LARGEST_CONFIG: u64 = 1 << 20;
/// Entries of a directory that are looked at, and how many of them a message names.
const MOST_ENTRIES: usize = 256;
const MOST_NAMED: usize = 12;

/// Where the hub's cache keeps the files of a repository, a directory for each version.
const SNAPSHOTS: &str = "snapshots";

/// What a folder is by its config.json.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PartKind {
    LanguageModel,
    Codec,
}

impl PartKind {
    fn of(config: &Map<String, Value>) -> Option<Self> {
        let has = |names: &[&str]| names.iter().any(|name| config.contains_key(*name));
        match config.get("model_type").and_then(Value::as_str) {
            Some("heartmula") => Some(Self::LanguageModel),
            Some("heartcodec") => Some(Self::Codec),
            _ if has(&["audio_num_codebooks", "backbone_flavor", "backbone"]) => Some(Self::LanguageModel),
            _ if has(&["num_quantizers", "codebook_size", "upsample_factors"]) => Some(Self::Codec),
            _ => None,
        }
    }

    /// What `folder` is.
    fn of_folder(folder: &Path) -> Option<Self> {
        let config = folder.join("config.json");
        let small = fs::metadata(&config).is_ok_and(|found| found.is_file() && found.len() <= LARGEST_CONFIG);
        let bytes = if small { fs::read(&config).ok()? } else { return None };
        serde_json::from_slice(&bytes).ok().as_ref().and_then(Self::of)
    }
}

/// A checkpoint with the names of its parts.
pub(crate) struct FoundParts {
    pub checkpoint: Checkpoint,
    pub language_model: String,
    pub codec: String,
}

/// Finds the parts of a checkpoint. Published names come first, the smaller language model before the larger one; other
/// folders count by what their config.json says. Where the folder of one part is given instead of the directory around
/// it, that directory is taken, and in it this part. Where a directory has no parts, but one that has both, as an unpacked
/// archive and the hub's cache have, that one is taken.
///
/// # Errors
/// When there are several folders of a kind, and nothing says which one is meant.
pub(crate) fn find(checkpoint: Checkpoint) -> Result<FoundParts> {
    let Checkpoint::Directory(directory) = &checkpoint else {
        return Ok(FoundParts { checkpoint, language_model: LM_PARTS[0].to_owned(), codec: CODEC_PART.to_owned() });
    };
    let given = PartKind::of_folder(directory);
    let around = given.and_then(|_| {
        let directory = directory.canonicalize().ok()?;
        Some((directory.parent()?.to_owned(), directory.file_name()?.to_str()?.to_owned()))
    });
    let (directory, given) = match (given, around) {
        (Some(kind), Some((around, name))) => (around, Some((kind, name))),
        _ => {
            let inside = the_one_inside(directory).or_else(|| the_one_inside(&directory.join(SNAPSHOTS)));
            (inside.unwrap_or_else(|| directory.clone()), None)
        }
    };
    let part = |kind, published: &[&str]| match &given {
        Some((found, name)) if *found == kind => Ok(name.clone()),
        _ => part(&directory, kind, published),
    };
    let (language_model, codec) = (part(PartKind::LanguageModel, &LM_PARTS)?, part(PartKind::Codec, &[CODEC_PART])?);
    Ok(FoundParts { checkpoint: Checkpoint::Directory(directory), language_model, codec })
}

/// The only directory in `outer` that has both parts, where `outer` has neither itself.
fn the_one_inside(outer: &Path) -> Option<PathBuf> {
    let kinds = |directory: &Path| {
        let found: Vec<PartKind> =
            names_in(directory).iter().filter_map(|name| PartKind::of_folder(&directory.join(name))).collect();
        [PartKind::LanguageModel, PartKind::Codec].map(|kind| found.contains(&kind))
    };
    if kinds(outer) != [false; 2] {
        return None;
    }
    let mut inner = names_in(outer).into_iter().map(|name| outer.join(name)).filter(|inner| kinds(inner) == [true; 2]);
    inner.next().filter(|_| inner.next().is_none())
}

/// The folder of `kind`; the published name where there is none, so that reading its config says so.
fn part(directory: &Path, kind: PartKind, published: &[&str]) -> Result<String> {
    if let Some(name) = published.iter().find(|name| directory.join(name).join("config.json").is_file()) {
        return Ok((*name).to_owned());
    }
    let folders =
        names_in(directory).into_iter().filter(|name| PartKind::of_folder(&directory.join(name)) == Some(kind));
    match &folders.collect::<Vec<_>>()[..] {
        [] => Ok(published[0].to_owned()),
        [name] => Ok(name.clone()),
        several => {
            let what = if kind == PartKind::Codec { "codecs" } else { "language models" };
            Err(ModelError::Unreadable {
                path: directory.to_owned(),
                reason: format!("there are several {what} in it: {}", shown(&several.join(", "))),
                remedy: format!("Give the folder of one of them as the model, or name it {}", published[0]),
            })
        }
    }
}

/// The names in a directory, sorted.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().take(MOST_ENTRIES);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// A sentence about what is in the place of a missing file.
pub(crate) fn beside(missing: &Path) -> String {
    let Some(directory) = missing.ancestors().skip(1).find(|directory| directory.is_dir()) else {
        return String::new();
    };
    let names = names_in(directory);
    let named = match names.len() {
        0 => "nothing".to_owned(),
        count if count > MOST_NAMED => format!("{} and {} more", names[..MOST_NAMED].join(", "), count - MOST_NAMED),
        _ => names.join(", "),
    };
    format!(" ({} holds {})", directory.display(), shown(&named))
}

/// The weights in the folder of a part that has neither an index nor a file of the published name.
///
/// # Errors
/// When there are none, or not all of them, or several that do not belong together: what is there is named.
pub(crate) fn weights_in(folder: &Path, wanted: &str) -> Result<Vec<String>> {
    let names = names_in(folder);
    let is_weights = |name: &&String| name.ends_with(".safetensors") && *name != "drafter.safetensors";
    let weights: Vec<String> = names.iter().filter(is_weights).cloned().collect();
    let shard = |name: &String| {
        let (begin, count) = name.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
        let (stem, number) = begin.rsplit_once('-')?;
        Some((stem.to_owned(), number.parse::<usize>().ok()?, count.parse::<usize>().ok()?))
    };
    let store: Vec<_> = weights.iter().filter_map(shard).collect();
    let path = folder.join(wanted);
    let unreadable = |reason: String, remedy: &str| {
        Err(ModelError::Unreadable { path: PathBuf::from(&path), reason, remedy: remedy.to_owned() })
    };
    match (&weights[..], &store[..]) {
        ([single], []) => Ok(vec![single.clone()]),
        (all, [(stem, _, count), ..])
            if all.len() == store.len() && store.iter().all(|s| s.0 == *stem && s.2 == *count) =>
        {
            let missing = (1..=*count).filter(|number| store.iter().all(|shard| shard.1 != *number));
            match missing.take(MOST_NAMED).map(|number| number.to_string()).collect::<Vec<_>>() {
                missing if missing.is_empty() => Ok(weights),
                missing => unreadable(
                    format!("of the {count} files of weights beside it, missing: {}", missing.join(", ")),
                    "Download the missing files into this directory",
                ),
            }
        }
        _ => {
            let other = names.iter().find(|name| {
                [".bin", ".gguf", ".pt", ".pth", ".ckpt", ".onnx", ".npz"].iter().any(|ending| name.ends_with(ending))
            });
            match other {
                Some(other) => unreadable(
                    format!("there is {} instead, and only safetensors files are read", shown(other)),
                    "Download the safetensors files of the checkpoint (`heartstream pull`), or convert the weights",
                ),
                None => unreadable(
                    format!("No such file{}", beside(&path)),
                    "Download the weights into this directory, with their index where they are several files",
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(files: &[&str]) -> (tempfile::TempDir, Result<Vec<String>>) {
        let folder = tempfile::tempdir().expect("a folder");
        files.iter().for_each(|file| fs::write(folder.path().join(file), "x").expect("a file"));
        let found = weights_in(folder.path(), "model.safetensors");
        (folder, found)
    }

    #[test]
    fn a_model_in_the_only_folder_of_a_directory_is_found_and_of_several_none_is_chosen() {
        let outer = tempfile::tempdir().expect("a folder");
        let model = |name: &str| {
            for (part, kind) in [("lm", "heartmula"), ("codec", "heartcodec")] {
                let part = outer.path().join(name).join(part);
                fs::create_dir_all(&part).expect("a folder");
                fs::write(part.join("config.json"), format!(r#"{{"model_type": "{kind}"}}"#)).expect("a file");
            }
        };
        fs::create_dir(outer.path().join("other")).expect("a folder");
        assert_eq!(the_one_inside(outer.path()), None);
        model("one");
        let found = find(Checkpoint::Directory(outer.path().to_owned())).expect("parts");
        assert_eq!((found.language_model.as_str(), found.codec.as_str()), ("lm", "codec"));
        assert_eq!(found.checkpoint.path_of(""), outer.path().join("one/"));
        assert_eq!(the_one_inside(&outer.path().join("one")), None, "it has the parts itself");
        model("two");
        assert_eq!(the_one_inside(outer.path()), None);
        let hub = tempfile::tempdir().expect("a folder");
        fs::rename(outer.path(), hub.path().join(SNAPSHOTS)).expect("moved");
        assert_eq!(the_one_inside(&hub.path().join(SNAPSHOTS)), None, "two versions");
        fs::remove_dir_all(hub.path().join(SNAPSHOTS).join("two")).expect("a folder");
        let found = find(Checkpoint::Directory(hub.path().to_owned())).expect("parts");
        assert_eq!(found.checkpoint.path_of(""), hub.path().join(SNAPSHOTS).join("one/"));
    }

    #[test]
    fn weights_without_an_index_are_found_where_they_are_complete() {
        let two = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(made(&two).1.expect("two shards"), two);
        assert_eq!(made(&["lm-bf16.safetensors", "drafter.safetensors"]).1.expect("one"), ["lm-bf16.safetensors"]);
        assert_eq!(made(&["x-00001-of-00001.safetensors"]).1.expect("one"), ["x-00001-of-00001.safetensors"]);
    }

    #[test]
    fn weights_that_are_not_all_there_or_of_another_kind_are_named() {
        for (files, says) in [
            (&["model-00001-of-00003.safetensors"][..], "missing: 2, 3"),
            (&["pytorch_model.bin", "config.json"], "pytorch_model.bin instead"),
            (&["x.gguf"], "x.gguf instead"),
            (&["config.json", "a.safetensors", "b.safetensors"], "holds a.safetensors, b.safetensors, config.json"),
            (&["model-00001-of-00002.safetensors", "model-00001-of-00003.safetensors"], "No such file"),
            (&[], "holds nothing"),
        ] {
            let error = made(files).1.expect_err(says).to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
