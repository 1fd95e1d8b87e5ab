//! Index of a checkpoint part: the names of its safetensors files.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use super::Checkpoint;
use crate::{
    error::{ModelError, Result},
    foreign_text::shown,
    part_discovery::weights_in,
    text::decode_json,
};

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// Bytes of a file's name, at most: what the file systems in use allow.
const LONGEST_NAME: usize = 255;

/// The safetensors files of a part: those its index names, or the single file. All of them are there.
pub(crate) fn file_names(checkpoint: &Checkpoint, part: &str) -> Result<Vec<String>> {
    if matches!(checkpoint, Checkpoint::Seeded(_)) {
        return Ok(Vec::new());
    }
    let names = named_files(checkpoint, part)?;
    let missing: Vec<&String> = names.iter().filter(|name| !checkpoint.has(&format!("{part}/{name}"))).collect();
    if let Some(first) = missing.first() {
        let all = shown(&missing.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", "));
        return Err(ModelError::Unreadable {
            path: checkpoint.path_of(&format!("{part}/{first}")),
            reason: format!("of the {} files that the checkpoint consists of, missing: {all}", names.len()),
            remedy: "Download the missing files into this directory".to_owned(),
        });
    }
    Ok(names)
}

fn named_files(checkpoint: &Checkpoint, part: &str) -> Result<Vec<String>> {
    let index = format!("{part}/{INDEX}");
    if !checkpoint.has(&index) {
        return match checkpoint {
            Checkpoint::Directory(directory) if !checkpoint.has(&format!("{part}/{SINGLE}")) => {
                weights_in(&directory.join(part), SINGLE)
            }
            _ => Ok(vec![SINGLE.to_owned()]),
        };
    }
    let path = checkpoint.path_of(&index);
    let damaged = |reason: &str| ModelError::Damaged {
        path: path.clone(),
        reason: reason.to_owned(),
        remedy: "Restore the index that came with the checkpoint".to_owned(),
    };
    let index =
        decode_json(&checkpoint.file(&index)?).map_err(|reason| damaged(&format!("it is {}", shown(&reason))))?;
    let map =
        index.get("weight_map").and_then(Value::as_object).ok_or_else(|| damaged("it has no object `weight_map`"))?;
    let mut names = BTreeSet::new();
    for name in map.values() {
        match name.as_str() {
            // An index must not lead out of its own folder.
            Some(name) if name.len() <= LONGEST_NAME && Path::new(name).file_name() == Some(name.as_ref()) => {
                names.insert(name.to_owned())
            }
            _ => {
                let name = shown(&name.to_string());
                return Err(damaged(&format!("`weight_map` must name files of its own folder, but names {name}")));
            }
        };
    }
    if names.is_empty() {
        return Err(damaged("its `weight_map` is empty"));
    }
    Ok(names.into_iter().collect())
}
