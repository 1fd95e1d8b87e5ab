//! The model of a tokenizer, made from its checked vocabulary.

use serde_json::Value;
use tokenizers::{
    ModelWrapper,
    models::{
        bpe::{BPE, Vocab},
        unigram::Unigram,
        wordlevel::WordLevel,
    },
};

use super::file::Vocabulary;
use crate::{error::Result, weights::Json};

/// The largest score of a token: the sum over a text stays far within f64.
const LARGEST_SCORE: f64 = 1e9;

/// Encoded words that the library keeps: none. The words of a song are few, a server sees ever new ones, and BPE's cache
/// belongs to the thread, so it would outlast the tokenizer.
const KEPT_WORDS: usize = 0;

/// Makes the model of `json` (its fields but for the vocabulary and the merges); `notes` are told what was changed.
///
/// # Errors
/// When it is of an unknown type, or its parts do not fit together.
pub(super) fn model(
    mut json: Json,
    vocabulary: Option<Vocabulary>,
    merges: Option<Vec<(String, String)>>,
    notes: &mut Vec<String>,
) -> Result<ModelWrapper> {
    let usual = if matches!(vocabulary, Some(Vocabulary::Scores(_))) { "Unigram" } else { "BPE" };
    let kind = json.text("type", usual)?;
    match (kind.as_str(), vocabulary) {
        ("BPE", Some(Vocabulary::Ids(vocabulary))) => bpe(json, vocabulary, merges, notes),
        ("Unigram", Some(Vocabulary::Scores(scores))) => unigram(json, scores),
        ("WordLevel", Some(Vocabulary::Ids(vocabulary))) => {
            let unknown = unknown(&mut json, &vocabulary)?.unwrap_or_default();
            let model = WordLevel::builder().vocab(vocabulary).unk_token(unknown).build();
            Ok(model.map_err(|error| json.wrong("vocab", "a vocabulary", error))?.into())
        }
        ("BPE" | "WordLevel", _) => Err(json.wrong("vocab", "an object of tokens and their ids", "something else")),
        ("Unigram", _) => Err(json.wrong("vocab", "a list of tokens and their scores", "something else")),
        _ => Err(json.wrong("type", "one of BPE, Unigram, WordLevel", kind)),
    }
}

fn bpe(
    mut json: Json,
    vocabulary: Vocab,
    merges: Option<Vec<(String, String)>>,
    notes: &mut Vec<String>,
) -> Result<ModelWrapper> {
    let merges = merges.ok_or_else(|| json.wrong("merges", "a list of pairs of tokens", "missing"))?;
    for (place, (left, right)) in merges.iter().enumerate() {
        // The library writes joined tokens into a buffer for the longest token of the vocabulary.
        let joined = format!("{left}{right}");
        if let Some(missing) = [left, right, &joined].into_iter().find(|token| !vocabulary.contains_key(*token)) {
            let expected = "two tokens of `model.vocab` whose joined form is one, too";
            return Err(json.wrong(&format!("merges[{place}]"), expected, format!("with {missing:?}, which is none")));
        }
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix"] {
        let affix = json.text(name, "")?;
        if !affix.is_empty() {
            return Err(json.wrong(name, "null or empty", format!("{affix:?}")));
        }
    }
    if json.peek("dropout").and_then(Value::as_f64).is_none_or(|dropout| dropout != 0.0) && json.has("dropout") {
        notes.push("`model.dropout` is switched off: with it a song would not follow from its seed".to_owned());
    }
    let mut model = BPE::builder()
        .cache_capacity(KEPT_WORDS)
        .fuse_unk(json.flag("fuse_unk", false)?)
        .byte_fallback(json.flag("byte_fallback", false)?)
        .ignore_merges(json.flag("ignore_merges", false)?);
    if let Some(unknown) = unknown(&mut json, &vocabulary)? {
        model = model.unk_token(unknown);
    }
    let model = model.vocab_and_merges(vocabulary, merges).build();
    Ok(model.map_err(|error| json.wrong("vocab", "a vocabulary", error))?.into())
}

fn unigram(mut json: Json, scores: Vec<(String, f64)>) -> Result<ModelWrapper> {
    if let Some(place) = scores.iter().position(|(_, score)| !score.is_finite() || score.abs() > LARGEST_SCORE) {
        let found = scores[place].1;
        return Err(json.wrong(&format!("vocab[{place}]"), "a token and its score, a logarithm", found));
    }
    if scores.is_empty() {
        return Err(json.wrong("vocab", "a list with tokens", "empty"));
    }
    let unknown = if json.has("unk_id") { Some(json.whole("unk_id", 0, 0..=scores.len() - 1)?) } else { None };
    let mut model = Unigram::from(scores, unknown, json.flag("byte_fallback", false)?)
        .map_err(|error| json.wrong("vocab", "a vocabulary", error))?;
    model.resize_cache(KEPT_WORDS);
    Ok(model.into())
}

/// The token that stands for what is in no vocabulary, where there is one.
fn unknown(json: &mut Json, vocabulary: &Vocab) -> Result<Option<String>> {
    if !json.has("unk_token") {
        return Ok(None);
    }
    let unknown = json.text("unk_token", "")?;
    if vocabulary.contains_key(&unknown) {
        return Ok(Some(unknown));
    }
    Err(json.wrong("unk_token", "a token of `model.vocab`", format!("{unknown:?}")))
}
