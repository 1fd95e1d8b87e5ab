//! Words of a song: tags of its sound, and a line of as many syllables for every phrase.

use super::{
    rng::CorpusRng,
    scores::{Collection, Kind, Piece},
    song::Song,
    variation::{Texture, Variation},
    vocabulary::{CODAS, Class, FILLERS, NUCLEI, ONSETS, OTHERS, Word, of},
};

/// Every tag that is not an instrument.
pub const TAGS: &[&str] = &[
    "happy",
    "joyful",
    "lively",
    "bright",
    "cheerful",
    "warm",
    "gentle",
    "calm",
    "peaceful",
    "dramatic",
    "restless",
    "energetic",
    "sad",
    "wistful",
    "melancholic",
    "dark",
    "major",
    "minor",
    "slow",
    "medium",
    "fast",
    "solo",
    "duet",
    "polyphonic",
    "accompanied",
    "baroque",
    "chorale",
    "classical",
    "folk",
    "irish",
    "fiddle",
    "reel",
    "jig",
    "hornpipe",
    "strathspey",
    "waltz",
    "march",
    "air",
    "polka",
    "dance",
];

/// The marks of sections, as they are written.
pub const MARKS: &[&str] = &["[Intro]", "[Verse]", "[Chorus]", "[Outro]", "[Instrumental]"];

/// Slower and faster than these, in melody notes a second, is tagged slow and fast.
const PACES: (f64, f64) = (2.3, 3.8);

/// Tags of a song: lower case, separated by commas, the instruments first as a rule. Moods come from mode and pace.
pub fn tags(piece: &Piece, variation: &Variation, song: &Song, rng: &mut CorpusRng) -> String {
    let minor = piece.mode.is_minor();
    let pace = usize::from(song.pace > PACES.0) + usize::from(song.pace > PACES.1);
    let moods: &[&str] = match (minor, pace) {
        (false, 0) => &["calm", "peaceful", "gentle", "warm"],
        (false, 1) => &["happy", "warm", "cheerful", "gentle"],
        (false, _) => &["happy", "joyful", "lively", "bright"],
        (true, 0) => &["sad", "melancholic", "calm", "dark"],
        (true, 1) => &["sad", "wistful", "dark"],
        (true, _) => &["dramatic", "restless", "dark", "energetic"],
    };
    let texture = match variation.texture {
        Texture::Solo => "solo",
        Texture::Duet => "duet",
        Texture::Full => "polyphonic",
        Texture::Block | Texture::AfterBeat | Texture::Broken => "accompanied",
    };
    let genres: &[&str] = match piece.collection {
        Collection::Bach => &["baroque", "chorale", "classical"],
        Collection::Ryan => &["folk", "fiddle"],
        Collection::ONeill => &["folk", "irish"],
    };
    let kind = match piece.kind {
        Kind::Chorale => "chorale",
        Kind::Reel => "reel",
        Kind::Jig => "jig",
        Kind::Hornpipe => "hornpipe",
        Kind::Strathspey => "strathspey",
        Kind::Waltz => "waltz",
        Kind::March => "march",
        Kind::Air => "air",
        Kind::Polka => "polka",
        Kind::Dance => "dance",
    };
    let mut rest = vec![];
    let mut perhaps = |probability: f64, tag: &'static str| {
        if rng.happens(probability) && !rest.contains(&tag) {
            rest.push(tag);
        }
    };
    perhaps(0.6, if minor { "minor" } else { "major" });
    perhaps(0.6, ["slow", "medium", "fast"][pace]);
    perhaps(0.5, texture);
    perhaps(0.4, kind);
    if rng.happens(0.85) {
        rest.push(rng.pick(moods));
    }
    if rng.happens(0.6) {
        let genre = rng.pick(genres);
        if !rest.contains(&genre) {
            rest.push(genre);
        }
    }
    rng.shuffle(&mut rest);
    let instruments = [Some(variation.lead), variation.second].into_iter().flatten().map(|one| one.tag);
    let mut tags: Vec<&str> = instruments.chain(rest).collect();
    if rng.happens(0.12) {
        rng.shuffle(&mut tags);
    }
    tags.join(",")
}

/// The lyrics of an excerpt: each phrase is a line under a section mark, but for an `[Intro]`, which is one phrase that is
/// not sung. `[Outro]` is the last section as a rule; without a line it is the last chord alone.
pub fn lyrics(piece: &Piece, variation: &Variation, song: &Song, rng: &mut CorpusRng) -> String {
    let count = variation.order.len();
    if count <= 3 && rng.happens(0.04) {
        return "[Instrumental]\n\n[Outro]".to_owned();
    }
    let intro = count > 2 && rng.happens(0.08);
    let sung_outro = rng.happens(0.6);
    let style = rng.weighted(&[(Style::Plain, 70), (Style::Invented, 22), (Style::Fillers, 8)]);
    let lines_a_section = 2 + 2 * rng.below(2);
    let half = piece.length() / 2;
    let mut sections: Vec<(&str, Vec<String>)> = Vec::new();
    for (place, phrase) in variation.order.iter().enumerate() {
        let phrase = variation.division.phrases[*phrase];
        let second_part = phrase.start + piece.bar() >= half && piece.kind != Kind::Chorale;
        let mark = match place {
            0 if intro => "[Intro]",
            _ if place + 1 == count && sung_outro => "[Outro]",
            _ if second_part => "[Chorus]",
            _ => "[Verse]",
        };
        if sections.last().is_none_or(|(last, lines)| *last != mark || lines.len() == lines_a_section) {
            sections.push((mark, Vec::new()));
        }
        if let Some((_, lines)) = sections.last_mut().filter(|_| mark != "[Intro]") {
            lines.push(line(song.syllables[place], style, rng));
        }
    }
    // Lyrics without an outro end all the same.
    if !sung_outro && rng.happens(0.6) {
        sections.push(("[Outro]", Vec::new()));
    }
    let written = sections.iter().map(|(mark, lines)| {
        let lines: String = lines.iter().map(|line| format!("\n{line}")).collect();
        format!("{mark}{lines}")
    });
    written.collect::<Vec<_>>().join("\n\n")
}

/// What kind of words a line has.
#[derive(Debug, Clone, Copy)]
pub enum Style {
    /// Words of the list.
    Plain,
    /// Some words are not in the list, as some of every user's will not be.
    Invented,
    /// One syllable again and again.
    Fillers,
}

/// A line of `syllables` syllables.
pub fn line(syllables: usize, style: Style, rng: &mut CorpusRng) -> String {
    let mut words: Vec<String> = match style {
        Style::Fillers => vec![rng.pick(FILLERS).to_owned(); syllables],
        Style::Plain | Style::Invented => sentence(syllables, rng)
            .into_iter()
            .map(|word| match style {
                Style::Invented if word.syllables == 1 && rng.happens(0.3) => rng.pick(OTHERS).to_owned(),
                Style::Invented if rng.happens(0.4) => invented(word.syllables, rng),
                _ => word.text.to_owned(),
            })
            .collect(),
    };
    if words.len() > 3 && rng.happens(0.15) {
        let middle = words.len() / 2;
        words[middle - 1].push(',');
    }
    words.join(" ")
}

fn invented(syllables: usize, rng: &mut CorpusRng) -> String {
    let syllable = |_| [rng.pick(ONSETS), rng.pick(NUCLEI), rng.pick(CODAS)].concat();
    (0..syllables).map(syllable).collect()
}

/// What may follow a class, and how often.
fn following(class: Option<Class>) -> &'static [(Class, u32)] {
    use Class::{Adjective, Adverb, Article, Conjunction, Noun, Preposition, Pronoun, ThirdPerson, Verb};
    match class {
        None => &[(Article, 5), (Pronoun, 4), (Preposition, 2), (Adverb, 1), (Verb, 1), (Conjunction, 1)],
        Some(Article) => &[(Noun, 5), (Adjective, 4)],
        Some(Adjective) => &[(Noun, 1)],
        Some(Noun) => &[(ThirdPerson, 4), (Preposition, 3), (Conjunction, 2)],
        Some(Pronoun) => &[(Verb, 1)],
        Some(Verb | ThirdPerson) => &[(Article, 3), (Adverb, 3), (Preposition, 3)],
        Some(Adverb) => &[(Preposition, 2), (Conjunction, 2), (Pronoun, 1)],
        Some(Preposition) => &[(Article, 1)],
        Some(Conjunction) => &[(Article, 2), (Pronoun, 2)],
    }
}

/// Words of `syllables` syllables together, in an order that could be a sentence, and ending as one could.
fn sentence(syllables: usize, rng: &mut CorpusRng) -> Vec<Word> {
    const TRIES: usize = 60;
    for _ in 0..TRIES {
        let (mut words, mut left, mut class) = (Vec::new(), syllables, None);
        while left > 0 {
            let next = rng.weighted(following(class));
            let fitting: Vec<Word> = of(next).filter(|word| word.syllables <= left).collect();
            if fitting.is_empty() {
                break;
            }
            let word = rng.pick(&fitting);
            (left, class) = (left - word.syllables, Some(next));
            words.push(word);
        }
        if left == 0 && matches!(class, Some(Class::Noun | Class::Verb | Class::ThirdPerson | Class::Adverb)) {
            return words;
        }
    }
    vec![Word { text: FILLERS[0], syllables: 1 }; syllables]
}
