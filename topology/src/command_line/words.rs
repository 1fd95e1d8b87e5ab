//! Where do tags and lyrics come from? The command line, a file, standard input, or the program's own sample.

use std::{
    fs,
    io::{self, Read},
    path::Path,
};

use super::{Failed, arg_groups::WordsArgs};

const SAMPLE_TAGS: &str = include_str!("../../sample/tags.txt");
const SAMPLE_LYRICS: &str = include_str!("../../sample/lyrics.txt");

/// Words longer than this are not read: the largest model has 8192 positions, and a position is at least a byte.
const MOST_BYTES: u64 = 1 << 20;

/// Tags and lyrics.
pub(super) struct Words {
    pub tags: String,
    pub lyrics: String,
}

/// The program's own sample.
pub(super) fn sample() -> Words {
    Words { tags: SAMPLE_TAGS.to_owned(), lyrics: SAMPLE_LYRICS.to_owned() }
}

/// Reads what was asked for.
pub(super) fn read(args: &WordsArgs) -> Result<Words, Failed> {
    let tags = match &args.tags {
        None => SAMPLE_TAGS.to_owned(),
        Some(text) => text_or_file("tags", text)?,
    };
    let lyrics = match args.lyrics.as_deref() {
        None => SAMPLE_LYRICS.to_owned(),
        Some("-") => decode("lyrics", "standard input", limited(io::stdin().lock()))?,
        Some(text) => text_or_file("lyrics", text)?,
    };
    Ok(Words { tags, lyrics })
}

/// The text in a file.
pub(super) fn file(what: &str, path: &Path) -> Result<String, Failed> {
    decode(what, &path.display().to_string(), fs::File::open(path).and_then(limited))
}

/// A text is a file when there is one of that name, as in the reference; what looks like a path but is none is a
/// mistake rather than words.
fn text_or_file(what: &str, text: &str) -> Result<String, Failed> {
    let path = Path::new(text);
    if path.is_file() {
        return decode(what, text, fs::File::open(path).and_then(limited));
    }
    if path.is_dir() {
        return Err(Failed::Usage(format!(
            "{text} is a directory, and the {what} are read from a file. Give a text file"
        )));
    }
    if path.exists() {
        return decode(what, text, fs::File::open(path).and_then(limited)); // a named pipe, a shell's <(command)
    }
    let suffix = path
        .extension()
        .is_some_and(|suffix| ["txt", "lrc", "md"].iter().any(|known| suffix.eq_ignore_ascii_case(known)));
    let looks_like_path = suffix || ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    if looks_like_path && !text.contains(char::is_whitespace) {
        return Err(Failed::Usage(format!(
            "there is no file {text} to read the {what} from. Give a file that exists, or the {what} themselves"
        )));
    }
    Ok(text.to_owned())
}

fn limited(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decode(what: &str, source: &str, bytes: io::Result<Vec<u8>>) -> Result<String, Failed> {
    let bytes = bytes.map_err(|error| {
        Failed::Usage(format!("cannot read the {what} from {source}: {error}. Give a text file that may be read"))
    })?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Failed::Usage(format!(
            "the {what} in {source} are longer than 1 MiB, and no model reads so much. Shorten them"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Failed::Usage(format!(
            "the {what} in {source} are not UTF-8 text: byte {place} is wrong. Save the file as UTF-8"
        ))
    })
}
