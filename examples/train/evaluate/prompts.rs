//! Prompts in the manner of users: 48 sets of tags and lyrics that no song of the corpus has.

/// What the repository has of them: `>` begins the tags of one, and its lyrics follow.
const TEXT: &str = include_str!("prompts.txt");

/// Tags and lyrics as a user writes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Words with commas between.
    pub tags: String,
    /// Lines and marks of sections.
    pub lyrics: String,
}

impl Prompt {
    /// Lines that are sung.
    pub fn lines(&self) -> usize {
        sung_lines(&self.lyrics)
    }
}

/// Lines of lyrics that are neither empty nor a mark.
pub fn sung_lines(lyrics: &str) -> usize {
    lyrics.lines().filter(|line| !line.is_empty() && !line.starts_with('[')).count()
}

/// All of them, in an order that has short and long ones from the beginning on.
pub fn prompts() -> Vec<Prompt> {
    let written: Vec<Prompt> = TEXT
        .split("\n>")
        .skip(1)
        .map(|one| {
            let (tags, lyrics) = one.split_once('\n').unwrap_or((one, ""));
            Prompt { tags: tags.trim().to_owned(), lyrics: lyrics.trim().to_owned() }
        })
        .collect();
    // They are written from the shortest to the longest; 29 is prime to 48, and the first eight are of all lengths.
    (0..written.len()).map(|place| written[place * 29 % written.len()].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_48_different_prompts_of_1_to_17_lines() {
        let prompts = prompts();
        assert_eq!(prompts.len(), 48);
        let different: BTreeSet<&str> = prompts.iter().map(|prompt| prompt.lyrics.as_str()).collect();
        assert_eq!(different.len(), 48);
        let lines: BTreeSet<usize> = prompts.iter().map(Prompt::lines).collect();
        assert_eq!(lines, (1..=17).collect());
        let first: Vec<usize> = prompts.iter().take(8).map(Prompt::lines).collect();
        assert!(first.iter().any(|lines| *lines <= 4) && first.iter().any(|lines| *lines >= 12), "{first:?}");
        assert!(prompts.iter().all(|prompt| !prompt.tags.is_empty() && !prompt.lyrics.contains('>')));
    }
}
