//! One file, onto the disk: into a partial file beside its place, from wherever that one ended, and under
//! its own name only when it is complete and verified.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    error::{PullError, Result},
    hub::{Facts, Hub},
    retry::{Backoff, Retryable},
    speed::SpeedMeter,
    verify::Hasher,
};

/// Bytes written at once.
const BLOCK: usize = 1 << 18;
/// Digits of the hash in the name of a partial file: enough to tell two releases of a file apart.
const DIGITS_IN_NAME: usize = 16;
const PARTIAL: &str = ".partial";
/// Bytes that a try must have brought so that the failures before it count no more.
const LEAST_GAIN: u64 = 1 << 15;

/// A file that shall be fetched.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The repository it is in.
    pub repository: &'static str,
    /// Its address.
    pub url: String,
    /// Its place in the model directory.
    pub place: PathBuf,
    /// What the hub says of it.
    pub facts: Facts,
}

impl Wanted {
    /// Bytes of it that are on the disk already, in a partial file.
    pub(crate) fn begun(&self, directory: &Path) -> u64 {
        let there = fs::metadata(self.partial(directory)).map_or(0, |partial| partial.len());
        if self.facts.hash.is_some() && there <= self.facts.size { there } else { 0 }
    }

    /// Where its bytes are gathered. The name has a part of the hash, so bytes of two releases are never mixed.
    fn partial(&self, directory: &Path) -> PathBuf {
        let mut name = self.place.file_name().unwrap_or_default().to_owned();
        if let Some(hash) = self.facts.hash {
            name.push(format!(".{}", &hash.digits()[..DIGITS_IN_NAME]));
        }
        name.push(PARTIAL);
        directory.join(self.place.with_file_name(name))
    }

    /// Removes partial files of other releases, which are never completed.
    fn remove_others(&self, partial: &Path) {
        let (Some(folder), Some(name)) = (partial.parent(), self.place.file_name().and_then(|name| name.to_str()))
        else {
            return;
        };
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let other = entry.file_name();
            let of_same_file = other.to_str().and_then(|other| other.strip_prefix(name)?.strip_suffix(PARTIAL));
            let by_us = |digits: &str| digits.is_empty() || digits.len() == DIGITS_IN_NAME + 1;
            if of_same_file.is_some_and(by_us)
                && entry.path() != partial
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!("cannot remove {}: {error}", entry.path().display());
            }
        }
    }
}

/// Fetches a file into `directory`. `at` receives the count of bytes that are there.
///
/// # Errors
/// When it cannot be had, is not the one that was promised, or cannot be written. What came is kept, unless it is
/// wrong.
pub(crate) fn fetch(hub: &Hub<'_>, wanted: &Wanted, directory: &Path, at: &mut dyn FnMut(u64)) -> Result<()> {
    let mut partial = Partial::open(wanted, directory)?;
    let (mut backoff, mut furthest) = (Backoff::default(), partial.length);
    at(partial.length);
    while partial.length < wanted.facts.size {
        if let Err(retryable) = receive(hub, wanted, &mut partial, at) {
            // A server that starts over each time and never gets further is given up.
            // Nor is one that sends a little each time: that much is less than the lowest speed of a try.
            if partial.length >= furthest + LEAST_GAIN {
                furthest = partial.length;
                backoff.renew();
            }
            hub.wait(&mut backoff, retryable, &wanted.url)?;
        }
    }
    partial.complete(wanted, &directory.join(&wanted.place))
}

/// Receives from one answer what it has.
fn receive(hub: &Hub<'_>, wanted: &Wanted, partial: &mut Partial, at: &mut dyn FnMut(u64)) -> Result<(), Retryable> {
    let size = wanted.facts.size;
    let opened = hub.open(&wanted.url, partial.length)?;
    if let Some(found) = opened.size.filter(|found| *found != size) {
        return Err(partial.wrong_size(wanted, found.to_string()).into());
    }
    if opened.from != partial.length {
        partial.restart(wanted)?; // the server does not give parts of files
    }
    let mut body = opened.body.into_reader();
    let mut block = vec![0; BLOCK];
    let (begun, mut meter) = (Instant::now(), SpeedMeter::new(hub.timeouts.speed));
    while partial.length < size {
        let ended = |why: &str, length| Retryable::Passing {
            reason: format!("{why} after {length} of {size} bytes"),
            delay: None,
        };
        match body.read(&mut block) {
            Ok(0) => return Err(ended("the connection ended", partial.length)),
            Ok(count) if count as u64 > size - partial.length => {
                return Err(partial.wrong_size(wanted, "more".to_owned()).into());
            }
            Ok(count) => {
                partial.append(&block[..count])?;
                if let Some(speed) = meter.came(begun.elapsed(), count as u64) {
                    return Err(ended(&format!("the server sends {speed} bytes a second,"), partial.length));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(ended(&format!("the connection was lost ({error})"), partial.length)),
        }
        at(partial.length);
    }
    Ok(())
}

/// A file that is not complete yet.
struct Partial {
    path: PathBuf,
    file: File,
    length: u64,
    hasher: Hasher,
    /// Keeps others from writing to it.
    #[cfg(unix)]
    _lock: Option<nix::fcntl::Flock<File>>,
}

impl Partial {
    /// Opens it, or makes it; hashes what it has.
    fn open(wanted: &Wanted, directory: &Path) -> Result<Self> {
        let path = wanted.partial(directory);
        let folder = path.parent().unwrap_or(directory);
        fs::create_dir_all(folder).map_err(PullError::disk("make the directory", folder))?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        let file = open_own(&mut options, &path).map_err(PullError::disk("write", &path))?;
        #[cfg(unix)]
        let _lock = lock(&file, &path)?;
        wanted.remove_others(&path);
        let Facts { size, hash, .. } = wanted.facts;
        let length = wanted.begun(directory);
        let mut partial = Self {
            hasher: Hasher::like(hash, size),
            path,
            file,
            length,
            #[cfg(unix)]
            _lock,
        };
        if length == 0 {
            partial.restart(wanted)?;
        } else {
            let hashed = partial.hasher.update_from(&partial.file);
            hashed.map_err(PullError::disk("read", &partial.path))?;
        }
        Ok(partial)
    }

    /// Forgets everything that it has.
    fn restart(&mut self, wanted: &Wanted) -> Result<()> {
        self.file.set_len(0).map_err(PullError::disk("write", &self.path))?;
        self.length = 0;
        self.hasher = Hasher::like(wanted.facts.hash, wanted.facts.size);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(PullError::disk("write", &self.path))?;
        self.length += bytes.len() as u64;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Gives the file its own name, if it is what was promised.
    fn complete(self, wanted: &Wanted, place: &Path) -> Result<()> {
        let found = self.hasher.finish();
        if let (Some(expected), Some(found)) = (wanted.facts.hash, found)
            && expected != found
        {
            discard(&self.path);
            let (place, url) = (place.to_owned(), wanted.url.clone());
            return Err(PullError::WrongHash { place, url, expected, found });
        }
        // After a power cut, a name without its bytes would look complete.
        self.file.sync_all().map_err(PullError::disk("write", &self.path))?;
        fs::rename(&self.path, place).map_err(PullError::disk("write", place))
    }

    /// The error of another length than was promised; nothing is kept.
    fn wrong_size(&self, wanted: &Wanted, found: String) -> PullError {
        discard(&self.path);
        PullError::WrongSize {
            place: wanted.place.clone(),
            url: wanted.url.clone(),
            expected: wanted.facts.size,
            found,
        }
    }
}

/// Opens a file of this program's own: a regular file under its own name. A link that was planted there would lead to a
/// file that is not meant, and a named pipe would be waited for.
pub(super) fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    #[cfg(unix)]
    {
        use nix::fcntl::OFlag;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits());
    }
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!("cannot remove {}: {error}", path.display());
    }
}

/// Locks a partial file, where the file system knows locks.
#[cfg(unix)]
fn lock(file: &File, path: &Path) -> Result<Option<nix::fcntl::Flock<File>>> {
    use nix::{
        errno::Errno,
        fcntl::{Flock, FlockArg},
    };
    let file = file.try_clone().map_err(PullError::disk("write", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Err(PullError::Busy { path: path.to_owned() }),
        Err((_, error)) => {
            tracing::info!("{} cannot be locked: {error}", path.display());
            Ok(None)
        }
    }
}
