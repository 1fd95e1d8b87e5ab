//! The parts of a tokenizer around its model, each of a known type and within bounds.
//!
//! The tokenizer's library panics, aborts or never ends on some values of them. So each is checked and made here, from
//! its fields; what is of another type is refused by its field.

use std::ops::RangeInclusive;

use serde_json::Value;
use tokenizers::{
    AddedToken, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior,
    normalizers::{self, BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Prepend, Replace, Strip, StripAccents},
    pre_tokenizers::{
        self,
        bert::BertPreTokenizer,
        byte_level::ByteLevel,
        digits::Digits,
        metaspace::{Metaspace, PrependScheme},
        punctuation::Punctuation,
        split::{Split, SplitPattern},
        unicode_scripts::UnicodeScripts,
        whitespace::{Whitespace, WhitespaceSplit},
    },
};

use super::regex_limits;
use crate::{error::Result, weights::Json};

/// Parts of a sequence.
const MOST_PARTS: usize = 16;
/// Sequences within sequences.
const DEEPEST: usize = 4;
/// How much longer all parts together may make a text.
const MOST_GROWTH: usize = 8;
/// Characters of a text that is put before, or in the place of, another.
const LONGEST_INSERT: usize = 64;
/// Bytes of a delimiter.
const LONGEST_PATTERN: usize = 256;
/// Pieces of a template. Those in use have two or three.
const MOST_PIECES: usize = 64;
/// Tokens that are added to a vocabulary. Llama 3 adds 256.
const MOST_ADDED: usize = 1 << 12;

/// What makes parts, and counts how much they lengthen a text.
pub(super) struct TokenizerParts {
    growth: usize,
    /// Whether one of them writes each byte of a text as a letter.
    byte_level: bool,
}

/// The letters that a space and a line break are written as, byte by byte.
const SPACE_AND_BREAK: [&str; 2] = ["Ġ", "Ċ"];

impl TokenizerParts {
    pub(super) fn new() -> Self {
        Self { growth: 1, byte_level: false }
    }

    /// Checks that a vocabulary of bytes goes with parts that write bytes, both or neither: where one is missing, letters are
    /// unknown. `known` says whether a token is in the vocabulary.
    ///
    /// # Errors
    /// When one is there without the other.
    pub(super) fn check_bytes(&self, json: &Json, known: impl Fn(&str) -> bool) -> Result<()> {
        match (self.byte_level, SPACE_AND_BREAK.into_iter().find(|letter| known(letter) != self.byte_level)) {
            (false, Some(found)) => {
                let expected = "one with ByteLevel, for the tokens of `model.vocab` are written byte by byte";
                Err(json.wrong("pre_tokenizer", expected, format!("one without it (a token is {found:?})")))
            }
            (true, Some(missing)) => {
                let expected = format!("one with {missing:?}, for ByteLevel writes a space or a line break so");
                Err(json.wrong("model.vocab", expected, "one without it"))
            }
            (_, None) => Ok(()),
        }
    }

    fn grows(&mut self, by: usize, json: &Json, name: &str) -> Result<()> {
        self.growth = self.growth.saturating_mul(by.max(1));
        if self.growth > MOST_GROWTH {
            let expected = format!("one of parts that make a text at most {MOST_GROWTH} times as long");
            return Err(json.wrong(name, expected, format!("{} times", self.growth)));
        }
        Ok(())
    }

    /// A normaliser.
    ///
    /// # Errors
    /// When it, or a part of it, is of an unknown type or out of bounds.
    pub(super) fn normalizer(&mut self, mut json: Json, depth: usize) -> Result<NormalizerWrapper> {
        let kind = json.text("type", "")?;
        Ok(match kind.as_str() {
            "Sequence" => {
                let parts = sequence(&mut json, "normalizers", depth)?;
                let parts = parts.into_iter().map(|part| self.normalizer(part, depth + 1));
                normalizers::Sequence::new(parts.collect::<Result<_>>()?).into()
            }
            "NFC" => NFC.into(),
            "NFD" => NFD.into(),
            "NFKC" => NFKC.into(),
            "NFKD" => NFKD.into(),
            "Nmt" => Nmt.into(),
            "Lowercase" => Lowercase.into(),
            "StripAccents" => StripAccents.into(),
            "Strip" => Strip::new(json.flag("strip_left", true)?, json.flag("strip_right", true)?).into(),
            "ByteLevel" => {
                self.grows(2, &json, "type")?;
                self.byte_level = true;
                normalizers::ByteLevel::new().into()
            }
            "Prepend" => Prepend::new(bounded(&mut json, "prepend", 1..=LONGEST_INSERT)?).into(),
            "Replace" => {
                let content = bounded(&mut json, "content", 0..=LONGEST_INSERT)?;
                let pattern = match pattern(&mut json)? {
                    Pattern::Text(text) => normalizers::replace::ReplacePattern::String(text),
                    Pattern::Regex(regex) => normalizers::replace::ReplacePattern::Regex(regex),
                };
                self.grows(content.chars().count(), &json, "content")?;
                Replace::new(pattern, content)
                    .map_err(|error| json.wrong("pattern", "a regular expression", error))?
                    .into()
            }
            "BertNormalizer" => {
                let accents = if json.has("strip_accents") { Some(json.flag("strip_accents", false)?) } else { None };
                let (clean, chinese) = (json.flag("clean_text", true)?, json.flag("handle_chinese_chars", true)?);
                self.grows(3, &json, "type")?; // a space on either side of an ideograph
                BertNormalizer::new(clean, chinese, accents, json.flag("lowercase", true)?).into()
            }
            _ => {
                let known = "one of Sequence, NFC, NFD, NFKC, NFKD, Nmt, Lowercase, StripAccents, Strip, ByteLevel, \
                             Prepend, Replace, BertNormalizer";
                return Err(json.wrong("type", known, kind));
            }
        })
    }

    /// A pre-tokenizer.
    ///
    /// # Errors
    /// As [`TokenizerParts::normalizer`].
    pub(super) fn pre_tokenizer(&mut self, mut json: Json, depth: usize) -> Result<PreTokenizerWrapper> {
        let kind = json.text("type", "")?;
        Ok(match kind.as_str() {
            "Sequence" => {
                let parts = sequence(&mut json, "pretokenizers", depth)?;
                let parts = parts.into_iter().map(|part| self.pre_tokenizer(part, depth + 1));
                pre_tokenizers::sequence::Sequence::new(parts.collect::<Result<_>>()?).into()
            }
            "ByteLevel" => {
                self.grows(2, &json, "type")?;
                self.byte_level = true;
                let (space, trim) = (json.flag("add_prefix_space", true)?, json.flag("trim_offsets", true)?);
                ByteLevel::new(space, trim, json.flag("use_regex", true)?).into()
            }
            "Split" => {
                let (behavior, invert) = (behavior(&mut json, "")?, json.flag("invert", false)?);
                let pattern = match pattern(&mut json)? {
                    Pattern::Text(text) => SplitPattern::String(text),
                    Pattern::Regex(regex) => SplitPattern::Regex(regex),
                };
                let split = Split::new(pattern, behavior, invert);
                split.map_err(|error| json.wrong("pattern", "a regular expression", error))?.into()
            }
            "Metaspace" => {
                let replacement = bounded(&mut json, "replacement", 1..=1)?.chars().next().unwrap_or('▁');
                let usual = if json.flag("add_prefix_space", true)? { "always" } else { "never" };
                let scheme = match json.text("prepend_scheme", usual)?.as_str() {
                    "first" => PrependScheme::First,
                    "never" => PrependScheme::Never,
                    "always" => PrependScheme::Always,
                    other => return Err(json.wrong("prepend_scheme", "first, never or always", other)),
                };
                Metaspace::new(replacement, scheme, json.flag("split", true)?).into()
            }
            "Digits" => Digits::new(json.flag("individual_digits", false)?).into(),
            "Punctuation" => Punctuation::new(behavior(&mut json, "Isolated")?).into(),
            "Whitespace" => Whitespace {}.into(),
            "WhitespaceSplit" => WhitespaceSplit.into(),
            "BertPreTokenizer" => BertPreTokenizer.into(),
            "UnicodeScripts" => UnicodeScripts::new().into(),
            _ => {
                let known = "one of Sequence, ByteLevel, Split, Metaspace, Digits, Punctuation, Whitespace, \
                             WhitespaceSplit, BertPreTokenizer, UnicodeScripts";
                return Err(json.wrong("type", known, kind));
            }
        })
    }
}

/// The parts of a sequence.
fn sequence(json: &mut Json, name: &str, depth: usize) -> Result<Vec<Json>> {
    let parts = json.list(name, MOST_PARTS)?;
    if depth >= DEEPEST {
        return Err(json.wrong(name, format!("no more than {DEEPEST} sequences within each other"), "a deeper one"));
    }
    parts.into_iter().enumerate().map(|(place, part)| json.nested(&format!("{name}[{place}]"), part)).collect()
}

/// Text with a number of characters in `range`.
fn bounded(json: &mut Json, name: &str, range: RangeInclusive<usize>) -> Result<String> {
    let text = json.text(name, "")?;
    if range.contains(&text.chars().take(range.end() + 1).count()) {
        return Ok(text);
    }
    Err(json.wrong(name, format!("text of {} to {} characters", range.start(), range.end()), format!("{text:?}")))
}

enum Pattern {
    Text(String),
    Regex(String),
}

/// What is looked for: text, or a regular expression within limits.
fn pattern(json: &mut Json) -> Result<Pattern> {
    let Some(mut pattern) = json.object("pattern")? else {
        return Err(json.wrong("pattern", "an object with `String` or `Regex`", "missing"));
    };
    if pattern.has("String") {
        return Ok(Pattern::Text(bounded(&mut pattern, "String", 1..=LONGEST_PATTERN)?));
    }
    let regex = pattern.text("Regex", "")?;
    match regex_limits::check(&regex) {
        Ok(()) => Ok(Pattern::Regex(regex)),
        Err(expected) => Err(pattern.wrong("Regex", expected, format!("{regex:?}"))),
    }
}

fn behavior(json: &mut Json, usual: &str) -> Result<SplitDelimiterBehavior> {
    Ok(match json.text("behavior", usual)?.as_str() {
        "Removed" => SplitDelimiterBehavior::Removed,
        "Isolated" => SplitDelimiterBehavior::Isolated,
        "MergedWithPrevious" => SplitDelimiterBehavior::MergedWithPrevious,
        "MergedWithNext" => SplitDelimiterBehavior::MergedWithNext,
        "Contiguous" => SplitDelimiterBehavior::Contiguous,
        other => {
            let known = "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous";
            return Err(json.wrong("behavior", known, format!("{other:?}")));
        }
    })
}

/// Ids before and behind a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Template {
    pub before: Vec<u32>,
    pub behind: Vec<u32>,
}

/// What a post-processor puts around a text.
///
/// # Errors
/// When it is of an unknown type or out of bounds.
pub(super) fn template(mut json: Json, depth: usize) -> Result<Template> {
    let kind = json.text("type", "")?;
    let mut template = Template::default();
    match kind.as_str() {
        "ByteLevel" => (), // changes offsets alone
        "Sequence" => {
            for part in sequence(&mut json, "processors", depth)? {
                let inner = template;
                template = self::template(part, depth + 1)?;
                template.before.extend(inner.before);
                template.behind.splice(0..0, inner.behind);
            }
        }
        "BertProcessing" | "RobertaProcessing" => {
            for (name, ids) in [("cls", &mut template.before), ("sep", &mut template.behind)] {
                match &json.list(name, 2)?[..] {
                    [Value::String(_), id] if as_id(id).is_some() => ids.extend(as_id(id)),
                    _ => return Err(json.wrong(name, "a token and its id", "something else")),
                }
            }
        }
        "TemplateProcessing" => {
            let known = json.object("special_tokens")?;
            let pieces = json.list("single", MOST_PIECES)?;
            let mut texts = 0;
            for (place, piece) in pieces.into_iter().enumerate() {
                let mut piece = json.nested(&format!("single[{place}]"), piece)?;
                if let Some(mut special) = piece.object("SpecialToken")? {
                    let name = special.text("id", "")?;
                    let ids = known.as_ref().and_then(|known| known.peek(&name)).and_then(ids_of);
                    let ids = ids.ok_or_else(|| special.wrong("id", "one of `special_tokens` with its ids", name))?;
                    if texts == 0 { &mut template.before } else { &mut template.behind }.extend(ids);
                } else {
                    texts += 1;
                }
            }
            if texts != 1 {
                return Err(json.wrong("single", "a template with the text in it once", format!("one with {texts}")));
            }
        }
        _ => {
            let known = "one of Sequence, ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing";
            return Err(json.wrong("type", known, kind));
        }
    }
    Ok(template)
}

fn as_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// The ids of an entry of `special_tokens`, of which there are few.
fn ids_of(entry: &Value) -> Option<Vec<u32>> {
    let ids = entry.get("ids")?.as_array().filter(|ids| (1..=MOST_PARTS).contains(&ids.len()))?;
    ids.iter().map(as_id).collect()
}

/// Tokens that are found before a text is split, and their ids.
///
/// # Errors
/// When an entry is no such token.
pub(super) fn added_tokens(json: &mut Json) -> Result<Vec<(AddedToken, u32)>> {
    let entries = json.list("added_tokens", MOST_ADDED)?;
    let token = |(place, entry)| {
        let mut entry: Json = json.nested(&format!("added_tokens[{place}]"), entry)?;
        let content = bounded(&mut entry, "content", 1..=LONGEST_PATTERN)?;
        let id = entry.whole("id", usize::MAX, 0..=u32::MAX as usize)?;
        let id = u32::try_from(id).map_err(|_| entry.wrong("id", "a whole number", "missing"))?;
        let special = entry.flag("special", false)?;
        let token = AddedToken::from(content, special)
            .normalized(entry.flag("normalized", !special)?)
            .single_word(entry.flag("single_word", false)?)
            .lstrip(entry.flag("lstrip", false)?)
            .rstrip(entry.flag("rstrip", false)?);
        Ok((token, id))
    };
    entries.into_iter().enumerate().map(token).collect()
}
