//! Instruments: one list, by which the SoundFont is cut, songs are arranged and tags are written.

/// An instrument of the SoundFont (General MIDI, bank 0).
#[derive(Debug, PartialEq, Eq)]
pub struct Instrument {
    /// What the tags call it.
    pub tag: &'static str,
    /// Program number, from 0.
    pub program: u8,
    /// Lowest and highest MIDI pitch that it plays.
    pub range: (u8, u8),
    /// Where its melody lies best: the middle of it, as a MIDI pitch.
    pub centre: u8,
    /// Whether it plays several notes at once.
    pub polyphonic: bool,
    /// How likely it leads, beside the others.
    pub weight: u32,
}

const fn instrument(
    tag: &'static str,
    program: u8,
    range: (u8, u8),
    centre: u8,
    polyphonic: bool,
    weight: u32,
) -> Instrument {
    Instrument { tag, program, range, centre, polyphonic, weight }
}

/// All of them. They are few and unlike each other, so that a small model learns to tell them apart.
pub const INSTRUMENTS: [Instrument; 10] = [
    instrument("piano", 0, (38, 86), 70, true, 5),
    instrument("harpsichord", 6, (40, 86), 70, true, 3),
    instrument("organ", 19, (36, 88), 70, true, 3),
    instrument("guitar", 24, (40, 84), 66, true, 4),
    instrument("violin", 40, (55, 93), 74, false, 4),
    instrument("strings", 48, (40, 84), 70, true, 3),
    instrument("choir", 52, (40, 82), 67, true, 3),
    instrument("trumpet", 56, (54, 86), 70, false, 3),
    instrument("clarinet", 71, (50, 90), 69, false, 3),
    instrument("flute", 73, (60, 95), 77, false, 4),
];

/// Those that accompany another, by tag.
pub const ACCOMPANISTS: [&str; 4] = ["piano", "guitar", "organ", "harpsichord"];

/// Lowest and highest velocity of a note.
pub const VELOCITIES: (u8, u8) = (52, 112);

/// The instrument with this tag.
pub fn by_tag(tag: &str) -> Option<&'static Instrument> {
    INSTRUMENTS.iter().find(|instrument| instrument.tag == tag)
}
