//! Prompt tokens: the ids of tags and lyrics that the language model reads.

use serde::{Deserialize, Serialize};

/// From the prompt tokenizer to the language model; once per song.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTokens {
    /// Ids of the tags, BOS and EOS included.
    pub tags: Vec<u32>,
    /// Ids of the lyrics, BOS and EOS included.
    pub lyrics: Vec<u32>,
}
