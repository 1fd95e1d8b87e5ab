//! Prompts of a drafter's training songs: from a file, or some of each kind that the model sings.
//!
//! A drafter that knows one kind of song is of little use for others, and one that learns from words that the model
//! does not know learns from songs that are never requested.

use std::path::Path;

use heartstream_models::signal::KeyedNoise;

use super::super::{
    Failed,
    prompt_input::{self, Words},
};

/// A model with fewer words than this in its vocabulary is a small one with words of its own.
const FEW_WORDS: usize = 10_000;

/// Instruments, moods and genres for the published models.
const PUBLISHED: [&[&str]; 3] = [
    &["piano", "guitar", "strings", "drums", "synthesizer", "violin", "saxophone", "acoustic guitar"],
    &["calm", "happy", "energetic", "sad", "dreamy", "romantic", "slow", "warm"],
    &["electronic", "rock", "folk", "jazz", "pop", "ballad", "hip hop", "classical"],
];
/// Those that a small model was taught.
const SMALL: [&[&str]; 3] = [
    &["piano", "harpsichord", "organ", "guitar", "violin", "strings", "choir", "trumpet", "clarinet", "flute"],
    &["happy", "lively", "warm", "gentle", "calm", "dark", "sad", "restless", "major", "minor", "slow", "fast"],
    &["baroque", "chorale", "classical", "folk", "irish", "reel", "jig", "hornpipe", "waltz", "march", "air", "solo"],
];
/// Lines to sing, in words that every model knows.
const LINES: [&str; 20] = [
    "the morning comes over the hill",
    "and the river runs on to the sea",
    "i hear a song in the summer rain",
    "you walk with me on the empty road",
    "a light is burning on the shore",
    "we sing of love and of the sun",
    "the night is long, the star is bright",
    "hold my hand and come home",
    "a bird returns to the garden again",
    "the wind carries a whisper away",
    "we dance around the fire tonight",
    "my heart remembers every word",
    "far from the harbour the boat goes slowly",
    "the bell rings over the silent town",
    "old friends wait by the open door",
    "in the shadow of the golden tree",
    "now the winter turns into spring",
    "la la la la la la",
    "we rise with the dawn and sing",
    "let it ring, let it run",
];

/// The prompt of song number `number`: the words that were given for the first, and every other a choice of what a
/// model with `vocabulary` words knows; or the lines of `file`, one after the other.
pub(super) struct Prompts {
    given: Words,
    listed: Vec<Words>,
    tags: [&'static [&'static str]; 3],
    noise: KeyedNoise,
}

impl Prompts {
    pub(super) fn new(given: Words, file: Option<&Path>, vocabulary: usize, seed: u64) -> Result<Self, Failed> {
        let listed = file.map_or(Ok(Vec::new()), read)?;
        let tags = if vocabulary < FEW_WORDS { SMALL } else { PUBLISHED };
        Ok(Self { given, listed, tags, noise: KeyedNoise::new(seed) })
    }

    /// Tags and lyrics.
    pub(super) fn of(&self, number: usize) -> (String, String) {
        if let Some(words) = self.listed.get(number % self.listed.len().max(1)) {
            return (words.tags.clone(), words.lyrics.clone());
        }
        if number == 0 {
            return (self.given.tags.clone(), self.given.lyrics.clone());
        }
        let mut draws = self.noise.draws(number as u64);
        let mut below = |count| draws.below(count);
        let mut tags = Vec::new();
        for (kind, most) in self.tags.into_iter().zip([2, 2, 2]) {
            for _ in 0..=below(most) {
                let tag = kind[below(kind.len())];
                if !tags.contains(&tag) {
                    tags.push(tag);
                }
            }
        }
        if below(16) == 0 {
            return (tags.join(","), "[Instrumental]\n\n[Outro]".to_owned());
        }
        let mut lyrics = String::new();
        for _ in 0..=below(4) {
            lyrics += ["[Verse]", "[Chorus]"][below(2)];
            for _ in 0..2 * (1 + below(2)) {
                lyrics += "\n";
                lyrics += LINES[below(LINES.len())];
            }
            lyrics += "\n\n";
        }
        (tags.join(","), lyrics + "[Outro]")
    }
}

/// The prompts of a file: a line for each, tags, a bar, and lyrics, in which `\n` begins a new line.
fn read(file: &Path) -> Result<Vec<Words>, Failed> {
    let text = prompt_input::file("prompts", file)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    let prompts = lines.map(|(number, line)| match line.split_once('|') {
        Some((tags, lyrics)) if !lyrics.trim().is_empty() => {
            Ok(Words::new(tags.trim(), lyrics.trim().replace("\\n", "\n")))
        }
        _ => Err(Failed::Usage(format!(
            "line {} of {} is no prompt. Write tags, a bar and lyrics, such as: piano,calm | [Verse]\\nA song",
            number + 1,
            file.display()
        ))),
    });
    let prompts = prompts.collect::<Result<Vec<_>, _>>()?;
    if prompts.is_empty() {
        return Err(Failed::Usage(format!("there are no prompts in {}. Write one a line", file.display())));
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Words {
        Words::new("a", "b")
    }

    #[test]
    fn every_song_has_another_prompt_and_the_first_is_the_one_that_was_given() {
        for vocabulary in [1000, 128_256] {
            let prompts = Prompts::new(given(), None, vocabulary, 1).expect("a choice");
            assert_eq!(prompts.of(0), ("a".to_owned(), "b".to_owned()));
            let songs: std::collections::BTreeSet<_> = (0..64).map(|number| prompts.of(number)).collect();
            assert!(songs.len() > 60, "{} of 64 differ", songs.len());
            assert!(songs.iter().all(|(tags, lyrics)| !tags.is_empty() && !lyrics.trim().is_empty()));
            let again = Prompts::new(given(), None, vocabulary, 1).expect("a choice");
            assert!((0..64).all(|number| prompts.of(number) == again.of(number)), "what is resumed is the same");
        }
    }

    #[test]
    fn prompts_of_a_file_are_taken_in_turn_and_a_line_without_a_bar_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("prompts.txt");
        std::fs::write(&path, "piano,calm | [Verse]\\nA song\n\n flute|la la \n").expect("written");
        let prompts = Prompts::new(given(), Some(&path), 1000, 1).expect("two prompts");
        let expected = [("piano,calm", "[Verse]\nA song"), ("flute", "la la")];
        for number in 0..4 {
            let (tags, lyrics) = prompts.of(number);
            assert_eq!((tags.as_str(), lyrics.as_str()), expected[number % 2]);
        }
        for wrong in ["piano", "piano |", "", "\n\n"] {
            std::fs::write(&path, wrong).expect("written");
            assert!(matches!(Prompts::new(given(), Some(&path), 1000, 1), Err(Failed::Usage(_))), "{wrong:?}");
        }
    }
}
