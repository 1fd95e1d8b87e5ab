//! Metadata of a song, as every format has it.

/// No entry is longer: a page of lyrics is 4 kB.
const MOST_BYTES: usize = 32 << 10;

/// What a file says about its song.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Its title.
    pub title: String,
    /// What it should sound like.
    pub tags: String,
    /// What is sung.
    pub lyrics: String,
    /// The seed.
    pub seed: u64,
    /// The model, by its fingerprint.
    pub model: String,
    /// The program and its version.
    pub software: String,
}

impl Metadata {
    /// The metadata of a song; its title is the first line of the words that is sung.
    pub fn new(tags: &str, lyrics: &str, seed: u64, model: &str) -> Self {
        Self {
            title: title(lyrics, tags),
            tags: shortened(tags.trim()).to_owned(),
            lyrics: shortened(lyrics).to_owned(),
            seed,
            model: model.to_owned(),
            software: format!("heartstream {}", env!("CARGO_PKG_VERSION")),
        }
    }

    /// Everything with which the song can be made again, in one text.
    pub fn comment(&self) -> String {
        format!("tags: {}\nseed: {}\nmodel: {}\n\n{}", self.tags, self.seed, self.model, self.lyrics)
    }

    /// Names and values of Vorbis comments, which FLAC and Ogg share.
    pub(crate) fn comments(&self) -> Vec<(&'static str, String)> {
        let entries = [
            ("TITLE", self.title.clone()),
            ("GENRE", self.tags.clone()),
            ("LYRICS", self.lyrics.clone()),
            ("SEED", self.seed.to_string()),
            ("MODEL", self.model.clone()),
            ("ENCODER", self.software.clone()),
        ];
        entries.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }
}

/// The first sung line, without section marks; else the tags.
fn title(lyrics: &str, tags: &str) -> String {
    let line = lyrics.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('['));
    line.unwrap_or(tags).chars().filter(|letter| !letter.is_control()).take(80).collect()
}

/// The beginning of `text` that is short enough, cut between two letters.
fn shortened(text: &str) -> &str {
    let end = (0..=MOST_BYTES.min(text.len())).rev().find(|place| text.is_char_boundary(*place));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_title_is_the_first_line_that_is_sung() {
        let title = |lyrics| Metadata::new("piano,calm", lyrics, 1, "").title;
        assert_eq!(title("[Intro]\n\n[Verse]\n  The sun\u{7} creeps in\nAcross"), "The sun creeps in");
        assert_eq!(title("[Instrumental]"), "piano,calm");
    }

    #[test]
    fn a_long_text_is_cut_between_two_letters() {
        let metadata = Metadata::new("", &"é".repeat(MOST_BYTES), 1, "");
        assert_eq!(metadata.lyrics.len(), MOST_BYTES);
        assert_eq!(shortened(&format!("x{}", "é".repeat(MOST_BYTES))).len(), MOST_BYTES - 1);
    }
}
