//! Normalisation of lyrics: what a file of lyrics has beside the words is taken out, or pointed at.

use super::{encoding::with_plain_lines, notes::WordsNote};
use crate::error::{ModelError, Result};

/// What stands between the two times of a subtitle in SRT and WebVTT.
const ARROW: &str = "\u{2d}->";
/// Headers of an LRC file, written as `[ar:…]`.
const HEADERS: [&str; 13] = ["ti", "ar", "al", "au", "by", "offset", "re", "ve", "length", "la", "id", "tool", "lr"];
/// Names of sections, in English and in the languages of the published models.
const SECTIONS: [&str; 22] = [
    "verse",
    "chorus",
    "prechorus",
    "postchorus",
    "bridge",
    "intro",
    "outro",
    "hook",
    "refrain",
    "interlude",
    "instrumental",
    "coda",
    "ending",
    "solo",
    "break",
    "主歌",
    "副歌",
    "前奏",
    "间奏",
    "尾奏",
    "サビ",
    "후렴",
];
/// Sections whose name may be a line as well.
const WORDS_TOO: [&str; 6] = ["bridge", "hook", "ending", "solo", "break", "coda"];

/// The lyrics as the model is to see them but for their case, and what there is to say about them.
///
/// # Errors
/// When they are none, or are a JSON value or a web page.
pub(super) fn read_lyrics(lyrics: &str) -> Result<(String, Vec<WordsNote>)> {
    let mut lyrics = with_plain_lines(lyrics).into_owned();
    refuse_data(&lyrics)?;
    let mut count = 0;
    // A stamp may be made of what is left around another; the text only gets shorter.
    loop {
        let (shorter, more) = without_times(&lyrics);
        if more == 0 {
            break;
        }
        (lyrics, count) = (shorter, count + more);
    }
    if lyrics.chars().all(is_unseen) {
        return Err(ModelError::Prompt {
            problem: "the lyrics are empty".to_owned(),
            remedy: "Give at least one line of words or a section mark; [Instrumental] alone is enough".to_owned(),
        });
    }
    let lines: Vec<String> = lyrics.lines().map(str::trim).filter(|line| is_like_mark(line)).map(Into::into).collect();
    let stamps = (count > 0).then_some(WordsNote::TimeStamps { count });
    let marks = (!lines.is_empty()).then_some(WordsNote::LikeMarks { lines });
    Ok((lyrics, stamps.into_iter().chain(marks).collect()))
}

/// Whether a letter leaves nothing on a page: white space, controls, marks of width zero, fillers.
fn is_unseen(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

/// Data that holds lyrics is no lyrics: its braces and names would be sung.
fn refuse_data(lyrics: &str) -> Result<()> {
    use serde_json::Value::{Array, Object, String};
    let start = lyrics.trim_start();
    let is_json = start.starts_with(['{', '['])
        && match serde_json::from_str(lyrics) {
            Ok(Object(_)) => true,
            Ok(Array(list)) => list.iter().any(|one| matches!(one, String(_) | Array(_) | Object(_))),
            _ => false,
        };
    let is_page = ["<!doctype html", "<html"]
        .iter()
        .any(|page| start.get(..page.len()).is_some_and(|start| start.eq_ignore_ascii_case(page)));
    let kind = match (is_json, is_page) {
        (true, _) => "JSON",
        (_, true) => "a web page",
        _ => return Ok(()),
    };
    Err(ModelError::Prompt {
        problem: format!("the lyrics are {kind}, and all of it would be sung"),
        remedy: "Give the words alone, a line of the song on each line".to_owned(),
    })
}

/// The lyrics without the time stamps of LRC, SRT and WebVTT, and how many things were taken out.
fn without_times(lyrics: &str) -> (String, usize) {
    let lines: Vec<&str> = lyrics.split('\n').collect();
    let is_span =
        |line: &str| line.split_once(ARROW).is_some_and(|(from, to)| is_time(from) && is_time(first_word(to)));
    let subtitles = lines.iter().any(|line| is_span(line));
    let mut count = 0;
    let mut kept = Vec::with_capacity(lines.len());
    for (place, line) in lines.iter().enumerate() {
        let is_number = !line.trim().is_empty() && line.trim().chars().all(|letter| letter.is_ascii_digit());
        let numbers_one = is_number && lines.get(place + 1).is_some_and(|next| is_span(next));
        if is_span(line) || numbers_one || subtitles && line.trim() == "WEBVTT" || is_header(line) {
            count += 1;
            continue;
        }
        let mut rest = *line;
        let before = count;
        while let Some((stamp, behind)) = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']'))
            && is_time(stamp)
        {
            (rest, count) = (behind, count + 1);
        }
        let rest = if count > before { rest.trim_start() } else { rest };
        kept.push(without_word_times(rest, &mut count));
    }
    (kept.join("\n"), count)
}

/// A line of LRC in which each word has a stamp of its own, `<00:12.50>`, without them.
fn without_word_times(line: &str, count: &mut usize) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, behind)) = rest.split_once('<') {
        kept.push_str(before);
        match behind.split_once('>') {
            Some((stamp, after)) if is_time(stamp) => {
                *count += 1;
                rest = if kept.ends_with(' ') { after.trim_start() } else { after };
            }
            _ => {
                kept.push('<');
                rest = behind;
            }
        }
    }
    kept + rest
}

fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// Whether this is a time: `12:34`, `12:34.5`, `1:02:03,456`.
fn is_time(text: &str) -> bool {
    let parts: Vec<&str> = text.trim().split([':', '.', ',']).collect();
    text.contains(':')
        && (2..=4).contains(&parts.len())
        && parts.iter().all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether this is a header of an LRC file, such as `[ar:…]`.
fn is_header(line: &str) -> bool {
    let inside = line.trim().strip_prefix('[').and_then(|line| line.strip_suffix(']'));
    let key = inside.and_then(|inside| inside.split_once(':')).map(|(key, _)| key.trim().to_lowercase());
    key.is_some_and(|key| HEADERS.contains(&key.as_str()))
}

/// Whether a line looks like a section mark without being one: `(Verse 1)`, `Verse 1:`, `**Chorus**`, `[Verse`.
fn is_like_mark(line: &str) -> bool {
    if line.starts_with('[') && line.ends_with(']') || line.chars().count() > 40 {
        return false;
    }
    let letters: String = line.chars().filter(|letter| letter.is_alphabetic()).flat_map(char::to_lowercase).collect();
    // `chorus x2` and `chorus (2x)`: a repeat.
    let name = letters.strip_suffix('x').unwrap_or(&letters);
    let bare = letters.chars().count() == line.chars().count();
    SECTIONS.contains(&name) && !(bare && WORDS_TOO.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lyrics: &str) -> (String, Vec<WordsNote>) {
        read_lyrics(lyrics).expect("lyrics")
    }

    #[test]
    fn time_stamps_of_each_kind_are_taken_out_and_counted() {
        let cases = [
            ("[ti:Test]\n[ar:Nobody]\n[00:04.34]A kettle hums\n[00:10.00]The window clears\n", 4),
            ("[00:04.34] [00:40.1]A kettle hums\n[00:10]The window clears\n", 3),
            ("[00:04.34]<00:04.34>A <00:04.60>kettle <00:05.00>hums\n[1:00:10.00]The window clears\n", 5),
            (
                "1\n00:00:04,340 --> 00:00:09,000\nA kettle hums\n2\n00:00:10,000 --> 00:00:12,000\nThe window clears\n",
                4,
            ),
            ("WEBVTT\n00:04.340 --> 00:09.000 align:left\nA kettle hums\nThe window clears\n", 2),
        ];
        for (lyrics, count) in cases {
            let (words, notes) = read(lyrics);
            assert_eq!(words, "A kettle hums\nThe window clears\n", "{lyrics}");
            assert_eq!(notes, [WordsNote::TimeStamps { count }], "{lyrics}");
        }
    }

    #[test]
    fn words_that_only_resemble_stamps_stay() {
        for lyrics in [
            "[Verse]\nAt 12:30 by the door",
            "[Verse: soft]\nla",
            "<la> la <3",
            "99\nred --> blue",
            "[12]\nla",
            "[verse 1:2:x]\nla",
        ] {
            assert_eq!(read(lyrics), (lyrics.to_owned(), vec![]));
        }
    }

    #[test]
    fn lines_that_look_like_marks_stay_and_are_pointed_at() {
        let lyrics =
            "(Verse 1)\nA kettle hums\nChorus:\nLet it ring\n**Bridge**\nPre-Chorus\n[Outro\nChorus x2\n副歌\n";
        let (words, notes) = read(lyrics);
        assert_eq!(words, lyrics);
        let lines = ["(Verse 1)", "Chorus:", "**Bridge**", "Pre-Chorus", "[Outro", "Chorus x2", "副歌"];
        assert_eq!(notes, [WordsNote::LikeMarks { lines: lines.map(str::to_owned).to_vec() }]);
        assert!(read("[Verse 1]\nthe chorus of birds\nover the bridge\nbreak\n[Chorus]\nla").1.is_empty());
    }

    #[test]
    fn lyrics_of_nothing_that_is_seen_are_empty_and_data_is_no_lyrics() {
        for lyrics in ["", " \n\t", "\u{feff}", "\u{200b}\n", "\u{ad}\u{2060}\r\n", "[ar:Nobody]\n[00:01.00]\n", "\0"] {
            let error = read_lyrics(lyrics).expect_err("nothing to sing").to_string();
            assert!(error.contains("lyrics are empty") && error.contains("[Instrumental]"), "{error}");
        }
        for (lyrics, kind) in
            [(r#"{"lyrics": "la"}"#, "JSON"), (r#" ["la", "la"]"#, "JSON"), ("<!DOCTYPE html>\n<p>la", "a web page")]
        {
            let error = read_lyrics(lyrics).expect_err("data").to_string();
            assert!(error.contains(kind) && error.contains("words alone"), "{error}");
        }
    }
}
