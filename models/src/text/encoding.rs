//! Decoding of text files: every file of words, and every JSON file, is read by this.
//!
//! Text is UTF-8, or UTF-16 with a byte order mark, which is what editors write. Nothing else is guessed at: bytes in an
//! older encoding are also some text in most of the others, and would be sung as that.

use std::{borrow::Cow, fmt};

/// Why bytes are no text that can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotText {
    /// The first byte that does not fit, counted from 0.
    pub byte: usize,
    /// Its value; `None` where the bytes end too early.
    pub found: Option<u8>,
    /// What the bytes seem to be.
    pub kind: NotTextKind,
}

/// What bytes that are no text seem to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTextKind {
    /// Text in an encoding such as GBK, Shift JIS or Latin-1.
    OtherEncoding,
    /// UTF-16 without a mark, or with half a character in it.
    WideEncoding,
    /// UTF-32, with a mark or without.
    Utf32,
    /// A document of a word processor, or a PDF.
    Document,
    /// A picture, sound, or program.
    Binary,
}

impl NotText {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.kind {
            NotTextKind::OtherEncoding => {
                "Save it as UTF-8 (iconv -f GBK -t UTF-8 OLD > NEW, with the name of its encoding)"
            }
            NotTextKind::WideEncoding => "Save it as UTF-8 (iconv -f UTF-16 -t UTF-8 OLD > NEW)",
            NotTextKind::Utf32 => "Save it as UTF-8 (iconv -f UTF-32 -t UTF-8 OLD > NEW)",
            NotTextKind::Document => "Export it as plain text in UTF-8",
            NotTextKind::Binary => "Give a text file in UTF-8",
        }
    }
}

impl fmt::Display for NotText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            NotTextKind::OtherEncoding => "not UTF-8 text",
            NotTextKind::WideEncoding => "not UTF-8 text, but UTF-16 that is damaged or has no mark",
            NotTextKind::Utf32 => "not UTF-8 text, but UTF-32",
            NotTextKind::Document => "not text, but a document with its formatting",
            NotTextKind::Binary => "not text",
        };
        match self.found {
            Some(found) => write!(f, "{kind}: byte {} is wrong (0x{found:02x})", self.byte),
            None => write!(f, "{kind}: it ends in the middle of a character, at byte {}", self.byte),
        }
    }
}

impl std::error::Error for NotText {}

/// Beginnings of files that are documents and not text, although some of them are made of plain letters.
const DOCUMENTS: [&[u8]; 4] = [b"PK\x03\x04", b"%PDF-", b"{\\rtf", b"\xd0\xcf\x11\xe0"];

/// The text in `bytes`: UTF-8, or UTF-16 with a byte order mark. The mark itself is taken off.
///
/// # Errors
/// When `bytes` are neither, or hold a NUL, which no text has.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, NotText> {
    let wrong = |byte: usize, kind| NotText { byte, found: bytes.get(byte).copied(), kind };
    if DOCUMENTS.iter().any(|start| bytes.starts_with(start)) {
        return Err(wrong(0, NotTextKind::Document));
    }
    let text = match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err(wrong(0, NotTextKind::Utf32)),
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes).map_err(|unit| (2 + 2 * unit, true)),
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes).map_err(|unit| (2 + 2 * unit, true)),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest).map_err(|byte| (3 + byte, false)),
        bytes => utf8(bytes).map_err(|byte| (byte, false)),
    };
    let text = text.map_err(|(byte, wide)| {
        let kind = match wide {
            true => NotTextKind::WideEncoding,
            false if bytes.contains(&0) => NotTextKind::Binary,
            false => NotTextKind::OtherEncoding,
        };
        wrong(byte, kind)
    })?;
    match bytes.iter().position(|byte| *byte == 0).filter(|_| text.contains('\0')) {
        None => Ok(text),
        Some(byte) => {
            // Letters of the alphabet have a NUL beside each in UTF-16, and three in UTF-32.
            let nuls = bytes.iter().filter(|byte| **byte == 0).count();
            let kind = match nuls as f64 / bytes.len() as f64 {
                share if share > 0.6 => NotTextKind::Utf32,
                share if share > 0.33 => NotTextKind::WideEncoding,
                _ => NotTextKind::Binary,
            };
            Err(wrong(byte, kind))
        }
    }
}

/// The JSON value in the bytes of a file.
///
/// # Errors
/// A sentence without its subject: what the bytes are instead.
pub fn decode_json(bytes: &[u8]) -> Result<serde_json::Value, String> {
    let text = decode(bytes).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("not JSON ({error})"))
}

/// Text with every byte order mark off and every line break a `\n`: after `\r\n` and `\r`, those of Unicode, too
/// (U+0085, U+2028, U+2029), which come with what is pasted from a web page.
pub fn with_plain_lines(text: &str) -> Cow<'_, str> {
    const OTHERS: [char; 5] = ['\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{feff}'];
    if !text.contains(OTHERS) {
        return Cow::Borrowed(text);
    }
    let text = text.replace("\r\n", "\n").replace('\u{feff}', "");
    Cow::Owned(text.replace(OTHERS, "\n"))
}

/// The place of the first byte that is no UTF-8.
fn utf8(bytes: &[u8]) -> Result<Cow<'_, str>, usize> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| error.valid_up_to())
}

/// The place of the first unit that is no UTF-16.
fn utf16(bytes: &[u8], unit: impl Fn([u8; 2]) -> u16) -> Result<Cow<'static, str>, usize> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    let mut units = 0;
    for decoded in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        let letter = decoded.map_err(|_| units)?;
        units += letter.len_utf16();
        text.push(letter);
    }
    if rest.is_empty() { Ok(Cow::Owned(text)) } else { Err(units) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SONG: &str = "[Verse]\nGrüße, 春天, 🎵\n";

    fn utf16_of(text: &str, big: bool) -> Vec<u8> {
        let bytes = |unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() };
        std::iter::once('\u{feff}').chain(text.chars()).collect::<String>().encode_utf16().flat_map(bytes).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn text_is_the_same_in_every_encoding_that_editors_write(text in r"(?s)[^\x00\u{feff}]{0,40}") {
            prop_assume!(!DOCUMENTS.iter().any(|start| text.as_bytes().starts_with(start)));
            let marked = format!("\u{feff}{text}");
            for bytes in [text.as_bytes(), marked.as_bytes(), &utf16_of(&text, false), &utf16_of(&text, true)] {
                prop_assert_eq!(&decode(bytes).expect("text"), &text);
            }
        }

        #[test]
        fn any_bytes_are_text_or_an_error_that_names_one_of_them(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Err(error) = decode(&bytes) {
                prop_assert!(error.byte <= bytes.len());
                prop_assert_eq!(error.found, bytes.get(error.byte).copied());
            }
        }
    }

    #[test]
    fn every_line_break_is_one() {
        assert_eq!(with_plain_lines("a\r\nb\rc\nd\u{2028}e\u{85}f"), "a\nb\nc\nd\ne\nf");
        assert_eq!(with_plain_lines("\u{feff}a\r\n\r\n\u{feff}b"), "a\n\nb");
        assert!(matches!(with_plain_lines(SONG), Cow::Borrowed(SONG)));
    }

    #[test]
    fn what_is_no_text_is_refused_with_the_byte_and_what_to_do() {
        let cases: [(&[u8], usize, &str, &str); 10] = [
            (b"[Verse]\n\xb4\xba\xcc\xec", 8, "byte 8 is wrong (0xb4)", "iconv -f GBK"),
            (b"caf\xe9", 3, "not UTF-8", "Save it as UTF-8"),
            (b"l\0a\0 \0l\0a\0", 1, "UTF-16", "iconv -f UTF-16"),
            (b"\xff\xfe\0\0l\0\0\0", 0, "UTF-32", "iconv -f UTF-32"),
            (b"l\0\0\0a\0\0\0", 1, "UTF-32", "iconv -f UTF-32"),
            (b"\xff\xfel\0a", 4, "UTF-16", "UTF-8"),
            (b"\xff\xfe\x3d\xd8l\0", 2, "damaged", "UTF-8"),
            (b"PK\x03\x04rest", 0, "document", "Export"),
            (b"{\\rtf1 la la}", 0, "document", "Export"),
            (b"la la la la\0la", 11, "not text: byte 11", "text file"),
        ];
        for (bytes, byte, says, remedy) in cases {
            let error = decode(bytes).expect_err("no text");
            assert_eq!(error.byte, byte, "{error}");
            assert!(error.to_string().contains(says) && error.remedy().contains(remedy), "{error}: {}", error.remedy());
        }
    }
}
