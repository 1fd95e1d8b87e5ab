//! Lyrics in a user's manner: lines whose syllables are not the notes, in any length, spelling and language.
//!
//! What a user's lines tell is how many phrases a song has and which of them come again, so that is all that these lines
//! have in common with their song: a line is a phrase, and a mark that comes again is a part that comes again.

use super::{
    form::Section,
    rng::CorpusRng,
    vocabulary::{FILLERS, FOREIGN},
    words::{Style, line},
};

/// Words of a line, fewest and most, of each metre and how likely it is.
const METRES: [((usize, usize), u32); 4] = [((1, 3), 3), ((3, 7), 8), ((7, 14), 3), ((1, 12), 3)];

/// How lines end.
#[derive(Debug, Clone, Copy)]
enum Signs {
    None,
    Commas,
    Sentences,
}

/// How sections are told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Marks {
    /// `[Verse]`, as the model's card says.
    Plain,
    /// `[Verse 1]`, `[Verse 2]`.
    Numbered,
    /// An empty line between two of them.
    Stanzas,
    /// Not at all.
    None,
}

/// What the lines of a song have in common.
struct Manner {
    /// Words of a language other than the list's own.
    foreign: Option<&'static str>,
    style: Style,
    metre: (usize, usize),
    signs: Signs,
    /// Whether lines have as many syllables as their phrases, as all lines of an excerpt have.
    sung: bool,
}

impl Manner {
    fn draw(rng: &mut CorpusRng) -> Self {
        Self {
            foreign: rng.happens(0.2).then(|| rng.pick(FOREIGN)),
            style: rng.weighted(&[(Style::Plain, 60), (Style::Invented, 34), (Style::Fillers, 6)]),
            metre: rng.weighted(&METRES),
            signs: rng.weighted(&[(Signs::None, 5), (Signs::Commas, 3), (Signs::Sentences, 2)]),
            sung: rng.happens(0.25),
        }
    }

    /// A line that stands on a phrase of `syllables` syllables.
    fn line(&self, syllables: usize, rng: &mut CorpusRng) -> String {
        let words = self.metre.0 + rng.below(self.metre.1 - self.metre.0 + 1);
        let mut line = match self.foreign {
            Some(language) => {
                let list: Vec<&str> = language.split_whitespace().collect();
                let foreign = |_| rng.pick(&list);
                (0..words).map(foreign).collect::<Vec<_>>().join(" ")
            }
            None if self.sung => line(syllables, self.style, rng),
            // A word has a syllable and a half.
            None => line(words + words / 2, self.style, rng),
        };
        match self.signs {
            Signs::None => line.retain(|sign| sign != ','),
            Signs::Commas => line += rng.pick(&["", "", ","]),
            Signs::Sentences => line += rng.pick(&[".", ".", "!", "?", "...", ",", ";"]),
        }
        if rng.happens(0.03) {
            line = format!("{} ({line})", rng.pick(FILLERS));
        }
        line
    }
}

/// The lyrics of a song with these sections; `syllables` are those of each phrase.
pub fn lyrics(sections: &[Section], syllables: &[usize], rng: &mut CorpusRng) -> String {
    let manner = Manner::draw(rng);
    let marks = rng.weighted(&[(Marks::Plain, 70), (Marks::Numbered, 8), (Marks::Stanzas, 14), (Marks::None, 8)]);
    // A chorus has the same words each time, as a rule, and a verse has others.
    let same = [rng.happens(0.1), rng.happens(0.8)];
    let mut before: [Option<Vec<String>>; 2] = [None, None];
    let mut times = [0, 0];
    let mut stanzas: Vec<String> = Vec::new();
    let mut rest = syllables;
    for section in sections {
        let (phrases, behind) = rest.split_at(section.phrases.len().min(rest.len()));
        rest = behind;
        let part = section.part.min(1);
        let lines: Vec<String> = match &before[part] {
            Some(lines) if same[part] && !section.coda => lines.clone(),
            _ => phrases.iter().map(|syllables| manner.line(*syllables, rng)).collect(),
        };
        times[part] += usize::from(!section.coda);
        let name = if section.coda { "Outro" } else { ["Verse", "Chorus"][part] };
        let lines_of = lines.join("\n");
        if !section.coda {
            before[part] = Some(lines);
        }
        stanzas.push(match marks {
            Marks::Numbered if part == 0 && !section.coda => format!("[{name} {}]\n{lines_of}", times[part]),
            Marks::Plain | Marks::Numbered => format!("[{name}]\n{lines_of}"),
            Marks::Stanzas | Marks::None => lines_of,
        });
    }
    let marked = matches!(marks, Marks::Plain | Marks::Numbered);
    if marked && rng.happens(0.4) && sections.last().is_some_and(|last| !last.coda) {
        stanzas.push("[Outro]".to_owned());
    }
    let between = match marks {
        Marks::None => "\n",
        Marks::Stanzas => "\n\n",
        Marks::Plain | Marks::Numbered => rng.pick(&["\n", "\n\n"]),
    };
    stanzas.join(between)
}

#[cfg(test)]
mod tests {
    use super::{super::form, *};

    #[test]
    fn lyrics_have_a_line_for_each_phrase_whatever_their_manner() {
        let parts = vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7]];
        let (mut marked, mut repeated) = (0, 0);
        for seed in 0..300 {
            let rng = &mut CorpusRng::new(&[seed]);
            let lines = 1 + rng.below(17);
            let sections = form::draw(&parts, lines, false, rng).expect("two parts");
            let lyrics = lyrics(&sections, &vec![6; lines], rng);
            let sung: Vec<&str> = lyrics.lines().filter(|line| !line.is_empty() && !line.starts_with('[')).collect();
            assert_eq!(sung.len(), lines, "{lyrics}");
            marked += usize::from(lyrics.starts_with('['));
            let choruses: Vec<&str> = lyrics.split("[Chorus]\n").skip(1).collect();
            repeated += usize::from(choruses.len() > 1);
        }
        assert!((180..290).contains(&marked), "{marked} of 300 have marks");
        assert!(repeated > 50, "{repeated} of 300 have their chorus again");
    }
}
