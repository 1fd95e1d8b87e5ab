//! Normalisation of tags: whatever they are separated by, the model sees `piano,happy`.

use super::{encoding::with_plain_lines, notes::WordsNote};

/// What wraps the tags in a prompt.
const WRAP: [&str; 2] = ["<tag>", "</tag>"];
/// What people write between tags: commas of other scripts, semicolons, bars, lines.
const SEPARATORS: [char; 9] = [',', ';', '，', '；', '、', '،', '|', '\n', '\t'];
/// What people write around a tag.
const QUOTES: [(char, char); 7] =
    [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('«', '»'), ('「', '」')];
/// What people write around a tag instead of commas between them.
const BRACKETS: [(char, char); 4] = [('(', ')'), ('[', ']'), ('{', '}'), ('（', '）')];
/// Fields of an object that hold the tags.
const FIELDS: [&str; 3] = ["tags", "tag", "style"];
/// What people write before the first tag.
const LABELS: [&str; 4] = ["tags:", "tag:", "style:", "styles:"];

/// The tags inside their wrapping, in lower case, with commas between; and what was changed for that. Tags that are so
/// already stay as they are, to the letter.
pub(super) fn read_tags(tags: &str) -> (String, Option<WordsNote>) {
    let tags = with_plain_lines(tags).trim().to_lowercase();
    let inside = tags.strip_prefix(WRAP[0]).unwrap_or(&tags);
    let inside = inside.strip_suffix(WRAP[1]).unwrap_or(inside);
    let mut read = inside.to_owned();
    // A list in quotes in a list: each pass takes one layer off, and the text only gets shorter.
    loop {
        let next = one_layer(&read);
        if next == read || next.len() > read.len() {
            break;
        }
        read = next;
    }
    let note = match read {
        _ if read == inside => None,
        _ if read == without_spaces_at_commas(inside) => Some(WordsNote::SpacesAtCommas),
        _ => Some(WordsNote::TagsRead { read: read.clone() }),
    };
    (read, note)
}

/// The tags in `wrapped`, one by one.
pub(super) fn separate(wrapped: &str) -> impl Iterator<Item = &str> {
    let inside = wrapped.strip_prefix(WRAP[0]).unwrap_or(wrapped);
    inside.strip_suffix(WRAP[1]).unwrap_or(inside).split(',').filter(|tag| !tag.is_empty())
}

/// Tags as a prompt has them.
pub(super) fn wrapped(tags: &str) -> String {
    format!("{}{tags}{}", WRAP[0], WRAP[1])
}

fn without_spaces_at_commas(tags: &str) -> String {
    tags.split(',').map(str::trim).collect::<Vec<_>>().join(",")
}

fn one_layer(text: &str) -> String {
    let text = text.trim();
    let text = LABELS.iter().find_map(|label| text.strip_prefix(label)).unwrap_or(text).trim();
    if let Ok(list) = serde_json::from_str::<Vec<String>>(text) {
        return join(list.iter().map(|tag| tag.to_lowercase()));
    }
    if let Some(tags) = in_object(text) {
        return tags;
    }
    // All of them in one pair of quotes.
    let whole = QUOTES.iter().find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close));
    let text = whole.filter(|text| !QUOTES.iter().any(|(open, _)| text.contains(*open))).unwrap_or(text);
    let text = &between_brackets(text);
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    // A full stop ends a sentence; one inside a tag, as in `a.m.`, is its own.
    let text = text.strip_suffix('.').filter(|text| !text.contains('.')).unwrap_or(text);
    let words = text.split_whitespace();
    if text.starts_with('#') && words.clone().all(|word| word.starts_with('#')) {
        return join(words.map(str::to_owned));
    }
    join(text.split(SEPARATORS).map(str::to_owned))
}

/// The tags of a JSON object such as `{"tags": ["piano", "happy"]}`.
fn in_object(text: &str) -> Option<String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    match FIELDS.iter().find_map(|field| object.get(*field))? {
        serde_json::Value::String(tags) => Some(tags.to_lowercase()),
        list => serde_json::from_value::<Vec<String>>(list.clone()).ok().map(|tags| join(tags.into_iter())),
    }
}

/// `[piano] [happy]` and `(piano)(happy)` with commas between.
fn between_brackets(text: &str) -> String {
    BRACKETS.iter().fold(text.to_owned(), |text, (open, close)| {
        let mut behind = text.split(*close).skip(1).map(str::trim_start).filter(|part| !part.is_empty());
        let several = behind.clone().next().is_some();
        if several && behind.all(|part| part.starts_with(*open)) {
            text.replace(*close, &format!("{close},"))
        } else {
            text
        }
    })
}

/// The tags that are not empty, with commas between.
fn join(tags: impl Iterator<Item = String>) -> String {
    tags.map(|tag| bare(&tag)).filter(|tag| !tag.is_empty()).collect::<Vec<_>>().join(",")
}

/// A tag without what people write around it, its words one space apart.
fn bare(tag: &str) -> String {
    let mut tag = tag.trim();
    for bullet in ["- ", "* ", "• ", "#"] {
        tag = tag.strip_prefix(bullet).unwrap_or(tag).trim_start();
    }
    for (open, close) in QUOTES {
        tag = tag.strip_prefix(open).and_then(|tag| tag.strip_suffix(close)).unwrap_or(tag);
    }
    for pair in BRACKETS {
        let inside = tag.strip_prefix(pair.0).and_then(|tag| tag.strip_suffix(pair.1));
        tag = inside.filter(|inside| !inside.contains(<[char; 2]>::from(pair))).unwrap_or(tag);
    }
    tag.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_however_they_are_separated_and_that_is_said() {
        for written in [
            "piano;happy",
            "piano，happy",
            "piano、happy",
            "piano,,happy,",
            "piano|happy",
            "piano\nhappy\n",
            "piano\r\nhappy",
            "- piano\n- happy",
            r#"["piano","happy"]"#,
            r#"["Piano", "Happy"]"#,
            "['piano', 'happy']",
            "\"piano\", \"happy\"",
            "\"piano, happy\"",
            "“piano”, “happy”",
            "#piano #happy",
            "Tags: piano, happy.",
            "<tag>piano; happy</tag>",
            "[piano][happy]",
            "[piano] [happy]",
            "(piano)(happy)",
            "(piano), [happy]",
            r#"{"tags": ["piano", "Happy"]}"#,
            r#"{"tags": "Piano, happy", "lyrics": "la"}"#,
        ] {
            let (read, note) = read_tags(written);
            assert_eq!(read, "piano,happy", "{written:?}");
            assert_eq!(note, Some(WordsNote::TagsRead { read }), "{written:?}");
        }
    }

    #[test]
    fn tags_in_the_form_that_the_model_knows_stay_as_they_are_and_nothing_is_said() {
        for tags in [
            "piano,happy",
            "piano",
            "slow waltz,r&b,lo-fi,hip hop",
            "d'n'b,'80s,f# minor",
            "5 a.m.",
            "guitar (soft),bass (low)",
            "",
        ] {
            assert_eq!(read_tags(tags), (tags.to_owned(), None));
        }
        assert_eq!(read_tags("\u{feff}Piano,Happy\n"), ("piano,happy".to_owned(), None));
        assert_eq!(read_tags("piano, happy").1, Some(WordsNote::SpacesAtCommas));
    }
}
