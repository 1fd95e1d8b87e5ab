//! Phrase ends: at the fermatas of a chorale, and every few bars of a dance.

use super::{
    scores::{Kind, Piece, TICKS_PER_QUARTER},
    song::FRAME_SECONDS,
};

/// A phrase: what is sung on one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phrase {
    /// First tick.
    pub start: u32,
    /// The tick behind the last one.
    pub end: u32,
}

/// Shortest and longest phrase that a line is made of, in seconds.
pub const LINE_SECONDS: (f64, f64) = (2.2, 6.0);

/// A division of a piece into phrases, with a tempo that makes them singable.
#[derive(Debug, Clone, PartialEq)]
pub struct Division {
    /// The phrases, without gaps.
    pub phrases: Vec<Phrase>,
    /// Seconds of a tick.
    pub tick_seconds: f64,
}

/// The tempi of a kind, in quarter notes a minute.
fn tempi(kind: Kind) -> (f64, f64) {
    match kind {
        Kind::Chorale => (72.0, 138.0),
        Kind::Reel => (120.0, 190.0),
        Kind::Jig => (110.0, 176.0),
        Kind::Hornpipe => (104.0, 170.0),
        Kind::Strathspey => (84.0, 132.0),
        Kind::Waltz => (84.0, 150.0),
        Kind::March | Kind::Polka => (80.0, 126.0),
        Kind::Air => (58.0, 112.0),
        Kind::Dance => (96.0, 150.0),
    }
}

/// Frames of a line in a form, 2.88 s: a bar, two or four. All lines of all songs have as many, so that what a song plays
/// again is a whole number of lines earlier, at one of a few distances that a model can learn to look back to. Of meters
/// of three, six or nine beats an eighth is three or four frames, of others a quarter nine or four and a half.
pub const LINE_FRAMES: usize = 36;
/// How far the tempo may be from one that suits the kind of a piece, as a share of it.
const TEMPO_TOLERANCE: f64 = 0.2;

/// Divides a piece so that its phrases have [`LINE_FRAMES`]; `None` if no tempo of its kind is near.
pub fn divide_on_grid(piece: &Piece, bars: &[u32]) -> Option<Division> {
    let (seconds, tempi) = (LINE_FRAMES as f64 * FRAME_SECONDS, tempi(piece.kind));
    let tempo = |bars: u32| 60.0 * f64::from(bars * piece.bar()) / f64::from(TICKS_PER_QUARTER) / seconds;
    let off = |bars: u32| (tempo(bars) / tempo(bars).clamp(tempi.0, tempi.1)).ln().abs();
    let bars = bars.iter().copied().min_by(|a, b| off(*a).total_cmp(&off(*b)))?;
    let division = Division { phrases: by_bars(piece, bars), tick_seconds: seconds / f64::from(bars * piece.bar()) };
    (off(bars) < TEMPO_TOLERANCE && !division.phrases.is_empty()).then_some(division)
}

/// Divides a piece so that its phrases last about `seconds`, as far as the tempi of its kind allow; those of a dance have
/// one of the numbers of `bars`.
pub fn divide(piece: &Piece, seconds: f64, bars: &[u32]) -> Division {
    let tempi = tempi(piece.kind);
    // The tempo, in quarters a minute, at which `ticks` last `seconds`.
    let tempo = |ticks: f64| 60.0 * ticks / f64::from(TICKS_PER_QUARTER) / seconds;
    let (phrases, wanted) = if piece.kind == Kind::Chorale {
        let phrases = by_fermatas(piece);
        let mean = f64::from(piece.length()) / phrases.len().max(1) as f64;
        (phrases, tempo(mean))
    } else {
        let outside = |bars: u32| {
            let wanted = tempo(f64::from(bars * piece.bar()));
            (wanted / wanted.clamp(tempi.0, tempi.1)).ln().abs()
        };
        let bars = bars.iter().copied().min_by(|a, b| outside(*a).total_cmp(&outside(*b))).unwrap_or(2);
        (by_bars(piece, bars), tempo(f64::from(bars * piece.bar())))
    };
    let tempo = wanted.clamp(tempi.0, tempi.1);
    Division { phrases, tick_seconds: 60.0 / tempo / f64::from(TICKS_PER_QUARTER) }
}

/// A phrase ends where its note with a fermata does.
fn by_fermatas(piece: &Piece) -> Vec<Phrase> {
    let (mut phrases, mut start) = (Vec::new(), 0);
    for note in piece.melody().iter().filter(|note| note.ends_phrase) {
        let end = note.onset + note.duration;
        if end > start {
            phrases.push(Phrase { start, end });
            start = end;
        }
    }
    let end = piece.length();
    // What follows the last fermata is a phrase of its own only when it is as long as one.
    if end > start + 2 * piece.bar() {
        phrases.push(Phrase { start, end });
    }
    phrases
}

/// Phrases of `bars` bars; each begins with a pickup as long as the piece's.
fn by_bars(piece: &Piece, bars: u32) -> Vec<Phrase> {
    let (step, length) = (bars * piece.bar(), piece.length());
    let ends = (1..).map(|count| count * step).take_while(|end| *end <= length + piece.pickup + piece.bar() / 2);
    ends.map(|end| Phrase { start: end - step, end: end.min(length) }).filter(|p| p.end > p.start).collect()
}
