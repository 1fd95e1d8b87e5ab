//! The parts of a `tokenizer.json`: the vocabulary in its own types, the small rest as bounded JSON.

use std::{cell::Cell, collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tokenizers::models::bpe::Vocab;

use crate::bounded_json::Bounded;

/// Bytes of a file. That of Llama 3 has 9 MB, or 17 where it is indented.
pub(super) const MOST_BYTES: usize = 1 << 26;
/// Tokens, and merges. Llama 3 has 128 256 and 280 147.
const MOST_TOKENS: usize = 1 << 19;
/// Bytes of a token: the longest of Llama 3 are white space of 128.
const LONGEST_TOKEN: usize = 1 << 10;
/// JSON values in all parts but the vocabulary. Llama 3 has some 2500, most of them added tokens.
const MOST_VALUES: usize = 1 << 17;
/// Parts that are read beside the model. What decodes ids is never used, nor are truncation and padding.
const PARTS: [&str; 7] =
    ["version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor"];

/// What a file holds.
#[derive(Default)]
pub(super) struct TokenizerFile {
    /// Parts by their names.
    pub parts: BTreeMap<String, Value>,
    /// The fields of the model but for those below.
    pub model: Map<String, Value>,
    /// The vocabulary.
    pub vocabulary: Option<Vocabulary>,
    /// What BPE joins, in order.
    pub merges: Option<Vec<(String, String)>>,
}

/// Tokens with ids, or with scores in the order of their ids.
pub(super) enum Vocabulary {
    Ids(Vocab),
    Scores(Vec<(String, f64)>),
}

impl<'de> Deserialize<'de> for TokenizerFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FileVisitor)
    }
}

struct FileVisitor;

impl<'de> Visitor<'de> for FileVisitor {
    type Value = TokenizerFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<TokenizerFile, A::Error> {
        let left = Cell::new(MOST_VALUES);
        let (mut file, mut has_model) = (TokenizerFile::default(), false);
        while let Some(name) = fields.next_key::<String>()? {
            if name == "model" {
                let Model(model) = fields.next_value()?;
                (file, has_model) = (TokenizerFile { parts: file.parts, ..model }, true);
            } else if PARTS.contains(&name.as_str()) {
                let part = fields.next_value_seed(Bounded::new(&left));
                let part = part.map_err(|error| A::Error::custom(format!("`{name}`: {error}")))?;
                file.parts.insert(name, part);
            } else {
                fields.next_value::<IgnoredAny>()?;
            }
        }
        if has_model { Ok(file) } else { Err(A::Error::missing_field("model")) }
    }
}

/// The object `model` of a file.
struct Model(TokenizerFile);

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ModelVisitor).map(Self)
    }
}

struct ModelVisitor;

impl<'de> Visitor<'de> for ModelVisitor {
    type Value = TokenizerFile;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<TokenizerFile, A::Error> {
        let left = Cell::new(MOST_VALUES);
        let mut model = TokenizerFile::default();
        let named = |name: &str, error: A::Error| A::Error::custom(format!("`model.{name}`: {error}"));
        while let Some(name) = fields.next_key::<String>()? {
            match name.as_str() {
                "vocab" => model.vocabulary = Some(fields.next_value().map_err(|error| named("vocab", error))?),
                "merges" => {
                    let Merges(merges) = fields.next_value().map_err(|error| named("merges", error))?;
                    model.merges = Some(merges);
                }
                _ => {
                    let value = fields.next_value_seed(Bounded::new(&left)).map_err(|error| named("…", error))?;
                    model.model.insert(name, value);
                }
            }
        }
        Ok(model)
    }
}

fn token<E: Error>(token: String, before: usize) -> Result<String, E> {
    if before >= MOST_TOKENS {
        return Err(E::custom(format!("more than {MOST_TOKENS} entries")));
    }
    if token.is_empty() || token.len() > LONGEST_TOKEN {
        return Err(E::custom(format!("entry {before} has {} bytes, not from 1 to {LONGEST_TOKEN}", token.len())));
    }
    Ok(token)
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabularyVisitor)
    }
}

struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens with ids, or with scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Vocabulary, A::Error> {
        let mut ids = Vocab::default();
        while let Some((name, id)) = entries.next_entry::<String, u32>()? {
            ids.insert(token(name, ids.len())?, id);
        }
        Ok(Vocabulary::Ids(ids))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vocabulary, A::Error> {
        let mut scores = Vec::new();
        while let Some((name, score)) = entries.next_element::<(String, f64)>()? {
            scores.push((token(name, scores.len())?, score));
        }
        Ok(Vocabulary::Scores(scores))
    }
}

/// Merges as pairs, or as texts with a space between, as older files have them.
struct Merges(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MergesVisitor)
    }
}

struct MergesVisitor;

impl<'de> Visitor<'de> for MergesVisitor {
    type Value = Merges;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of pairs of tokens")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Merges, A::Error> {
        let mut merges = Vec::new();
        while let Some(Merge(left, right)) = entries.next_element()? {
            let before = merges.len();
            merges.push((token(left, before)?, token(right, before)?));
        }
        Ok(Merges(merges))
    }
}

struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MergeVisitor)
    }
}

struct MergeVisitor;

impl<'de> Visitor<'de> for MergeVisitor {
    type Value = Merge;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two tokens")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Merge, E> {
        match text.split(' ').collect::<Vec<_>>()[..] {
            [left, right] => Ok(Merge(left.to_owned(), right.to_owned())),
            _ => Err(E::custom("a merge is not two tokens with a space between")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<Merge, A::Error> {
        match (tokens.next_element()?, tokens.next_element()?, tokens.next_element::<IgnoredAny>()?) {
            (Some(left), Some(right), None) => Ok(Merge(left, right)),
            _ => Err(A::Error::custom("a merge is not two tokens")),
        }
    }
}
