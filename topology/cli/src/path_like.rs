//! Words that look like the path of a file that is not there: a slip that would be sung.

use std::{ffi::OsStr, fs, path::Path};

use super::Failed;

/// Endings of files: of text, and of what people take for another option's file.
const SUFFIXES: [&str; 38] = [
    "txt", "text", "lrc", "md", "json", "jsonl", "yaml", "yml", "csv", "tsv", "rtf", "doc", "docx", "odt", "pages",
    "pdf", "srt", "vtt", "ass", "html", "htm", "xml", "toml", "ini", "log", "lyrics", "epub", "tex", "wav", "mp3",
    "flac", "ogg", "m4a", "mid", "midi", "codes", "png", "jpg",
];
/// Beginnings that only paths and addresses have.
const STARTS: [&str; 9] = ["/", "./", "../", "~/", "\\\\", ".\\", "..\\", "file:", "@/"];
/// Longer than any path.
const LONGEST: usize = 4096;

/// Refuses `given`, of which no file is called, if it looks like a path. `what` is `tags` or `lyrics`.
pub(super) fn refuse(what: &str, given: &str) -> Result<(), Failed> {
    let text = bare(given);
    // Line breaks, section marks and lists are no part of paths.
    let is_words = text.contains('\n') || text.starts_with(['[', '<', '{', '"']) || text.len() > LONGEST;
    if is_words || what == "tags" && text.contains(',') {
        return Ok(());
    }
    if ["http://", "https://"].iter().any(|start| text.starts_with(start)) {
        return Err(Failed::Usage(format!(
            "{text:?} is an address, and the {what} are read from a file. Download it, or give the {what} themselves"
        )));
    }
    let near = near(text).filter(|_| what == "lyrics");
    if !is_like_path(what, text) && near.is_none() {
        return Ok(());
    }
    let mut sentence = format!("there is no file {text:?} to read the {what} from");
    if let Some(near) = near {
        sentence += &format!(", but there is {near:?}");
    }
    if text.starts_with('~') {
        sentence += " (in quotes, a shell does not put your home directory in place of ~)";
    }
    let quote = if text.contains('\'') { '"' } else { '\'' };
    let all_the_same = match what {
        "lyrics" => format!("to sing these words, write --lyrics {quote}[Verse]\\n{text}{quote}"),
        _ => format!("to have these tags, write --tags {quote}{text},{quote}"),
    };
    Err(Failed::Usage(format!("{sentence}. Give a file that exists; {all_the_same}")))
}

/// What is given without the quotes that a shell left on it, and without `<`, which a shell would have read.
fn bare(given: &str) -> &str {
    let text = given.trim();
    let redirected = text.strip_prefix('<').filter(|rest| !rest.contains(['<', '>'])).map_or(text, str::trim_start);
    let quoted = |quote| redirected.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).filter(|inside| !inside.contains('\n')).unwrap_or(redirected)
}

fn is_like_path(what: &str, text: &str) -> bool {
    let suffix = Path::new(text).extension().and_then(OsStr::to_str).unwrap_or_default().to_lowercase();
    let drive = matches!(text.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic());
    if SUFFIXES.contains(&suffix.as_str()) || drive || STARTS.iter().any(|start| text.starts_with(start)) {
        return true;
    }
    // Only lyrics of a single word can be a bare name. `\n` is a line break, and `ac/dc` is a tag.
    if text.contains(char::is_whitespace) || text.contains("\\n") {
        return false;
    }
    let lower = text.to_lowercase();
    match what {
        "lyrics" => text.contains(['/', '\\', '_', '~']) || lower.contains("lyrics") || lower == "song",
        _ => text.contains('\\') || lower.ends_with("tags") || lower.contains("lyrics"),
    }
}

/// A file beside the one that is not there, whose name only ends otherwise.
fn near(text: &str) -> Option<String> {
    let path = Path::new(text);
    let stem = path.file_stem()?.to_str()?.to_lowercase();
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(".".as_ref());
    let mut names: Vec<String> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            let name = Path::new(name);
            let suffix = name.extension().and_then(OsStr::to_str).unwrap_or_default().to_lowercase();
            let same = name.file_stem().and_then(OsStr::to_str).is_some_and(|name| name.to_lowercase() == stem);
            same && SUFFIXES.contains(&suffix.as_str())
        })
        .collect();
    names.sort();
    let name = names.into_iter().next()?;
    Some(path.with_file_name(name).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_path_is_refused_with_how_to_sing_it_all_the_same() {
        for path in [
            "my song.txt",
            "~/lyrics",
            "lyrics.json",
            "my_lyrics",
            "lyrics",
            "songs/one",
            "/tmp/my words",
            "C:\\songs\\new.txt",
            "../x",
            "Song.DOCX",
            "file:///x",
            "song.wav",
            "my song.mp3",
            "\"lyrics.txt\"",
            "'my lyrics.txt'",
            "<lyrics.txt",
        ] {
            let Err(Failed::Usage(said)) = refuse("lyrics", path) else { panic!("{path} is sung") };
            assert!(said.contains("no file") && said.contains("--lyrics '[Verse]\\n"), "{said}");
        }
        for path in ["tags.txt", "my_tags", "./tags", "~/tags"] {
            let Err(Failed::Usage(said)) = refuse("tags", path) else { panic!("{path} is taken as tags") };
            assert!(said.contains("no file") && said.contains(&format!("--tags '{path},'")), "{said}");
            assert!(refuse("tags", &format!("{path},")).is_ok());
        }
        assert!(matches!(refuse("lyrics", "https://example.org/song"), Err(Failed::Usage(_))));
    }

    #[test]
    fn words_are_words() {
        for words in [
            "la",
            "Hallelujah",
            "a/b and c",
            "Mr. Moon",
            "[Verse]\\nmy song.txt",
            "la\\nla",
            "x\ny.txt",
            "...",
            "",
            "\"Hello\"",
            "<3",
        ] {
            assert!(refuse("lyrics", words).is_ok(), "{words}");
        }
        for tags in ["piano,calm", "ac/dc", "hip_hop", "r&b", "lo-fi", "", "piano.happy"] {
            assert!(refuse("tags", tags).is_ok(), "{tags}");
        }
    }
}
