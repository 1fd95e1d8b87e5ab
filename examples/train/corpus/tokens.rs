//! Tokenizer of the demo model: a token a word, and tokens for syllables, letters and bytes, so
//! that every text a user types has an encoding.

use serde_json::{Value, json};

use super::{
    instruments::INSTRUMENTS,
    vocabulary::{FILLERS, NUCLEI, ONSETS, OTHERS, WORDS},
    words::{MARKS, TAGS},
};

/// The id that stands for no text (`empty_id` of gen_config.json).
pub const EMPTY: u32 = 0;
/// The ids that begin and end a part of a prompt (`text_bos_id` and `text_eos_id`).
pub const BEGIN_END: [u32; 2] = [1, 2];

/// Where a text is cut before it is spelled: blanks go, tags, marks, words and single signs stay whole.
const CUTS: &str = r"</?tag>|\[[a-z]+\]|\n\n|\n|[\p{L}']+|[^\p{L}]";
const BLANKS: &str = r"[ \t\r]+";

// A spelling with the largest sum of scores is taken, so whole words win.
/// Score of a whole word, a tag or a sign.
const WORD: f64 = -2.0;
/// Score of a syllable.
const SYLLABLE: f64 = -8.0;
/// Score of a letter.
const LETTER: f64 = -12.0;

/// The pieces in the order of their ids, each once, with their scores.
pub fn pieces() -> Vec<(String, f64)> {
    let special = ["<|empty|>", "<|begin_of_text|>", "<|end_of_text|>"].map(str::to_owned);
    let bytes = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>"));
    let signs = ["\n\n", "\n", "<tag>", "</tag>", ",", ".", "!", "?", "-", "'", ":", ";", "(", ")", "\"", "[", "]"];
    let marks = MARKS.iter().map(|mark| mark.to_lowercase());
    let known = TAGS.iter().chain(FILLERS).chain(OTHERS).copied().chain(INSTRUMENTS.iter().map(|one| one.tag));
    let sung = WORDS.iter().flat_map(|(.., list)| list.split_whitespace());
    let syllables = ONSETS.iter().flat_map(|onset| NUCLEI.iter().map(move |nucleus| [*onset, *nucleus].concat()));
    let letters = ('a'..='z').chain('0'..='9').map(String::from);

    let whole = signs.map(str::to_owned).into_iter().chain(marks).chain(known.chain(sung).map(str::to_owned));
    let scored = |pieces: Vec<String>, score| pieces.into_iter().map(move |piece| (piece, score));
    let mut seen = std::collections::HashSet::new();
    scored(special.into_iter().chain(bytes).collect(), LETTER)
        .chain(scored(whole.collect(), WORD))
        .chain(scored(letters.collect(), LETTER))
        .chain(scored(syllables.collect(), SYLLABLE))
        .filter(|(piece, _)| seen.insert(piece.clone()))
        .collect()
}

/// Number of ids (`text_vocab_size` of the language model's config.json).
pub fn vocabulary_size() -> usize {
    pieces().len()
}

/// The `tokenizer.json`: cuts, then the likeliest spelling (Unigram), then bytes for what has none.
pub fn tokenizer_json() -> String {
    let split = |pattern: &str, behavior: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": behavior, "invert": false });
    let file = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split(BLANKS, "Removed"), split(CUTS, "Isolated")],
        },
        "post_processor": null,
        "decoder": null,
        "model": { "type": "Unigram", "unk_id": EMPTY, "vocab": pieces(), "byte_fallback": true },
    });
    let mut text = serde_json::to_string(&file).unwrap_or_else(|_| Value::Null.to_string());
    text.push('\n');
    text
}
