//! A pull without a network: from the cache of the hub's own programs, where all of a version is in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hf_hub::Repo;

use super::{
    catalogue::{self, Source, Version},
    error::{PullError, Result},
    hub::Facts,
    settings::Settings,
    transfer::Wanted,
    verify::Hash,
};

/// Refuses every connection, as the hub's own programs understand it.
pub(super) const OFFLINE: &str = "HF_HUB_OFFLINE";
/// The branch that is taken from the cache.
const BRANCH: &str = "main";
/// A reference of the cache is a commit of 40 digits.
const LONGEST_REF: u64 = 64;

/// The files of `version` in the cache, each with the path at which it lies there.
///
/// # Errors
/// When a repository or a file is missing there.
pub(super) fn survey(settings: &Settings, version: Version) -> Result<Vec<(Wanted, PathBuf)>> {
    let mut files = Vec::new();
    for source in catalogue::sources(version) {
        files.extend(repository(settings.cache.path(), source)?);
    }
    Ok(files)
}

fn repository(cache: &Path, source: Source) -> Result<Vec<(Wanted, PathBuf)>> {
    let folder = cache.join(Repo::model(source.repository.to_owned()).folder_name());
    let reference = folder.join("refs").join(BRANCH);
    let missing = |path: &Path| PullError::NotCached { path: path.to_owned(), repository: source.repository };
    let small = fs::metadata(&reference).is_ok_and(|found| found.is_file() && found.len() <= LONGEST_REF);
    let commit = if small { fs::read_to_string(&reference).ok() } else { None };
    let commit = commit.map(|commit| commit.trim().to_owned()).filter(|commit| super::response::is_commit(commit));
    let commit = commit.ok_or_else(|| missing(&reference))?;
    let snapshot = folder.join("snapshots").join(&commit);
    let entry = |file: &str| {
        let path = snapshot.join(file);
        let there = path.canonicalize().ok().and_then(|blob| Some((fs::metadata(&blob).ok()?.len(), blob)));
        let (size, blob) = there.filter(|(_, blob)| blob.is_file()).ok_or_else(|| missing(&path))?;
        // A blob is called by the hash that the hub gave for it.
        let hash = blob.file_name().and_then(|name| name.to_str()).and_then(Hash::from_etag);
        let facts = Facts { size, hash, commit: Some(commit.clone()) };
        let url = format!("{} of {} in the cache", file, source.repository);
        Ok((Wanted { repository: source.repository, url, place: source.place(file), facts }, blob))
    };
    let mut files = source.files.iter().map(|file| entry(file)).collect::<Result<Vec<_>>>()?;
    if !source.weights {
        return Ok(files);
    }
    let Ok((index, path)) = entry(catalogue::INDEX) else {
        files.push(entry(catalogue::SINGLE)?);
        return Ok(files);
    };
    if index.facts.size > super::LARGEST_INDEX {
        return Err(missing(&path));
    }
    let bytes = fs::read(&path).map_err(PullError::disk("read", &path))?;
    let bad = |problem| PullError::BadIndex { place: path.clone(), repository: source.repository, problem };
    for shard in catalogue::shards(&bytes).map_err(bad)? {
        files.push(entry(&shard)?);
    }
    files.push((index, path));
    Ok(files)
}
