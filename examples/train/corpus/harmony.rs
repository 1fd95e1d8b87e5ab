//! Harmony of a tune without chords: triads of its own scale, by the notes that they share with it.

use super::scores::{Note, Piece};

/// How much a bar's first note counts beside its others.
const DOWNBEAT: f64 = 2.0;

/// A chord for a span of ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chord {
    /// First tick.
    pub start: u32,
    /// The tick behind the last one.
    pub end: u32,
    /// Pitch classes of root, third and fifth; 0 is C.
    pub classes: [u8; 3],
}

/// Degrees that are tried (0 is the tonic), each with what it gains beside its notes: the tonic, then the dominant and
/// the subdominant are what dances are made of.
fn degrees(piece: &Piece) -> [(usize, f64); 5] {
    use super::scores::Mode::{Dorian, Major, Minor, Mixolydian};
    match piece.mode {
        Major => [(0, 0.35), (4, 0.25), (3, 0.2), (5, 0.0), (1, 0.0)],
        Minor => [(0, 0.35), (6, 0.25), (5, 0.1), (2, 0.1), (3, 0.15)],
        Dorian => [(0, 0.35), (6, 0.3), (3, 0.15), (2, 0.1), (4, 0.0)],
        Mixolydian => [(0, 0.35), (6, 0.3), (3, 0.2), (4, 0.0), (1, 0.0)],
    }
}

/// The triad on a degree of the piece's scale.
fn triad(piece: &Piece, degree: usize) -> [u8; 3] {
    let steps = piece.mode.steps();
    [0, 2, 4].map(|third| (piece.tonic + steps[(degree + third) % 7]) % 12)
}

/// Ticks of a chord: half a bar where the bar has four or more beats, else a bar.
fn slot(piece: &Piece) -> u32 {
    let bar = piece.bar();
    match piece.meter {
        (4, 4) | (2, 2) | (12, 8) => bar / 2,
        _ => bar,
    }
}

/// Chords from the tick `start` to the tick `end`. A pickup before the first bar line has none; the last is the
/// tonic's.
pub fn harmonise(piece: &Piece, start: u32, end: u32) -> Vec<Chord> {
    let slot = slot(piece).max(1);
    let first = start.saturating_sub(piece.pickup).div_ceil(slot);
    let spans = (first..).map(|number| piece.pickup + number * slot).take_while(|begin| *begin < end);
    let mut chords: Vec<Chord> = spans
        .map(|begin| {
            let until = (begin + slot).min(end);
            Chord { start: begin, end: until, classes: best(piece, begin, until) }
        })
        .collect();
    if let Some(last) = chords.last_mut() {
        last.classes = triad(piece, 0);
    }
    chords
}

fn best(piece: &Piece, start: u32, end: u32) -> [u8; 3] {
    let meets = |note: &&Note| note.onset < end && note.onset + note.duration > start;
    let heard: Vec<(u8, f64)> = piece
        .melody()
        .iter()
        .filter(meets)
        .map(|note| {
            let ticks = (note.onset + note.duration).min(end) - note.onset.max(start);
            let weight = if note.onset <= start { DOWNBEAT } else { 1.0 };
            (note.pitch % 12, weight * f64::from(ticks) / f64::from(end - start))
        })
        .collect();
    let gain = |(degree, bias): &(usize, f64)| {
        let classes = triad(piece, *degree);
        bias + heard.iter().filter(|(class, _)| classes.contains(class)).map(|(_, weight)| weight).sum::<f64>()
    };
    let degrees = degrees(piece);
    let best = degrees.iter().max_by(|a, b| gain(a).total_cmp(&gain(b))).map_or(0, |(degree, _)| *degree);
    triad(piece, best)
}
