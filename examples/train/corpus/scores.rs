//! Scores: the reader of the compact file that `extract.py` writes and describes.

use std::{collections::HashSet, io::Read};

use heartstream_models::weights::Fnv1a;

use super::error::{CorpusError, Result};

/// Ticks of a quarter note.
pub const TICKS_PER_QUARTER: u32 = 24;

const MAGIC: &[u8] = b"HSCORE1\n";
/// Decompressed bytes that are read at most: ten times what the scores have.
const LARGEST: u64 = 64 << 20;
/// One piece in this many is held out.
const HELD_OUT_ONE_IN: u64 = 22;

/// Where a piece comes from; `docs/corpus-rights.md` says by which right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collection {
    /// Chorales by J. S. Bach.
    Bach,
    /// Ryan's Mammoth Collection, Boston 1883.
    Ryan,
    /// O'Neill's Music of Ireland, Chicago 1903.
    ONeill,
}

/// What kind of piece it is, which decides its tempo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Kind {
    Chorale,
    Reel,
    Jig,
    Hornpipe,
    Strathspey,
    Waltz,
    March,
    Air,
    Polka,
    Dance,
}

/// The scale above the tonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the field's own")]
pub enum Mode {
    Major,
    Minor,
    Dorian,
    Mixolydian,
}

impl Mode {
    /// The scale's seven steps in semitones above the tonic.
    pub fn steps(self) -> [u8; 7] {
        match self {
            Self::Major => [0, 2, 4, 5, 7, 9, 11],
            Self::Minor => [0, 2, 3, 5, 7, 8, 10],
            Self::Dorian => [0, 2, 3, 5, 7, 9, 10],
            Self::Mixolydian => [0, 2, 4, 5, 7, 9, 10],
        }
    }

    /// Whether the third above the tonic is a minor one.
    pub fn is_minor(self) -> bool {
        matches!(self, Self::Minor | Self::Dorian)
    }
}

/// A note as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Ticks since the piece's beginning.
    pub onset: u32,
    /// Ticks.
    pub duration: u32,
    /// MIDI pitch; 60 is the middle C.
    pub pitch: u8,
    /// Whether a fermata marks it as the end of a phrase.
    pub ends_phrase: bool,
}

/// A piece as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it comes from.
    pub collection: Collection,
    /// What it is.
    pub kind: Kind,
    /// Pitch class of the tonic; 0 is C.
    pub tonic: u8,
    /// The scale.
    pub mode: Mode,
    /// Beats of a bar, and the beat's part of a whole note.
    pub meter: (u8, u8),
    /// Ticks before the first bar line.
    pub pickup: u32,
    /// Its title in the source.
    pub title: String,
    /// Notes of each part by onset, the melody first and the bass last.
    pub parts: Vec<Vec<Note>>,
}

impl Piece {
    /// Ticks of a bar.
    pub fn bar(&self) -> u32 {
        u32::from(self.meter.0) * 4 * TICKS_PER_QUARTER / u32::from(self.meter.1.max(1))
    }

    /// Ticks from the beginning to the last release.
    pub fn length(&self) -> u32 {
        self.parts.iter().flatten().map(|note| note.onset + note.duration).max().unwrap_or(0)
    }

    /// The first part.
    pub fn melody(&self) -> &[Note] {
        self.parts.first().map_or(&[], Vec::as_slice)
    }

    /// The title without what tells settings of one tune apart.
    fn name(&self) -> String {
        let bare = self.title.to_lowercase();
        let bare = bare.split(['(', ';']).next().unwrap_or_default().replace("the ", "");
        bare.chars().filter(char::is_ascii_alphabetic).collect()
    }

    /// The first intervals of the melody, by which a tune is known under another title and in another key.
    fn incipit(&self) -> Vec<i8> {
        self.melody().windows(2).take(10).map(|two| two[1].pitch as i8 - two[0].pitch as i8).collect()
    }
}

/// Which pieces are held out: about 5 %, by a hash of their titles, and every other setting of the same tune.
pub fn held_out(pieces: &[Piece]) -> Vec<bool> {
    let mut held: Vec<bool> = pieces.iter().map(|piece| fnv1a(&piece.title).is_multiple_of(HELD_OUT_ONE_IN)).collect();
    loop {
        let of_held = || pieces.iter().zip(&held).filter(|(_, held)| **held).map(|(piece, _)| piece);
        let names: HashSet<String> = of_held().map(Piece::name).filter(|name| name.len() > 4).collect();
        let incipits: HashSet<Vec<i8>> = of_held().map(Piece::incipit).collect();
        let next: Vec<bool> = pieces
            .iter()
            .zip(&held)
            .map(|(piece, held)| *held || names.contains(&piece.name()) || incipits.contains(&piece.incipit()))
            .collect();
        if next == held {
            return held;
        }
        held = next;
    }
}

/// The hash of a title: FNV-1a, 64 bits, with the high half folded in.
fn fnv1a(text: &str) -> u64 {
    let mut hash = Fnv1a::default();
    hash.add(text.as_bytes());
    hash.value() ^ (hash.value() >> 32)
}

/// Reads the pieces out of the file's bytes.
///
/// # Errors
/// When they are not such a file.
pub fn read(file: &[u8]) -> Result<Vec<Piece>> {
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(file)
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|_| CorpusError::Scores { offset: 0, expected: "a zlib stream" })?;
    let mut reader = Reader { bytes: &bytes, offset: 0 };
    if reader.take(MAGIC.len(), "the magic bytes")? != MAGIC {
        return Err(CorpusError::Scores { offset: 0, expected: "the magic bytes" });
    }
    let count = reader.take(4, "the number of pieces")?;
    let count = u32::from_le_bytes([count[0], count[1], count[2], count[3]]);
    let mut pieces = Vec::new();
    for _ in 0..count {
        pieces.push(reader.piece()?);
    }
    Ok(pieces)
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, expected: &'static str) -> Result<&'a [u8]> {
        let damaged = CorpusError::Scores { offset: self.offset, expected };
        let taken = self.bytes.get(self.offset..self.offset + count).ok_or(damaged)?;
        self.offset += count;
        Ok(taken)
    }

    fn byte(&mut self, expected: &'static str) -> Result<u8> {
        Ok(self.take(1, expected)?[0])
    }

    fn one_of<T: Copy>(&mut self, choices: &[T], expected: &'static str) -> Result<T> {
        let offset = self.offset;
        let number = self.byte(expected)?;
        choices.get(usize::from(number)).copied().ok_or(CorpusError::Scores { offset, expected })
    }

    fn varint(&mut self, expected: &'static str) -> Result<u32> {
        let mut value = 0;
        for shift in [0, 7, 14] {
            let byte = self.byte(expected)?;
            value |= u32::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(CorpusError::Scores { offset: self.offset, expected })
    }

    fn piece(&mut self) -> Result<Piece> {
        use Kind::{Air, Chorale, Dance, Hornpipe, Jig, March, Polka, Reel, Strathspey, Waltz};
        let collection =
            self.one_of(&[Collection::Bach, Collection::Ryan, Collection::ONeill], "the number of a collection")?;
        let kinds = [Chorale, Reel, Jig, Hornpipe, Strathspey, Waltz, March, Air, Polka, Dance];
        let kind = self.one_of(&kinds, "the number of a kind")?;
        let tonic = self.byte("a tonic")? % 12;
        let mode = self.one_of(&[Mode::Major, Mode::Minor, Mode::Dorian, Mode::Mixolydian], "the number of a mode")?;
        let meter = (self.byte("beats")?.max(1), self.byte("a beat's unit")?.max(1));
        let pickup = self.varint("a pickup")?;
        let title = usize::from(self.byte("the length of a title")?);
        let title = String::from_utf8_lossy(self.take(title, "a title")?).into_owned();
        let parts = (0..self.byte("the number of parts")?).map(|_| self.part()).collect::<Result<_>>()?;
        Ok(Piece { collection, kind, tonic, mode, meter, pickup, title, parts })
    }

    fn part(&mut self) -> Result<Vec<Note>> {
        let count = self.varint("the number of notes")?;
        let (mut onset, mut notes) = (0, Vec::new());
        for _ in 0..count {
            onset += self.varint("ticks between onsets")?;
            let duration = self.varint("a duration")?;
            let pitch = self.byte("a pitch")?;
            notes.push(Note { onset, duration, pitch: pitch & 127, ends_phrase: pitch > 127 });
        }
        Ok(notes)
    }
}
