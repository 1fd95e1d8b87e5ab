//! Words to ids: decoding of files, normalisation, the checkpoint's tokenizer.

mod encoding;
mod known_tags;
mod lyrics;
mod normalise;
mod notes;
mod tags;
mod tokenizer;

pub use encoding::{NotText, NotTextKind, decode, decode_json, with_plain_lines};
pub use known_tags::{KnownTags, PUBLISHED_VOCABULARY, TAGS_FILE, TagGroup};
pub use normalise::{NormalisedWords, normalise};
pub use notes::WordsNote;
pub use tokenizer::{Prompt, PromptTokenizer};
