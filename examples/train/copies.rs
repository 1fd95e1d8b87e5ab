//! Sequences of copies: pieces of songs' codes that come again exactly, so that copying is learnt before form is.
//!
//! What comes again is all that is learnt from; what is new only is there to be copied. Pieces are of three kinds, from
//! the easiest on: frames of a song (or of many) in any order, each of which says at once where it stood before; those
//! of a song that differ from the one before them; and lines of a song as it is, of which those frames are learnt from
//! that differ from the one before. No piece is shorter than a line: a model that learns to copy what lies a few frames
//! back holds a note for ever. Sequences have no words, so that no song is taken for one.

use heartstream_models::heartmula::PromptTokens;

use crate::{again::NEW, corpus::LINE_FRAMES, feed::Pool, rng::Rng, written::Written};

/// Share of a sequence's pieces that were there before.
const AGAIN: f64 = 0.6;

/// Frames of the longest piece.
const LONGEST: usize = 4 * LINE_FRAMES;

/// What a piece is made of, and by how many of its frames it is recognised.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Scattered,
    Changes,
    Played,
}

impl Kind {
    fn recognised(self) -> usize {
        match self {
            Self::Scattered => 1,
            Self::Changes => 2,
            Self::Played => 4,
        }
    }
}

/// Codes of a new piece of `length` frames.
fn piece(kind: Kind, songs: &[&Written], books: usize, length: usize, rng: &mut Rng) -> Vec<u16> {
    let mut codes = Vec::with_capacity(length * books);
    while codes.len() < length * books {
        let song = songs[rng.below(songs.len())];
        let frame = |place: usize| &song.codes[place * books..(place + 1) * books];
        let first = rng.below(song.frames());
        match kind {
            Kind::Scattered => codes.extend_from_slice(frame(first)),
            Kind::Played => (first..song.frames()).for_each(|place| codes.extend_from_slice(frame(place))),
            Kind::Changes => (first..song.frames())
                .filter(|place| *place == first || frame(*place) != frame(*place - 1))
                .for_each(|place| codes.extend_from_slice(frame(place))),
        }
    }
    codes.truncate(length * books);
    codes
}

/// A sequence of about `frames` frames, of songs of `pool`.
pub fn sequence(pool: &Pool<Written>, frames: usize, books: usize, rng: &mut Rng) -> Written {
    let prompt = PromptTokens { tags: Vec::new(), lyrics: Vec::new() };
    let kind = [Kind::Scattered, Kind::Changes, Kind::Played][rng.below(3)];
    let count = [1, 4][rng.below(2)];
    let songs: Vec<&Written> = (0..count).map(|_| pool.pick(rng)).collect();
    let (mut codes, mut sources, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    let mut pieces: Vec<std::ops::Range<usize>> = Vec::new();
    // Pieces of every other sequence are lines, as those of songs.
    let lines = kind == Kind::Played || rng.below(2) == 0;
    while sources.len() < frames {
        if !pieces.is_empty() && rng.unit() < AGAIN {
            let again = pieces[rng.below(pieces.len())].clone();
            for (place, source) in again.enumerate() {
                codes.extend_from_within(source * books..(source + 1) * books);
                sources.push(source as u32);
                let changes = codes.len() < 2 * books
                    || codes[codes.len() - 2 * books..][..books] != codes[codes.len() - books..];
                weights.push(if place < kind.recognised() || !changes { 0.0 } else { 1.0 });
            }
        } else {
            let length = match lines {
                true => LINE_FRAMES * [1, 1, 2][rng.below(3)],
                false => LINE_FRAMES + rng.below(LONGEST - LINE_FRAMES + 1),
            };
            let piece = piece(kind, &songs, books, length, rng);
            let first = sources.len();
            sources.resize(first + piece.len() / books, NEW);
            weights.resize(sources.len(), 0.0);
            codes.extend(piece);
            pieces.push(first..sources.len());
        }
    }
    sources.truncate(frames);
    weights.truncate(frames);
    codes.truncate(frames * books);
    Written { prompt, read: codes.clone(), heard: codes.clone(), codes, sources, weights, form: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_learnt_from_is_what_was_there_before() {
        let books = 3;
        let song = |number: u16| {
            let frames = 50;
            let codes: Vec<u16> = (0..frames * books as u16).map(|place| place / 6 + 7 * number).collect();
            let prompt = PromptTokens { tags: vec![1], lyrics: vec![2, 3] };
            let (sources, weights) = (vec![NEW; usize::from(frames)], vec![1.0; usize::from(frames)]);
            Written { prompt, read: codes.clone(), heard: codes.clone(), codes, sources, weights, form: None }
        };
        let mut pool = Pool::new(4, 1.0);
        pool.refill(4, |count| Ok((0..count as u16).map(song).collect())).expect("four songs");
        let mut learnt = 0;
        for seed in 0..60 {
            let rng = &mut Rng::new(&[seed]);
            let made = sequence(&pool, 300, books, rng).with_mistakes(rng);
            assert_eq!((made.frames(), made.codes.len(), made.weights.len()), (300, 900, 300));
            for frame in (0..300).filter(|frame| made.weights[*frame] > 0.0) {
                let source = made.sources[frame] as usize;
                assert!(source < frame, "frame {frame} of sequence {seed} is that of frame {source}");
                let codes = |frame: usize| &made.codes[frame * books..(frame + 1) * books];
                assert_eq!(codes(frame), codes(source));
                learnt += 1;
            }
        }
        assert!(learnt > 60 * 80, "{learnt} frames of copies");
    }
}
