//! Notes on words: what was changed in them, and what in them is probably not meant.

use std::fmt;

/// Letters of foreign text that a note shows.
const SHOWN: usize = 60;
/// Pieces of foreign text that a note lists.
const LISTED: usize = 6;

/// A note on the words of a song. Its text form is a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WordsNote {
    /// Spaces beside the commas of the tags were removed.
    SpacesAtCommas,
    /// The tags were written otherwise than the model knows them: with other separators, as a list, in lines.
    TagsRead {
        /// What they were read as.
        read: String,
    },
    /// The model is not known to take some of the tags.
    UnknownTags {
        /// Those tags.
        tags: Vec<String>,
        /// What was perhaps meant by one of them: the tag, and what is known.
        meant: Option<(String, String)>,
        /// Whether the list of trained tags is complete, so that the model does not know these.
        certain: bool,
    },
    /// Time stamps and headers of a file of timed lyrics were taken out.
    TimeStamps {
        /// How many.
        count: usize,
    },
    /// Lines look like section marks, but are not written as such, and are sung.
    LikeMarks {
        /// The lines.
        lines: Vec<String>,
    },
}

impl WordsNote {
    /// Whether something was changed, so that words without such notes are seen by the model as they are.
    pub fn is_change(&self) -> bool {
        matches!(self, Self::SpacesAtCommas | Self::TagsRead { .. } | Self::TimeStamps { .. })
    }
}

impl fmt::Display for WordsNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpacesAtCommas => f.write_str(
                "spaces beside the commas of the tags were removed: the model does not understand tags with them",
            ),
            Self::TagsRead { read } => write!(
                f,
                "the tags were read as {}: the model knows tags with commas between them and nothing else",
                shown(read)
            ),
            Self::UnknownTags { tags, meant, certain } => {
                let (noun, they) = if tags.len() == 1 { ("tag", "it") } else { ("tags", "them") };
                match certain {
                    true => write!(
                        f,
                        "the model was never taught the {noun} {}, and the effect of {they} is random",
                        listed(tags)
                    )?,
                    false => write!(
                        f,
                        "the {noun} {} may or may not mean something to the model: its authors name others, and no full \
                         list of theirs is known",
                        listed(tags)
                    )?,
                }
                if let Some((tag, known)) = meant {
                    write!(f, ". Is {} meant to be {}?", shown(tag), shown(known))?;
                    return f.write_str(" `heartstream tags` lists what a model knows");
                }
                f.write_str("; `heartstream tags` lists what a model knows")
            }
            Self::TimeStamps { count: 1 } => f.write_str("a time stamp or header was taken out of the lyrics"),
            Self::TimeStamps { count } => write!(f, "{count} time stamps and headers were taken out of the lyrics"),
            Self::LikeMarks { lines } => {
                let (verb, marks) = if lines.len() == 1 {
                    ("looks like a section mark and is sung", "a mark is")
                } else {
                    ("look like section marks and are sung", "marks are")
                };
                write!(f, "{} {verb}: {marks} written as [Verse], alone on a line", listed(lines))
            }
        }
    }
}

/// Foreign text in quotes, shortened, with everything escaped that a terminal would act on.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

fn listed(texts: &[String]) -> String {
    let mut list: Vec<String> = texts.iter().take(LISTED).map(|text| shown(text)).collect();
    if texts.len() > LISTED {
        list.push(format!("{} more", texts.len() - LISTED));
    }
    match list.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_shows_no_more_than_a_part_of_foreign_text_and_no_control_character() {
        let tags: Vec<String> = (0..500).map(|n| format!("\u{1b}]0;title\u{7}{n}{}", "x".repeat(5000))).collect();
        for note in [
            WordsNote::UnknownTags {
                tags: tags.clone(),
                meant: Some((tags[0].clone(), tags[1].clone())),
                certain: false,
            },
            WordsNote::LikeMarks { lines: tags.clone() },
            WordsNote::TagsRead { read: tags.join(",") },
        ] {
            let text = note.to_string();
            assert!(text.len() < 2000 && !text.contains(char::is_control), "{text}");
        }
    }
}
