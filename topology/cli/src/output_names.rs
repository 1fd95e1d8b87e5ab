//! Names of the files that are written: the next free one where none was given, and only such as say what is in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use heartstream_formats::Format;

use super::Failed;

/// Where a song goes when nothing is said.
pub(super) const USUAL: &str = "song.wav";
/// Endings of WAV files.
const WAV: [&str; 4] = ["wav", "wave", "bwf", "rf64"];
/// Endings of other sound, of video, of text and of what this program itself writes: a WAV of such a name is a slip.
const OTHERS: [&str; 47] = [
    "w64",
    "mp3",
    "mp2",
    "mp4",
    "m4a",
    "m4b",
    "aac",
    "flac",
    "ogg",
    "oga",
    "opus",
    "aif",
    "aiff",
    "aifc",
    "au",
    "snd",
    "caf",
    "wma",
    "wv",
    "ape",
    "alac",
    "mka",
    "mkv",
    "webm",
    "avi",
    "mov",
    "ac3",
    "amr",
    "raw",
    "pcm",
    "mid",
    "midi",
    "mod",
    "txt",
    "md",
    "lrc",
    "json",
    "jsonl",
    "yaml",
    "csv",
    "html",
    "pdf",
    "png",
    "svg",
    "safetensors",
    "zip",
    "gz",
];
/// How many of these are audio or video.
const AUDIO: usize = 33;

/// `song.wav`, or the first of `song-2.wav`, `song-3.wav`, … that is not there; or with another suffix.
pub(super) fn next_free(suffix: &str) -> PathBuf {
    let is_free = |name: &PathBuf| fs::symlink_metadata(name).is_err();
    let usual = Path::new(USUAL).with_extension(suffix);
    let numbered = (2..u32::MAX).map(|number| PathBuf::from(format!("song-{number}.{suffix}")));
    std::iter::once(usual.clone()).chain(numbered).find(is_free).unwrap_or(usual)
}

/// Refuses a song in a file whose name says that it is something else than what this program writes.
pub(super) fn must_be_a_format(path: &Path) -> Result<(), Failed> {
    let suffix = suffix(path);
    if Format::of_path(path).is_some() || !OTHERS.contains(&suffix.as_str()) {
        return Ok(());
    }
    let wav = path.with_extension(WAV[0]);
    let mut remedy = format!("Give -o {}", wav.display());
    if OTHERS[..AUDIO].contains(&suffix.as_str()) {
        let convert = format!("heartstream render -o - | ffmpeg -i - {}", path.display());
        remedy = format!("{remedy} and convert it afterwards, or at once: {convert}");
    }
    Err(Failed::Usage(format!(
        "songs are written as WAV, FLAC, Opus or MP3, and {} says .{suffix}. {remedy}",
        path.display()
    )))
}

/// Refuses what is no sound in a file whose name says that it is.
pub(super) fn no_audio(option: &str, path: &Path) -> Result<(), Failed> {
    let suffix = suffix(path);
    if !WAV.contains(&suffix.as_str()) && !OTHERS[..AUDIO].contains(&suffix.as_str()) {
        return Ok(());
    }
    let (kind, usual) = if option == "record" { ("JSON", "json") } else { ("codes and no sound", "codes") };
    Err(Failed::Usage(format!(
        "--{option} writes {kind}, and {} says .{suffix}. Give it another file, such as {}",
        path.display(),
        path.with_extension(usual).display()
    )))
}

fn suffix(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: Result<(), Failed>) -> String {
        match result {
            Err(Failed::Usage(said)) => said,
            other => panic!("expected a refusal, found {other:?}"),
        }
    }

    #[test]
    fn a_song_is_refused_a_name_that_says_another_format_and_told_what_to_do() {
        for name in ["song.OGG", "song.w64", "a/b.m4a", "song.mid"] {
            let said = said(must_be_a_format(name.as_ref()));
            assert!(said.contains("written as WAV") && said.contains("ffmpeg") && said.contains(".wav"), "{said}");
        }
        assert!(!said(must_be_a_format("lyrics.txt".as_ref())).contains("ffmpeg"));
        for name in [
            "song.wav",
            "song.WAV",
            "song.FLAC",
            "song.opus",
            "song",
            "song.part",
            "song.v2",
            "/dev/null",
            "song.wave",
            "",
        ] {
            assert!(must_be_a_format(name.as_ref()).is_ok(), "{name}");
        }
    }

    #[test]
    fn what_is_no_sound_is_refused_a_name_that_says_it_is() {
        assert!(said(no_audio("record", "song.wav".as_ref())).contains("song.json"));
        assert!(said(no_audio("save-codes", "song.mp3".as_ref())).contains("song.codes"));
        assert!(no_audio("record", "song.json".as_ref()).is_ok() && no_audio("save-codes", "x".as_ref()).is_ok());
    }

    #[test]
    fn audio_comes_before_the_others() {
        assert_eq!(OTHERS[AUDIO - 1..=AUDIO], ["mod", "txt"]);
    }
}
