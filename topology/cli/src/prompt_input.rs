//! Tags and lyrics: from the command line, a file, standard input, or the program's own sample.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use heartstream_models::text::{decode, with_plain_lines};

use super::{Failed, arg_groups::WordsArgs, path_like};

const SAMPLE_TAGS: &str = include_str!("../sample/tags.txt");
const SAMPLE_LYRICS: &str = include_str!("../sample/lyrics.txt");

/// Words longer than this are not read: the largest model has 8192 positions, and a position is at least a byte.
const MOST_BYTES: u64 = 1 << 20;
/// Stands for standard input.
const STANDARD_INPUT: &str = "-";

/// Tags and lyrics.
pub(super) struct Words {
    pub tags: String,
    pub lyrics: String,
    /// What was changed in them, in sentences.
    pub notes: Vec<String>,
}

impl Words {
    pub(super) fn new(tags: impl Into<String>, lyrics: impl Into<String>) -> Self {
        Self { tags: tags.into(), lyrics: lyrics.into(), notes: Vec::new() }
    }
}

/// The program's own sample.
pub(super) fn sample() -> Words {
    Words::new(SAMPLE_TAGS, SAMPLE_LYRICS)
}

/// Reads what was asked for.
pub(super) fn read(args: &WordsArgs) -> Result<Words, Failed> {
    let (tags, lyrics) = (args.tags.as_deref(), args.lyrics.as_deref());
    if (tags, lyrics) == (Some(STANDARD_INPUT), Some(STANDARD_INPUT)) {
        let problem = "tags and lyrics cannot both be read from standard input";
        return Err(Failed::Usage(format!("{problem}. Give one of them a file, or write the tags out")));
    }
    let mut words = sample();
    let mut notes = Vec::new();
    if let Some(given) = tags {
        words.tags = argument("tags", given, &mut notes)?;
    }
    if let Some(given) = lyrics {
        words.lyrics = argument("lyrics", given, &mut notes)?;
    }
    Ok(Words { notes, ..words })
}

/// The text in a file.
pub(super) fn file(what: &str, path: &Path) -> Result<String, Failed> {
    text(what, &path.display().to_string(), open(path).and_then(limited))
}

/// A text is a file when there is one of that name, as in the reference; what looks like a path but is none is a
/// mistake rather than words.
fn argument(what: &str, given: &str, notes: &mut Vec<String>) -> Result<String, Failed> {
    if given == STANDARD_INPUT {
        return text(what, "standard input", limited(io::stdin().lock()));
    }
    let path = Path::new(given);
    match fs::metadata(path) {
        // A named pipe is read like a file: a shell's <(command) is one.
        Ok(found) if !found.is_dir() => return file(what, path),
        Ok(_) => {
            return Err(Failed::Usage(format!(
                "{given} is a directory, and the {what} are read from a file. Give a text file"
            )));
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return text(what, given, Err(error)),
        Err(_) => (),
    }
    path_like::refuse(what, given)?;
    if given.contains('\n') || !given.contains("\\n") {
        return Ok(given.to_owned());
    }
    // Within quotes a shell leaves \n as it is, and no song has a backslash in it.
    notes.push(format!("each \\n in the {what} is a line break"));
    Ok(given.replace("\\r\\n", "\n").replace("\\n", "\n"))
}

/// Opens a file. A pipe is waited for, as a shell's `<(command)` is; a regular file never has anything to wait for, and what
/// looks like one and has, such as Linux's /proc/kmsg, is an error.
fn open(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    if path.is_file() {
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, nix::fcntl::OFlag::O_NONBLOCK.bits());
    }
    options.open(path)
}

fn limited(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(what: &str, source: &str, bytes: io::Result<Vec<u8>>) -> Result<String, Failed> {
    let bytes = bytes.map_err(|error| {
        Failed::Usage(format!("cannot read the {what} from {source}: {error}. Give a text file that may be read"))
    })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Failed::Usage(format!(
            "the {what} in {source} are longer than 1 MiB, which no model reads. Shorten them"
        )));
    }
    let text = decode(&bytes)
        .map_err(|error| Failed::Usage(format!("the {what} in {source} are {error}. {}", error.remedy())))?;
    Ok(with_plain_lines(&text).into_owned())
}
