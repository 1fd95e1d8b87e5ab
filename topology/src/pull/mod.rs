//! Published checkpoints, from the hub into a directory that the engine loads.
//!
//! - `catalogue`: what there is, and which file goes where
//! - `settings`, `hub`, `response`, `retry`, `timeouts`: the endpoint, requests, responses, retries, and when to retry
//! - `transfer`, `verify`: one file, from a partial one to one whose hash is right
//! - `record`, `local_cache`, `offline`: files that are there already

mod catalogue;
mod error;
mod hub;
mod local_cache;
mod offline;
mod record;
mod response;
mod retry;
mod settings;
#[cfg(test)]
mod slow_servers;
mod speed;
mod timeouts;
mod transfer;
mod verify;

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
};

pub use catalogue::Version;
pub use error::{Bytes, PullError, Result};
use hub::{Facts, Hub};
use record::Record;
use settings::Settings;
use transfer::Wanted;
pub use verify::Hash;

/// The branch that is asked for where a repository's commit is not known yet.
const BRANCH: &str = "main";
/// An index of shards has some hundred entries; what is larger is none.
const LARGEST_INDEX: u64 = 16 << 20;
/// Hashing a file of this size takes long enough to be announced.
const LONG_TO_HASH: u64 = 1 << 29;

/// Receives the progress of a pull.
pub trait Watcher {
    /// A sentence about what was found or is being done.
    fn say(&mut self, sentence: &str);
    /// It is now known that `bytes` in `files` files are to be fetched.
    fn begin(&mut self, files: usize, bytes: u64);
    /// `bytes` of them are there; `file` is being fetched.
    fn at(&mut self, file: &Path, bytes: u64);
}

/// Result of a pull.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulled {
    /// Files of the model.
    pub files: usize,
    /// Their bytes.
    pub bytes: Bytes,
    /// Files among them that were not there before.
    pub new_files: usize,
}

/// Default directory of `version`.
pub fn default_directory(version: Version) -> PathBuf {
    settings::default_directory(version.name())
}

/// Makes `directory` hold `version`, complete and verified. What is there and right is not fetched again.
///
/// # Errors
/// When a file cannot be had or written; everything that came before stays for the next time.
pub fn pull(version: Version, directory: &Path, watcher: &mut dyn Watcher) -> Result<Pulled> {
    let record = Record::read(directory);
    if !record.version.is_empty() && record.version != version.name() {
        return Err(PullError::OtherVersion { directory: directory.to_owned(), holds: record.version, asked: version });
    }
    let settings = Settings::from_environment()?;
    let cached = offline::survey(&settings, version);
    let is_offline = settings.is_offline;
    let watcher = RefCell::new(watcher);
    let say = |news: &str| watcher.borrow_mut().say(news);
    let hub = Hub::new(settings, catalogue::by_hand(version, directory), &say);
    let mut pull = Pull { hub, record, version, directory, watcher: &watcher };
    let surveyed = if is_offline { None } else { Some(pull.survey_all()) };
    let files = match (surveyed, cached) {
        (Some(Ok(files)), _) => files,
        // Without a network, the cache is as good: every file of it is verified.
        (Some(Err(PullError::Unreachable { host, reason, .. })), Ok(cached)) => {
            pull.say(&format!("{host} cannot be reached ({reason}), and all of it is in the cache"));
            return pull.take_all(cached);
        }
        (Some(Err(error)), _) => return Err(error),
        (None, cached) => return pull.take_all(cached?),
    };
    let new_files = pull.complete(&files)?;
    let bytes = Bytes(files.iter().map(|file| file.facts.size).sum());
    Ok(Pulled { files: files.len(), bytes, new_files })
}

/// A pull under way.
struct Pull<'a, 'w> {
    hub: Hub<'a>,
    record: Record,
    version: Version,
    directory: &'a Path,
    watcher: &'a RefCell<&'w mut dyn Watcher>,
}

impl Pull<'_, '_> {
    fn say(&self, sentence: &str) {
        self.watcher.borrow_mut().say(sentence);
    }

    /// Finds out which files there are in all repositories.
    fn survey_all(&mut self) -> Result<Vec<Wanted>> {
        let mut files = Vec::new();
        for source in catalogue::sources(self.version) {
            files.extend(self.survey(source)?);
        }
        Ok(files)
    }

    /// Takes everything from the cache.
    fn take_all(mut self, cached: Vec<(Wanted, PathBuf)>) -> Result<Pulled> {
        let mut new_files = 0;
        for (wanted, found) in &cached {
            if self.is_there(wanted)? {
                continue;
            }
            let place = self.directory.join(&wanted.place);
            let Facts { size, hash, .. } = wanted.facts;
            if !verify::is_file(found, size, hash).map_err(PullError::disk("read", found))? {
                return Err(PullError::NotCached { path: found.clone(), repository: wanted.repository });
            }
            local_cache::put(found, &place).map_err(PullError::disk("write", &place))?;
            self.record.note(self.directory, self.version.name(), wanted)?;
            new_files += 1;
        }
        let bytes = Bytes(cached.iter().map(|(wanted, _)| wanted.facts.size).sum());
        Ok(Pulled { files: cached.len(), bytes, new_files })
    }

    /// Finds out which files there are in a repository. Its index of shards is fetched for that.
    fn survey(&mut self, source: catalogue::Source) -> Result<Vec<Wanted>> {
        let mut repository = Repository { source, revision: BRANCH.to_owned() };
        let mut files = Vec::new();
        for file in source.files {
            files.push(repository.ask(&self.hub, file)?);
        }
        if !source.weights {
            return Ok(files);
        }
        let index = match repository.ask(&self.hub, catalogue::INDEX) {
            Err(PullError::NotFound { .. }) => {
                files.push(repository.ask(&self.hub, catalogue::SINGLE)?);
                return Ok(files);
            }
            index => index?,
        };
        for shard in self.shards(&index)? {
            files.push(repository.ask(&self.hub, &shard)?);
        }
        files.push(index);
        Ok(files)
    }

    /// The shards that an index names, once the index itself is here.
    fn shards(&mut self, index: &Wanted) -> Result<Vec<String>> {
        let place = self.directory.join(&index.place);
        let bad = |problem| PullError::BadIndex { place: place.clone(), repository: index.repository, problem };
        if index.facts.size > LARGEST_INDEX {
            return Err(bad(format!("it has {}", Bytes(index.facts.size))));
        }
        if !self.is_there(index)? && !self.is_nearby(index)? {
            self.obtain(index, &mut |_, _| ())?;
        }
        let bytes = fs::read(&place).map_err(PullError::disk("read", &place))?;
        Ok(catalogue::shards(&bytes).map_err(bad)?.into_iter().collect())
    }

    /// Fetches those of `files` that are not there, the small ones first. Returns how many those were.
    fn complete(&mut self, files: &[Wanted]) -> Result<usize> {
        let mut missing = Vec::new();
        for file in files {
            if !self.is_there(file)? {
                missing.push(file);
            }
        }
        missing.sort_by_key(|file| file.facts.size);
        let new_files = missing.len();
        let mut fetch = Vec::new();
        for file in missing {
            if !self.is_nearby(file)? {
                fetch.push(file);
            }
        }
        self.check_room(&fetch)?;
        let bytes = |file: &&Wanted| file.facts.size;
        self.watcher.borrow_mut().begin(fetch.len(), fetch.iter().map(bytes).sum());
        let mut before = 0;
        for file in fetch {
            self.obtain(file, &mut |watcher, bytes| watcher.at(&file.place, before + bytes))?;
            before += file.facts.size;
        }
        Ok(new_files)
    }

    /// Whether a file is in its place and right.
    fn is_there(&mut self, file: &Wanted) -> Result<bool> {
        if self.record.is_current(self.directory, &file.place, &file.facts) {
            return Ok(true);
        }
        let place = self.directory.join(&file.place);
        if !place.exists() {
            return Ok(false);
        }
        let Facts { size, hash, .. } = file.facts;
        if size >= LONG_TO_HASH {
            self.say(&format!("{} is there already: it is being verified", place.display()));
        }
        let right = verify::is_file(&place, size, hash).map_err(PullError::disk("read", &place))?;
        if right {
            self.record.note(self.directory, self.version.name(), file)?;
        } else {
            self.say(&format!("{} is not what the hub has: it is fetched anew", place.display()));
        }
        Ok(right)
    }

    /// Whether a file was elsewhere on this machine, and is now in its place too.
    fn is_nearby(&mut self, file: &Wanted) -> Result<bool> {
        let Some(found) = local_cache::take(&self.hub, file, self.directory) else { return Ok(false) };
        self.record.note(self.directory, self.version.name(), file)?;
        self.say(&format!("{} was found in {}", file.place.display(), found.display()));
        Ok(true)
    }

    /// Fetches a file.
    fn obtain(&mut self, file: &Wanted, at: &mut dyn FnMut(&mut dyn Watcher, u64)) -> Result<()> {
        if file.facts.hash.is_none() {
            let place = file.place.display();
            self.say(&format!("the server gives no hash of {place}, so only its length is checked"));
        }
        transfer::fetch(&self.hub, file, self.directory, &mut |bytes| at(&mut **self.watcher.borrow_mut(), bytes))?;
        self.record.note(self.directory, self.version.name(), file)
    }

    /// Makes sure that what is to come fits on the disk.
    fn check_room(&self, files: &[&Wanted]) -> Result<()> {
        let sizes = files.iter().map(|file| file.facts.size - file.begun(self.directory));
        let needed = Bytes(sizes.fold(0, u64::saturating_add));
        match free_bytes(self.directory) {
            Some(free) if free < needed => {
                Err(PullError::NoRoom { directory: self.directory.to_owned(), needed, free })
            }
            _ => Ok(()),
        }
    }
}

/// A repository, and the commit of it that all files are taken from.
struct Repository {
    source: catalogue::Source,
    revision: String,
}

impl Repository {
    /// Asks the hub for a file of it.
    fn ask(&mut self, hub: &Hub<'_>, file: &str) -> Result<Wanted> {
        let url = hub.url(self.source.repository, &self.revision, file);
        let facts = hub.facts(&url)?;
        if let Some(commit) = &facts.commit {
            // Pins the commit: files of two releases would not fit together.
            self.revision.clone_from(commit);
        }
        let url = hub.url(self.source.repository, &self.revision, file);
        Ok(Wanted { repository: self.source.repository, url, place: self.source.place(file), facts })
    }
}

/// Bytes that may be written to the disk of `directory`, or of the nearest directory above that is there; `None` where
/// the system does not say.
fn free_bytes(directory: &Path) -> Option<Bytes> {
    #[cfg(unix)]
    {
        let absolute = std::path::absolute(directory).ok()?;
        let there = absolute.ancestors().find(|path| path.exists())?;
        let disk = nix::sys::statvfs::statvfs(there).ok()?;
        Some(Bytes((disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64)))
    }
    #[cfg(not(unix))]
    {
        let _ = directory;
        None
    }
}
