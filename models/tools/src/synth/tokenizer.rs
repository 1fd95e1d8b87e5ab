//! Tokenizer of a synthesised checkpoint: one id for each byte.

use heartstream_models::{ModelError, Result};
use tokenizers::{
    Tokenizer,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::byte_level::ByteLevel,
};

/// Ids of begin and end of a text; 0 is the empty id.
pub(super) const SPECIAL: [u32; 2] = [1, 2];
/// The empty id, begin and end, and the bytes.
pub(super) const VOCABULARY: usize = 3 + 256;

/// The `tokenizer.json`.
pub(super) fn byte_tokenizer() -> Result<String> {
    let failed = |error: tokenizers::Error| ModelError::shape("tokenizer", "one that can be made", error);
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let special = ["<|empty|>", "<|begin_of_text|>", "<|end_of_text|>"].map(str::to_owned);
    let names = special.into_iter().chain(letters.iter().map(char::to_string));
    let vocabulary: Vocab = names.zip(0..).collect();
    let model = BPE::builder().vocab_and_merges(vocabulary, Vec::new()).build().map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, false, false)));
    tokenizer.with_decoder(Some(ByteLevel::default()));
    tokenizer.to_string(true).map_err(failed)
}
