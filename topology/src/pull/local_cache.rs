//! Local cache: files that are on this machine already, in the cache of the hub's own programs or in a directory beside
//! this one.
//!
//! It then becomes a second name of the same bytes where the file system can do that, and takes no room.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{hub::Hub, record::Record, transfer::Wanted, verify};

/// Puts a file that is found nearby into `directory`. Says where it was found; `None` when it must be fetched.
pub(crate) fn take(hub: &Hub<'_>, wanted: &Wanted, directory: &Path) -> Option<PathBuf> {
    let found = in_cache(hub, wanted).or_else(|| beside(wanted, directory))?;
    match put(&found, &directory.join(&wanted.place)) {
        Ok(()) => Some(found),
        Err(error) => {
            tracing::info!("cannot take {}: {error}", found.display());
            None
        }
    }
}

/// The file in the cache. It is hashed, as it may have changed.
fn in_cache(hub: &Hub<'_>, wanted: &Wanted) -> Option<PathBuf> {
    let path = hub.cached(wanted.repository, wanted.facts.hash?);
    verify::is_file(&path, wanted.facts.size, wanted.facts.hash).is_ok_and(|it_is| it_is).then_some(path)
}

/// The file in another directory that was pulled beside this one: versions share their codec.
fn beside(wanted: &Wanted, directory: &Path) -> Option<PathBuf> {
    let others = fs::read_dir(directory.parent()?).ok()?;
    let mut others = others.flatten().map(|entry| entry.path()).filter(|other| other != directory);
    let other = others.find(|other| Record::read(other).is_current(other, &wanted.place, &wanted.facts))?;
    Some(other.join(&wanted.place))
}

/// Gives `found` the name `place` too, or copies it there.
pub(super) fn put(found: &Path, place: &Path) -> io::Result<()> {
    fs::create_dir_all(place.parent().unwrap_or(place))?;
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".taken");
    let new = place.with_file_name(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    // What the cache names may be a link, and a second name of the link would not be the file.
    let found = &found.canonicalize()?;
    let put = fs::hard_link(found, &new).or_else(|_| fs::copy(found, &new).map(|_| ()));
    put.and_then(|()| fs::rename(&new, place)).inspect_err(|_| drop(fs::remove_file(&new)))
}
