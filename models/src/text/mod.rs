//! How do words become ids? The reference's normalisation, then the checkpoint's tokenizer.

mod normalise;
mod tokenizer;

pub use normalise::{NormalisedWords, normalise};
pub use tokenizer::{Prompt, PromptTokenizer};
