//! Tokenizer: normalised words to ids. The one module that uses the tokenizer's library.
//!
//! The library panics, aborts or never ends on some files. So a file is read and checked here (`file`, `model`,
//! `parts`, `regex_limits`). The library is given parts that were made one by one, and a panic that remains becomes an
//! error.

mod file;
mod model;
mod parts;
mod regex_limits;

use std::path::Path;

use tokenizers::{ModelWrapper, Tokenizer};

use self::{
    file::{MOST_BYTES, TokenizerFile},
    parts::{Template, TokenizerParts},
};
use super::{encoding::decode, known_tags::KnownTags, normalise::normalise, notes::WordsNote};
use crate::{
    contained,
    error::{ModelError, Result},
    foreign_text::shown,
    heartmula::{PromptTokens, SpecialIds},
    weights::{Checkpoint, Json, foreign_file},
};

/// Bytes of a text that is encoded at once: several times what the positions of a model hold.
const LONGEST_TEXT: usize = 1 << 16;
/// Words that every tokenizer can encode, for a trial.
const TRIAL: (&str, &str) = ("piano,calm", "[Verse]\nThe sun creeps in across the floor, 2 × là\n");

/// A checkpoint's tokenizer with the ids that begin and end the parts of a prompt.
#[derive(Debug)]
pub struct PromptTokenizer {
    tokenizer: Tokenizer,
    template: Template,
    ids: SpecialIds,
    notes: Vec<String>,
    known_tags: Option<KnownTags>,
}

/// A prompt as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The normalised tags.
    pub tags: String,
    /// The normalised lyrics.
    pub lyrics: String,
    /// What was changed on the way, and what is probably not meant.
    pub notes: Vec<WordsNote>,
    /// The ids.
    pub ids: PromptTokens,
}

impl PromptTokenizer {
    /// Reads the tokenizer in `file`.
    ///
    /// # Errors
    /// When it is missing or damaged, is of an unknown type, or has ids that a model with `vocabulary` embeddings does
    /// not know.
    pub fn load(checkpoint: &Checkpoint, file: &str, ids: SpecialIds, vocabulary: usize) -> Result<Self> {
        Self::read(&checkpoint.path_of(file), &checkpoint.file(file)?, ids, vocabulary)
    }

    /// Makes the tokenizer of the bytes of a `tokenizer.json`; `path` is for messages.
    ///
    /// # Errors
    /// As [`PromptTokenizer::load`].
    pub fn read(path: &Path, bytes: &[u8], ids: SpecialIds, vocabulary: usize) -> Result<Self> {
        let damaged = |reason: String| damaged(path, reason);
        if bytes.len() > MOST_BYTES {
            return Err(damaged(format!("it has {} bytes, and tokenizers have at most {MOST_BYTES}", bytes.len())));
        }
        let text = decode(bytes).map_err(|error| damaged(format!("it is {error}")))?;
        let file = serde_json::from_str(&text).map_err(|error| match foreign_file(bytes) {
            Some(kind) => ModelError::Foreign { path: path.to_owned(), what: kind.what, remedy: kind.remedy },
            None => damaged(format!("it is no tokenizer ({})", shown(&error.to_string()))),
        })?;
        let mut notes = Vec::new();
        // Constructing the parts can panic, too.
        let made = contained(|| make(path, file, &mut notes));
        let (tokenizer, template) =
            made.map_err(|panic| damaged(format!("the library of tokenizers panicked on it ({panic})")))??;
        let known = tokenizer.get_vocab(true).into_values();
        let largest = known.chain(template.before.iter().chain(&template.behind).copied()).max().unwrap_or(0);
        if largest as usize >= vocabulary {
            return Err(damaged(format!("it has ids up to {largest}, but the language model knows {vocabulary}")));
        }
        let notes = notes.into_iter().map(|note| format!("{}: {note}", path.display())).collect();
        Ok(Self { tokenizer, template, ids, notes, known_tags: None })
    }

    /// Sets the known tags: prompts then note tags that are not among them; `None` notes nothing.
    #[must_use]
    pub fn knowing(self, tags: Option<KnownTags>) -> Self {
        Self { known_tags: tags, ..self }
    }

    /// Parts of the file that are ignored, in sentences.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Encodes a few words, to see whether that works at all. The number of ids.
    ///
    /// # Errors
    /// When the words cannot be encoded.
    pub fn try_out(&self) -> Result<usize> {
        self.prompt(TRIAL.0, TRIAL.1).map(|prompt| prompt.ids.tags.len() + prompt.ids.lyrics.len())
    }

    /// Normalises tags and lyrics and writes them as ids, each part between BOS and EOS.
    ///
    /// # Errors
    /// When the lyrics are empty, or the tokenizer cannot write the words.
    pub fn prompt(&self, tags: &str, lyrics: &str) -> Result<Prompt> {
        let mut words = normalise(tags, lyrics)?;
        words.notes.extend(self.known_tags.as_ref().and_then(|known| known.note(&words.tags)));
        let ids = PromptTokens { tags: self.encode(&words.tags)?, lyrics: self.encode(&words.lyrics)? };
        Ok(Prompt { tags: words.tags, lyrics: words.lyrics, notes: words.notes, ids })
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        if text.len() > LONGEST_TEXT {
            return Err(ModelError::Prompt {
                problem: format!("the words have {} bytes, and at most {LONGEST_TEXT} can be sung", text.len()),
                remedy: "Shorten them".to_owned(),
            });
        }
        let failed = |reason: String| ModelError::Prompt {
            problem: format!("the tokenizer cannot write these words ({reason})"),
            remedy: "Use the tokenizer.json that came with the checkpoint".to_owned(),
        };
        let encoding = contained(|| self.tokenizer.encode(text, false))
            .map_err(|panic| failed(format!("its library panicked: {panic}")))?
            .map_err(|error| failed(shown(&error.to_string())))?;
        let mut ids = [&self.template.before[..], encoding.get_ids(), &self.template.behind].concat();
        if ids.first() != Some(&self.ids.text_bos) {
            ids.insert(0, self.ids.text_bos);
        }
        if ids.last() != Some(&self.ids.text_eos) {
            ids.push(self.ids.text_eos);
        }
        Ok(ids)
    }
}

fn damaged(path: &Path, reason: String) -> ModelError {
    let remedy = "Restore the tokenizer.json that came with the checkpoint".to_owned();
    ModelError::Damaged { path: path.to_owned(), reason, remedy }
}

/// Makes the library's tokenizer, and what goes around a text.
fn make(path: &Path, file: TokenizerFile, notes: &mut Vec<String>) -> Result<(Tokenizer, Template)> {
    let TokenizerFile { parts, model, vocabulary, merges } = file;
    let mut json = Json::of(path.to_owned(), "", parts.into_iter().collect());
    let version = json.text("version", "1.0")?;
    if version != "1.0" {
        return Err(json.wrong("version", "1.0", version));
    }
    for name in ["truncation", "padding"] {
        if json.has(name) {
            notes.push(format!("`{name}` is switched off: a song is sung with all of its words and nothing else"));
        }
    }
    let model = Json::of(path.to_owned(), "model.", model);
    let mut tokenizer = Tokenizer::new(model::model(model, vocabulary, merges, notes)?);
    let mut parts = TokenizerParts::new();
    if let Some(normalizer) = json.object("normalizer")? {
        let normalizer = parts.normalizer(normalizer, 0)?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(|error| damaged(path, shown(&error.to_string())))?;
    }
    if let Some(pre_tokenizer) = json.object("pre_tokenizer")? {
        tokenizer.with_pre_tokenizer(Some(parts.pre_tokenizer(pre_tokenizer, 0)?));
    }
    // Without a token for what it does not know, BPE drops that.
    if matches!(tokenizer.get_model(), ModelWrapper::BPE(bpe) if bpe.get_unk_token().is_none() && !bpe.byte_fallback) {
        parts.check_bytes(&json, |token| tokenizer.token_to_id(token).is_some())?;
    }
    let template = json.object("post_processor")?.map_or(Ok(Template::default()), |json| parts::template(json, 0))?;
    let added = parts::added_tokens(&mut json)?;
    let tokens = added.iter().map(|(token, _)| token.clone());
    tokenizer.add_tokens(tokens).map_err(|error| damaged(path, shown(&error.to_string())))?;
    for (token, id) in added {
        let given = tokenizer.token_to_id(&token.content);
        if given != Some(id) {
            let found = given.map_or("none".to_owned(), |given| given.to_string());
            return Err(json.wrong(
                "added_tokens",
                format!("a list in which {:?} has the id {found}", token.content),
                id,
            ));
        }
    }
    Ok((tokenizer, template))
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, test_runner::TestRunner};

    use crate::{heartmula::prompt_positions, test_checkpoints::tiny};

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
            prop_assert_eq!(prompt_positions(&prompt.ids), prompt.tags.len() + prompt.lyrics.len() + 5);
            Ok(())
        };
        TestRunner::new(config).run(&(TEXT, TEXT), check).expect("every text");
    }
}
