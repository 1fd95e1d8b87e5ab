//! Form of a song: the parts of a piece, and the order in which a song plays their phrases.
//!
//! A dance has parts of eight bars, most often two that are played twice (AABB); a chorale repeats its first phrases. The
//! first part is the verse and the second the chorus, so a mark that comes again is music that comes again.

use super::{
    phrases::Division,
    rng::CorpusRng,
    scores::{Kind, Note, Piece},
};

/// Bars of a part of a dance.
const PART_BARS: u32 = 8;
/// Share of their length on which two spans have the same melody if they are one part played twice.
const ALIKE: f64 = 0.75;
/// Ticks from one look at a melody to the next: a sixteenth note.
const LOOK: usize = 6;
/// Most lines of a section.
const MOST_LINES: usize = 8;
/// Parts that a song can have: verse and chorus.
pub const PARTS: usize = 2;

/// A section of a song: lines under one mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Verse (0) or chorus (1); the coda belongs to the part that it repeats.
    pub part: usize,
    /// Whether it is the end of the song that repeats the lines before it.
    pub coda: bool,
    /// The phrases of the division that it plays.
    pub phrases: Vec<usize>,
}

/// The melody between two ticks, look after look; 0 is a rest.
fn melody(piece: &Piece, start: u32, end: u32) -> Vec<u8> {
    let sounds = |tick: u32, note: &&Note| note.onset <= tick && tick < note.onset + note.duration;
    let looks = (start..end).step_by(LOOK);
    looks.map(|tick| piece.melody().iter().find(|note| sounds(tick, note)).map_or(0, |note| note.pitch)).collect()
}

/// Whether two melodies are the same for the most part.
fn alike(a: &[u8], b: &[u8]) -> bool {
    let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
    same as f64 >= ALIKE * a.len().max(b.len()).max(1) as f64
}

/// The first parts of a piece that differ, at most [`PARTS`] of them: the phrases of each.
pub fn parts(piece: &Piece, division: &Division) -> Vec<Vec<usize>> {
    let count = division.phrases.len();
    let span = |from: usize, to: usize| melody(piece, division.phrases[from].start, division.phrases[to].end);
    if piece.kind == Kind::Chorale {
        // The first phrases again, or half of all.
        let repeated = (2..=count / 2).find(|half| alike(&span(0, half - 1), &span(*half, 2 * half - 1)));
        let (half, second) = repeated.map_or((count.div_ceil(2), count.div_ceil(2)), |half| (half, 2 * half));
        return [0..half, second..count]
            .into_iter()
            .map(Iterator::collect::<Vec<_>>)
            .filter(|part| !part.is_empty())
            .collect();
    }
    let ticks = division.phrases.first().map_or(1, |phrase| (phrase.end - phrase.start).max(1));
    let length = (PART_BARS * piece.bar() / ticks).max(1) as usize;
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut melodies: Vec<Vec<u8>> = Vec::new();
    // A last part that is not whole is none, unless it is the only one.
    for first in (0..count).step_by(length).filter(|first| first + length <= count || *first == 0) {
        let last = (first + length).min(count) - 1;
        let melody = span(first, last);
        if parts.len() < PARTS && !melodies.iter().any(|other| alike(other, &melody)) {
            parts.push((first..=last).collect());
            melodies.push(melody);
        }
    }
    parts
}

/// Orders of verse (0) and chorus (1), and how likely each is.
const ORDERS: [(&[usize], u32); 11] = [
    (&[0], 4),
    (&[1], 2),
    (&[0, 0], 6),
    (&[0, 1], 3),
    (&[0, 0, 1], 5),
    (&[0, 1, 0], 5),
    (&[0, 1, 1], 4),
    (&[0, 0, 1, 1], 10),
    (&[0, 1, 0, 1], 8),
    (&[0, 1, 0, 1, 1], 4),
    (&[0, 0, 1, 0, 1], 4),
];

/// Draws the sections of a song with `lines` lines, or `None` if the piece has no part; with `returning` only orders in
/// which a part comes again.
pub fn draw(parts: &[Vec<usize>], lines: usize, returning: bool, rng: &mut CorpusRng) -> Option<Vec<Section>> {
    // Order of the parts, lines of each, lines of the coda.
    type Choice = (&'static [usize], [usize; PARTS], usize);
    let mut choices: Vec<(Choice, u32)> = Vec::new();
    let suits = |part: usize, wanted: usize| match wanted {
        _ if parts.get(part).is_some_and(|part| part.len() == wanted) => 4,
        2 | 4 => 2,
        _ => 1,
    };
    for (order, weight) in ORDERS {
        let times = [0, 1].map(|part| order.iter().filter(|other| **other == part).count());
        if order.iter().any(|part| *part >= parts.len()) || (returning && times.iter().all(|times| *times < 2)) {
            continue;
        }
        let range = |times: usize| if times == 0 { 0..=0 } else { 1..=MOST_LINES };
        for verse in range(times[0]) {
            for chorus in range(times[1]) {
                let coda = lines.checked_sub(times[0] * verse + times[1] * chorus);
                // A coda is shorter than what it repeats.
                let Some(coda) = coda.filter(|coda| *coda <= 2 && (*coda == 0 || order.len() > 1)) else { continue };
                let likely = [(times[0], 0, verse), (times[1], 1, chorus)].into_iter().filter(|(times, ..)| *times > 0);
                let fit: u32 = likely.map(|(_, part, wanted)| suits(part, wanted)).product();
                choices.push(((order, [verse, chorus], coda), weight * fit * [3, 1, 1][coda]));
            }
        }
    }
    if choices.is_empty() {
        return None;
    }
    let (order, wanted, coda) = rng.weighted(&choices);
    let mut sections: Vec<Section> = order
        .iter()
        .map(|part| Section { part: *part, coda: false, phrases: stretched(&parts[*part], wanted[*part]) })
        .collect();
    let last = sections.last().cloned()?;
    if coda > 0 {
        sections.push(Section { coda: true, phrases: stretched(&last.phrases, coda), ..last });
    }
    Some(sections)
}

/// The last `wanted` phrases of a part; if it has fewer, its end again.
fn stretched(part: &[usize], wanted: usize) -> Vec<usize> {
    let mut phrases = part[part.len().saturating_sub(wanted)..].to_vec();
    while phrases.len() < wanted {
        let missing = wanted - phrases.len();
        phrases.extend_from_slice(&part[part.len().saturating_sub(missing)..]);
    }
    phrases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_song_has_as_many_lines_as_it_is_asked_for_and_a_part_is_the_same_each_time() {
        let parts = vec![vec![0, 1, 2, 3], vec![8, 9, 10, 11]];
        for lines in 1..=17 {
            for seed in 0..20 {
                let sections =
                    draw(&parts, lines, false, &mut CorpusRng::new(&[seed, lines as u64])).expect("two parts");
                assert_eq!(sections.iter().map(|section| section.phrases.len()).sum::<usize>(), lines);
                for part in 0..PARTS {
                    let played: Vec<_> = sections.iter().filter(|one| one.part == part && !one.coda).collect();
                    assert!(played.windows(2).all(|two| two[0].phrases == two[1].phrases), "{sections:?}");
                }
            }
        }
        assert!(draw(&[], 4, false, &mut CorpusRng::new(&[1])).is_none());
        let alone = draw(&parts[..1], 17, false, &mut CorpusRng::new(&[1])).expect("a verse twice, and a coda");
        assert!(alone.iter().all(|section| section.part == 0));
    }

    #[test]
    fn a_part_is_cut_at_its_beginning_and_goes_on_with_its_end() {
        assert_eq!(stretched(&[4, 5, 6, 7], 2), [6, 7]);
        assert_eq!(stretched(&[4, 5, 6, 7], 4), [4, 5, 6, 7]);
        assert_eq!(stretched(&[4, 5, 6, 7], 6), [4, 5, 6, 7, 6, 7]);
        assert_eq!(stretched(&[4, 5], 7), [4, 5, 4, 5, 4, 5, 5]);
    }
}
