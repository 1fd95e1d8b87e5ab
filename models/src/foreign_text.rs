//! Foreign text in messages: escaped and shortened.
//!
//! Names, values and file contents come from others. In a terminal, control characters move the cursor or set the title,
//! and a value of a megabyte hides what is said about it. The one place that makes such text fit to be shown.

/// Characters that a quoted value keeps at most.
const LONGEST_VALUE: usize = 120;
/// Lines of an error text, at most.
pub const MOST_LINES: usize = 20;
/// Bytes of an error text, at most.
pub const MOST_BYTES: usize = 4096;

/// `text` with control characters and what reorders text escaped, at most 120 characters of it: begin and end.
#[must_use]
pub fn shown(text: &str) -> String {
    let count = text.chars().take(LONGEST_VALUE + 1).count();
    if count <= LONGEST_VALUE {
        return escaped(text, false);
    }
    let half = LONGEST_VALUE / 2;
    let head: String = text.chars().take(half).collect();
    let mut tail: Vec<char> = text.chars().rev().take(half / 2).collect();
    tail.reverse();
    let tail: String = tail.into_iter().collect();
    format!("{} … {}", escaped(&head, false), escaped(&tail, false))
}

/// A whole message as it may be printed: line breaks stay, other control characters are escaped.
#[must_use]
pub fn printable(message: &str) -> String {
    escaped(message, true)
}

/// A whole error text as it may be printed: as [`printable`], and at most [`MOST_LINES`] lines and [`MOST_BYTES`] bytes.
/// What is left out is left out of the middle: the remedy is at the end.
#[must_use]
pub fn bounded(message: &str) -> String {
    let message = printable(message);
    let lines: Vec<&str> = message.lines().collect();
    let message = if lines.len() > MOST_LINES {
        let (head, tail) = (&lines[..MOST_LINES - 4], &lines[lines.len() - 3..]);
        let left_out = format!("  … {} more lines …", lines.len() - head.len() - tail.len());
        [head, &[left_out.as_str()], tail].concat().join("\n")
    } else {
        message
    };
    if message.len() <= MOST_BYTES {
        return message;
    }
    let (head, tail) = (cut_before(&message, MOST_BYTES * 5 / 8), cut_after(&message, MOST_BYTES / 4));
    format!("{head} … {} bytes more … {tail}", message.len() - head.len() - tail.len())
}

/// The longest beginning of at most `bytes` bytes.
fn cut_before(text: &str, bytes: usize) -> &str {
    &text[..(0..=bytes.min(text.len())).rev().find(|place| text.is_char_boundary(*place)).unwrap_or(0)]
}

/// The longest end of at most `bytes` bytes.
fn cut_after(text: &str, bytes: usize) -> &str {
    let from = text.len().saturating_sub(bytes);
    &text[(from..=text.len()).find(|place| text.is_char_boundary(*place)).unwrap_or(text.len())..]
}

fn escaped(text: &str, lines: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' if lines => safe.push(letter),
            // C0, C1, DEL; marks that reorder or hide text; separators that some terminals break lines at.
            _ if letter.is_control() || reorders(letter) => safe.extend(letter.escape_default()),
            _ => safe.push(letter),
        }
    }
    safe
}

/// Unicode's bidirectional controls (UAX #9), line and paragraph separator, and the byte order mark.
fn reorders(letter: char) -> bool {
    matches!(letter, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_text_is_shown_in_one_line_without_control_characters(text in r"(?s)(\PC|.|[\x00-\x1f\x7f-\x9f]){0,400}") {
            let shown = shown(&text);
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.chars().count() <= 12 * LONGEST_VALUE);
        }

        #[test]
        fn any_error_text_is_bounded(line in r"(\PC|[\x00-\x1f]){0,90}", lines in 0usize..90, wide in 1usize..90) {
            let message = vec![line.repeat(wide); lines].join("\n");
            let bounded = bounded(&message);
            prop_assert!(bounded.len() <= MOST_BYTES && bounded.lines().count() <= MOST_LINES);
            prop_assert!(!bounded.chars().any(|letter| letter.is_control() && letter != '\n'));
        }
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in ["", "piano, café, 你好", "a/b \"c\""] {
            assert_eq!((shown(text), bounded(text)), (text.to_owned(), text.to_owned()));
        }
        assert_eq!(bounded("one\ntwo"), "one\ntwo");
    }

    #[test]
    fn escapes_are_shown_and_the_end_of_a_long_text_stays() {
        assert_eq!(shown("\u{1b}[2Jx\u{202e}"), "\\u{1b}[2Jx\\u{202e}");
        assert_eq!(shown("a\nb"), "a\\nb");
        let long = format!("begin {} end", "x".repeat(1 << 20));
        assert!(shown(&long).starts_with("begin ") && shown(&long).ends_with(" end"));
        let bounded = bounded(&format!("{long}. Do this."));
        assert!(bounded.ends_with("Do this.") && bounded.len() <= MOST_BYTES);
    }
}
