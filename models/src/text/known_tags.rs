//! Known tags of a model: from a file of the checkpoint, or from its authors' documentation.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::{encoding::decode, notes::WordsNote, tags::separate};

/// The file of a checkpoint that lists the tags it was taught.
pub const TAGS_FILE: &str = "tags.json";
/// Ids of the tokenizer of the published models (their config.json), by which they are known.
pub const PUBLISHED_VOCABULARY: usize = 128_256;
/// A longer list than this is no list of tags.
const MOST_BYTES: usize = 1 << 20;
/// Changed letters by which a tag may differ from the one that was meant.
const SLIPS: usize = 2;

/// The tags that a model is known to take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTags {
    /// Whether the model was taught no others.
    pub complete: bool,
    /// Where the list comes from, in a sentence or two.
    pub source: String,
    /// The tags by kind.
    pub groups: Vec<TagGroup>,
    /// Tags as they may be asked for.
    pub examples: Vec<String>,
}

/// Tags of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagGroup {
    /// The kind, such as `instruments`.
    pub name: String,
    /// The tags, in lower case.
    pub tags: Vec<String>,
}

impl KnownTags {
    /// Those of the published models.
    pub fn published() -> Option<Self> {
        Self::parse(include_bytes!("published_tags.json")).ok()
    }

    /// Reads a list.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MOST_BYTES {
            return Err("it is longer than 1 MiB".to_owned());
        }
        let text = decode(bytes).map_err(|error| format!("it is {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("it is no list of tags ({error})"))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().flat_map(|group| &group.tags).map(String::as_str)
    }

    /// A note on those of `tags` (normalised) that are not among the known ones.
    pub(super) fn note(&self, tags: &str) -> Option<WordsNote> {
        let known: HashSet<&str> = self.all().collect();
        let unknown: Vec<&str> = separate(tags).filter(|tag| !known.contains(tag)).collect();
        let meant = unknown.iter().find_map(|tag| Some(((*tag).to_owned(), self.meant(tag, &known)?)));
        let tags: Vec<String> = unknown.into_iter().map(str::to_owned).collect();
        (!tags.is_empty()).then_some(WordsNote::UnknownTags { tags, meant, certain: self.complete })
    }

    /// The likely meaning of an unknown tag: several with commas forgotten between, or one with a slip in it.
    fn meant(&self, tag: &str, known: &HashSet<&str>) -> Option<String> {
        let words: Vec<&str> = tag.split([' ', '/', '+', '&', '_']).filter(|word| !word.is_empty()).collect();
        if words.len() > 1 && words.iter().all(|word| known.contains(word)) {
            return Some(words.join(","));
        }
        let spaced = tag.replace(['_', '-'], " ");
        let near = |candidate: &&str| *candidate == spaced || tag.chars().count() > 3 && slips(tag, candidate) <= SLIPS;
        self.all().filter(near).min_by_key(|candidate| slips(tag, candidate)).map(str::to_owned)
    }
}

/// Letters that must be changed, added or left out to make one word of the other (Levenshtein's distance); more than
/// [`SLIPS`] where the lengths say so already.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > SLIPS {
        return SLIPS + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> KnownTags {
        let list = br#"{"complete": true, "source": "a test", "groups": [{"name": "all", "tags": ["piano", "drums", "hip hop"]}],
            "examples": ["piano,drums"]}"#;
        KnownTags::parse(list).expect("a list")
    }

    #[test]
    fn unknown_tags_are_named_with_what_was_perhaps_meant() {
        assert_eq!(known().note("<tag>piano,hip hop</tag>"), None);
        assert_eq!(known().note("<tag></tag>"), None);
        let cases = [
            ("kazoo", None),
            ("paino", Some("piano")),
            ("piano drums", Some("piano,drums")),
            ("piano/drums", Some("piano,drums")),
            ("hip-hop", Some("hip hop")),
            ("drum", Some("drums")),
        ];
        for (tag, meant) in cases {
            let meant = meant.map(|meant| (tag.to_owned(), meant.to_owned()));
            let expected = WordsNote::UnknownTags { tags: vec![tag.to_owned()], meant, certain: true };
            assert_eq!(known().note(&format!("<tag>piano,{tag}</tag>")), Some(expected));
        }
    }

    #[test]
    fn the_published_list_is_whole_and_says_that_it_is_not_complete() {
        let published = KnownTags::published().expect("a list");
        assert!(!published.complete && published.source.contains("authors"));
        assert!(published.all().count() > 80);
        assert!(published.all().all(|tag| tag == tag.to_lowercase().trim() && !tag.contains(',')));
        for example in &published.examples {
            assert_eq!(published.note(example), None, "{example}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused_with_a_reason() {
        for (bytes, says) in [(&b"{}"[..], "no list of tags"), (b"\xff\xffx", "not UTF-8"), (&[b' '; 1 << 21], "1 MiB")]
        {
            let reason = KnownTags::parse(bytes).expect_err("no list");
            assert!(reason.contains(says), "{reason}");
        }
    }
}
