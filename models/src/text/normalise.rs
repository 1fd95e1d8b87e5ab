//! In which form does the model know words? Lower case, tags inside `<tag>…</tag>`, no space after a comma of the tags.

use crate::error::{ModelError, Result};

/// Tags and lyrics as the tokenizer will see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NormalisedWords {
    /// The tags, wrapped.
    pub tags: String,
    /// The lyrics.
    pub lyrics: String,
    /// A sentence for each thing that was changed beyond lower case and wrapping.
    pub notes: Vec<String>,
}

/// Brings tags and lyrics into the form that the model was trained on.
///
/// The reference lowers the case of both and wraps the tags. It leaves a space after a comma where it is, and the
/// model then ignores the tags, so here it is removed, and a note says so. The same holds for white space around
/// the tags, which a file's last line break is.
///
/// # Errors
/// When the lyrics are empty.
pub fn normalise(tags: &str, lyrics: &str) -> Result<NormalisedWords> {
    if lyrics.trim().is_empty() {
        return Err(ModelError::Prompt {
            problem: "the lyrics are empty".to_owned(),
            remedy: "Give at least one line of words or a section mark; [Instrumental] alone is enough".to_owned(),
        });
    }
    let mut notes = Vec::new();
    let mut tags = tags.trim().to_lowercase();
    let tight = without_spaces_at_commas(&tags);
    if tight != tags {
        notes.push(
            "spaces beside the commas of the tags were removed: the model does not understand tags with them"
                .to_owned(),
        );
        tags = tight;
    }
    if !tags.starts_with("<tag>") {
        tags.insert_str(0, "<tag>");
    }
    if !tags.ends_with("</tag>") {
        tags.push_str("</tag>");
    }
    Ok(NormalisedWords { tags, lyrics: lyrics.to_lowercase(), notes })
}

fn without_spaces_at_commas(tags: &str) -> String {
    tags.split(',').map(str::trim).collect::<Vec<_>>().join(",")
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
                prop_assert!(lyrics.trim().is_empty());
                return Ok(());
            };
            prop_assert!(once.tags.starts_with("<tag>") && once.tags.ends_with("</tag>"));
            prop_assert_eq!(&once.tags, &once.tags.to_lowercase());
            prop_assert_eq!(&once.lyrics, &once.lyrics.to_lowercase());
            let twice = normalise(&once.tags, &once.lyrics).expect("words are still there");
            prop_assert_eq!(&twice.tags, &once.tags);
            prop_assert_eq!(&twice.lyrics, &once.lyrics);
            prop_assert!(twice.notes.is_empty());
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
        assert_eq!(words.notes.len(), 1);
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
