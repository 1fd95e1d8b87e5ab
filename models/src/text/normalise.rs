//! Normalisation of words into the form that the model was trained on: lower case, tags inside `<tag>…</tag>` with
//! nothing but commas between them.

use super::{lyrics::read_lyrics, notes::WordsNote, tags};
use crate::error::Result;

/// Tags and lyrics as the tokenizer will see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalisedWords {
    /// The tags, wrapped.
    pub tags: String,
    /// The lyrics.
    pub lyrics: String,
    /// What was changed beyond lower case, wrapping and line breaks, and what is probably not meant.
    pub notes: Vec<WordsNote>,
}

/// Brings tags and lyrics into the form that the model was trained on.
///
/// The reference lowers the case of both and wraps the tags, and words that are clean otherwise get no more than that.
/// It leaves a space after a comma where it is, and the model then ignores the tags, so here it is removed, and so is
/// whatever else is no tag. Line breaks become `\n`, as they do where the reference reads a file; byte order marks and time
/// stamps are taken out.
///
/// # Errors
/// When the lyrics are empty, or are data (JSON, a web page) that holds lyrics.
pub fn normalise(tags: &str, lyrics: &str) -> Result<NormalisedWords> {
    let (lyrics, notes) = read_lyrics(lyrics)?;
    let (tags, note) = tags::read_tags(tags);
    let notes = note.into_iter().chain(notes).collect();
    Ok(NormalisedWords { tags: tags::wrapped(&tags), lyrics: lyrics.to_lowercase(), notes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn words_that_are_normal_stay_as_they_are(
            tags in r"(?s)(<tag>|</tag>|[ ,<>A-Z\t\n]|\PC|.){0,12}",
            lyrics in r"(?s)(\PC|.){0,40}",
        ) {
            let Ok(once) = normalise(&tags, &lyrics) else {
                return Ok(()); // that empty lyrics and data are refused, and nothing else, is promised below
            };
            prop_assert!(once.tags.starts_with("<tag>") && once.tags.ends_with("</tag>"));
            prop_assert_eq!(&once.tags, &once.tags.to_lowercase());
            prop_assert_eq!(&once.lyrics, &once.lyrics.to_lowercase());
            let twice = normalise(&once.tags, &once.lyrics).expect("words are still there");
            prop_assert_eq!(&twice.tags, &once.tags);
            prop_assert_eq!(&twice.lyrics, &once.lyrics);
            prop_assert!(!twice.notes.iter().any(WordsNote::is_change));
        }
    }

    fn tags(tags: &str) -> String {
        normalise(tags, "la").expect("lyrics are there").tags
    }

    #[test]
    fn tags_are_lowered_and_wrapped_once() {
        assert_eq!(tags("Piano,Happy"), "<tag>piano,happy</tag>");
        assert_eq!(tags("<TAG>Piano</TAG>"), "<tag>piano</tag>");
        assert_eq!(tags("<tag>piano"), "<tag>piano</tag>");
        assert_eq!(tags(""), "<tag></tag>");
    }

    #[test]
    fn a_space_beside_a_comma_is_removed_and_said_so() {
        let words = normalise("piano, happy ,calm", "la").expect("lyrics are there");
        assert_eq!(words.tags, "<tag>piano,happy,calm</tag>");
        assert_eq!(words.notes, [WordsNote::SpacesAtCommas]);
        assert!(normalise("piano,slow waltz\n", "la").expect("lyrics are there").notes.is_empty());
        assert_eq!(tags("piano,slow waltz\n"), "<tag>piano,slow waltz</tag>");
    }

    #[test]
    fn lyrics_keep_everything_but_their_case() {
        let words = normalise("x", "[Verse]\nOh, WHAT a day\n\nÄÖÜ\n").expect("lyrics are there");
        assert_eq!(words.lyrics, "[verse]\noh, what a day\n\näöü\n");
    }

    #[test]
    fn empty_lyrics_are_refused_with_a_remedy() {
        for lyrics in ["", "  \n\t"] {
            let error = normalise("piano", lyrics).expect_err("nothing to sing").to_string();
            assert!(error.contains("lyrics are empty") && error.contains("[Instrumental]"), "{error}");
        }
    }
}
