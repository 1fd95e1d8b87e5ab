//! Tokenisation of normalised words. The one file that knows the tokenizer's library.

use tokenizers::Tokenizer;

use super::{encoding::decode, known_tags::KnownTags, normalise::normalise, notes::WordsNote};
use crate::{
    error::{ModelError, Result},
    heartmula::{PromptIds, SpecialIds},
    weights::Checkpoint,
};

/// A checkpoint's tokenizer with the ids that begin and end the parts of a prompt.
#[derive(Debug)]
pub struct PromptTokenizer {
    tokenizer: Tokenizer,
    ids: SpecialIds,
    known_tags: Option<KnownTags>,
}

/// A prompt as the model will see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The normalised tags.
    pub tags: String,
    /// The normalised lyrics.
    pub lyrics: String,
    /// What was changed on the way, and what is probably not meant.
    pub notes: Vec<WordsNote>,
    /// The ids.
    pub ids: PromptIds,
}

impl PromptTokenizer {
    /// Reads the tokenizer in `file`.
    ///
    /// # Errors
    /// When it is missing or damaged, or has ids that a model with `vocabulary` embeddings does not know.
    pub fn load(checkpoint: &Checkpoint, file: &str, ids: SpecialIds, vocabulary: usize) -> Result<Self> {
        let bytes = checkpoint.file(file)?;
        let damaged = |reason: String| ModelError::Damaged {
            path: checkpoint.path_of(file),
            reason,
            remedy: "Restore the tokenizer.json that came with the checkpoint".to_owned(),
        };
        let text = decode(&bytes).map_err(|error| damaged(format!("it is {error}")))?;
        let tokenizer =
            Tokenizer::from_bytes(text.as_bytes()).map_err(|error| damaged(format!("it is no tokenizer ({error})")))?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        if largest as usize >= vocabulary {
            return Err(damaged(format!("it has ids up to {largest}, but the language model knows {vocabulary}")));
        }
        Ok(Self { tokenizer, ids, known_tags: None })
    }

    /// Has prompts note which of their tags are not among `tags`; nothing is noted where those are not known.
    #[must_use]
    pub fn knowing(self, tags: Option<KnownTags>) -> Self {
        Self { known_tags: tags, ..self }
    }

    /// Normalises tags and lyrics and writes them as ids, each part between BOS and EOS.
    ///
    /// # Errors
    /// When the lyrics are empty, or the tokenizer cannot write the words.
    pub fn prompt(&self, tags: &str, lyrics: &str) -> Result<Prompt> {
        let mut words = normalise(tags, lyrics)?;
        words.notes.extend(self.known_tags.as_ref().and_then(|known| known.note(&words.tags)));
        let ids = PromptIds { tags: self.encode(&words.tags)?, lyrics: self.encode(&words.lyrics)? };
        Ok(Prompt { tags: words.tags, lyrics: words.lyrics, notes: words.notes, ids })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.tokenizer.encode(text, true).map_err(|error| ModelError::Prompt {
            problem: format!("the tokenizer cannot write these words ({error})"),
            remedy: "Use the tokenizer.json that came with the checkpoint".to_owned(),
        })?;
        let mut ids = encoding.get_ids().to_vec();
        if ids.first() != Some(&self.ids.text_bos) {
            ids.insert(0, self.ids.text_bos);
        }
        if ids.last() != Some(&self.ids.text_eos) {
            ids.push(self.ids.text_eos);
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use crate::synth::tiny;
    use proptest::{prelude::*, test_runner::TestRunner};

    #[test]
    fn any_text_becomes_ids_that_the_model_knows_between_begin_and_end() {
        let (_folder, directory) = tiny();
        let (tokenizer, ids) = (directory.load_tokenizer().expect("a tokenizer"), directory.ids);
        const TEXT: &str = r"(?s)(\PC|.|<\|begin_of_text\|>|\x00){0,30}";
        let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
        let check = |(tags, lyrics): (String, String)| {
            let Ok(prompt) = tokenizer.prompt(&tags, &lyrics) else {
                return Ok(()); // words that cannot be sung are normalisation's part
            };
            for (part, text) in [(&prompt.ids.tags, &prompt.tags), (&prompt.ids.lyrics, &prompt.lyrics)] {
                // This model has an id for each byte.
                prop_assert_eq!(part.len(), text.len() + 2);
                prop_assert_eq!((part[0], part[part.len() - 1]), (ids.text_bos, ids.text_eos));
                prop_assert!(part[1..part.len() - 1].iter().all(|id| (3..259).contains(id)));
            }
            prop_assert_eq!(prompt.ids.positions(), prompt.tags.len() + prompt.lyrics.len() + 5);
            Ok(())
        };
        TestRunner::new(config).run(&(TEXT, TEXT), check).expect("every text");
    }
}
