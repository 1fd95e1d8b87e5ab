//! Variation of a piece: the choices that make many songs of it.

use super::{
    form::{self, Section},
    instruments::{ACCOMPANISTS, INSTRUMENTS, Instrument, by_tag},
    phrases::{Division, LINE_SECONDS, divide, divide_on_grid},
    rng::CorpusRng,
    scores::{Kind, Piece},
    song::FRAME_SECONDS,
};

/// How much of a piece a song plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Some phrases, one after the other as they are written, which fit one window of the codec.
    Excerpt,
    /// Its parts in the order of a form (see [`form`]), with as many lines as a user may write.
    Form,
    /// The same with few lines, and parts that come again.
    ShortForm,
}

/// How many voices there are, and what the others do beside the melody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Texture {
    /// The melody alone.
    Solo,
    /// Melody and bass, as they are written.
    Duet,
    /// All parts, as they are written.
    Full,
    /// The melody with chords that are held.
    Block,
    /// The melody with a bass note on the beat and chords after it.
    AfterBeat,
    /// The melody with broken chords.
    Broken,
}

/// The choices. [`Variation::draw`] draws them; each field can be set otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Variation {
    /// Who plays the melody.
    pub lead: &'static Instrument,
    /// Who plays the rest; without one the lead does.
    pub second: Option<&'static Instrument>,
    /// What is played.
    pub texture: Texture,
    /// The lines and the tempo.
    pub division: Division,
    /// The phrases of the division that are played, one after the other.
    pub order: Vec<usize>,
    /// The sections that they are, in the manner [`Manner::Form`]; else none.
    pub sections: Vec<Section>,
    /// Semitones that everything is moved by.
    pub transposition: i32,
    /// Octave (in semitones) at which the melody is doubled; 0 is not at all.
    pub doubling: i32,
    /// Seconds between two phrases.
    pub breath: f64,
    /// How many times slower the end of the last phrase is.
    pub slowing: f64,
    /// Seconds that the last notes are held beyond their written length.
    pub hold: f64,
    /// How much of its written length a note sounds.
    pub gate: f64,
    /// Reverberation, from 0 (dry) to 1.
    pub reverb: f64,
    /// Place of the second instrument, from -1 (left) to 1; the lead stands opposite, half as far.
    pub place: f64,
    /// Integrated loudness in LUFS, where the largest sample leaves room for it.
    pub level: f64,
}

/// Seconds that a line is wished to last: much alike, so that the number of lines says how long a song is.
const LINE_DRAWN: (f64, f64) = (3.0, 4.2);
/// Longest song, in seconds: one window of the codec, less what the ring-out rounds up to.
pub const LONGEST_SECONDS: f64 = 29.6;
/// Seconds of ring-out and silence behind the last release.
pub const RING_SECONDS: f64 = 1.2;
/// Seconds before the first note.
pub const LEAD_IN_SECONDS: f64 = 0.08;

/// Quietest and loudest song, in LUFS: about what is asked of music that is played beside other music.
const LEVEL: (f64, f64) = (-16.8, -15.2);

/// Bars that a phrase of a dance can have, by manner.
const EXCERPT_BARS: &[u32] = &[2, 4];
const FORM_BARS: &[u32] = &[1, 2, 4];

/// Seconds that the mean line of a form may have: with what a song needs beside its lines, 2 to 17 of them come near the
/// 3.2 s a line that users are told.
const FORM_LINE_ALLOWED: std::ops::Range<f64> = 2.4..3.7;
/// Most lines of a song.
pub const MOST_LINES: usize = 17;
/// Fewest and most lines of a song of a short form.
const SHORT_LINES: (usize, usize) = (2, 8);
/// Longest song of a form, in seconds.
pub const LONGEST_FORM_SECONDS: f64 = 62.0;

impl Variation {
    /// Draws a variation of `piece`; `None` when the piece has no phrases in this manner that end on its tonic and fit.
    pub fn draw(piece: &Piece, manner: Manner, rng: &mut CorpusRng) -> Option<Self> {
        match manner {
            Manner::Excerpt => {
                let division = divide(piece, rng.between(LINE_DRAWN.0, LINE_DRAWN.1), EXCERPT_BARS);
                let (breath, hold) = (rng.between(0.0, 0.22), rng.between(0.5, 1.1));
                let slowing = rng.between(1.0, 1.3);
                let (first, count) = excerpt(piece, &division, breath, slowing, hold, rng)?;
                let order = (first..first + count).collect();
                Self::played(piece, division, (order, Vec::new()), [breath, hold, slowing], rng)
            }
            Manner::Form | Manner::ShortForm => {
                let (breath, short) = (0.0, manner == Manner::ShortForm);
                let division = divide_on_grid(piece, FORM_BARS)?;
                let (hold, slowing) = (rng.between(0.3, 0.8), rng.between(1.0, 1.25));
                let (fewest, most) = if short { SHORT_LINES } else { (1, MOST_LINES) };
                let lines = fewest + rng.below(most - fewest + 1);
                let sections = form::draw(&form::parts(piece, &division), lines, short, rng)?;
                let order: Vec<usize> = sections.iter().flat_map(|section| section.phrases.iter().copied()).collect();
                let phrases = order.iter().map(|place| division.phrases[*place]);
                let ticks: u32 = phrases.map(|phrase| phrase.end - phrase.start).sum();
                let seconds = f64::from(ticks) * division.tick_seconds + breath * order.len() as f64;
                // At most: each phrase begins on the grid of the frames, and the last one is slower.
                let last = division.phrases[*order.last()?];
                let slowed = (slowing - 1.0) * f64::from(last.end - last.start) * division.tick_seconds;
                let rounded = seconds + FRAME_SECONDS * order.len() as f64 + slowed;
                let whole = LEAD_IN_SECONDS + rounded + hold + RING_SECONDS;
                let fits = FORM_LINE_ALLOWED.contains(&(seconds / order.len() as f64)) && whole < LONGEST_FORM_SECONDS;
                if !fits || !ends_well(piece, &division, *order.last()?) {
                    return None;
                }
                Self::played(piece, division, (order, sections), [breath, hold, slowing], rng)
            }
        }
    }

    /// The choices behind those of what is played.
    fn played(
        piece: &Piece,
        division: Division,
        (order, sections): (Vec<usize>, Vec<Section>),
        [breath, hold, slowing]: [f64; 3],
        rng: &mut CorpusRng,
    ) -> Option<Self> {
        let lead = lead(piece, rng);
        let texture = texture(piece, lead, rng);
        let alone = texture == Texture::Solo || (lead.polyphonic && !rng.happens(0.2));
        let others: Vec<_> =
            ACCOMPANISTS.iter().filter(|tag| **tag != lead.tag).filter_map(|tag| by_tag(tag)).collect();
        let second = (!alone).then(|| rng.pick(&others));
        let transposition = transposition(piece, lead, rng)?;
        let doubling = if lead.polyphonic && rng.happens(0.1) { rng.pick(&[-12, 12]) } else { 0 };
        Some(Self {
            lead,
            second,
            texture,
            division,
            order,
            sections,
            transposition,
            doubling,
            breath,
            slowing,
            hold,
            gate: rng.between(0.82, 0.99),
            reverb: rng.unit(),
            place: rng.between(-0.7, 0.7),
            level: rng.between(LEVEL.0, LEVEL.1),
        })
    }
}

/// The leading instrument. Instruments that swell play slow pieces only.
fn lead(piece: &Piece, rng: &mut CorpusRng) -> &'static Instrument {
    let slow = matches!(piece.kind, Kind::Chorale | Kind::Air | Kind::Waltz);
    let weight = |one: &Instrument| match (swells(one), slow) {
        (true, true) => 3 * one.weight,
        (true, false) => 0,
        (false, _) => one.weight,
    };
    let leads: Vec<_> = INSTRUMENTS.iter().map(|one| (one, weight(one))).collect();
    rng.weighted(&leads)
}

/// Whether a note takes a while to be loud.
fn swells(instrument: &Instrument) -> bool {
    matches!(instrument.tag, "choir" | "strings")
}

fn texture(piece: &Piece, lead: &Instrument, rng: &mut CorpusRng) -> Texture {
    use Texture::{AfterBeat, Block, Broken, Duet, Full, Solo};
    let solo = if lead.polyphonic { 2 } else { 8 };
    if piece.kind == Kind::Chorale {
        rng.weighted(&[(Solo, solo), (Duet, 1), (Full, 8)])
    } else {
        // A broken chord wants an instrument that is plucked or struck; the choir, the strings and the organ hold.
        let held = swells(lead) || lead.tag == "organ";
        let rest =
            if held { [(Block, 8), (AfterBeat, 0), (Broken, 0)] } else { [(Block, 3), (AfterBeat, 4), (Broken, 3)] };
        rng.weighted(&[(Solo, solo + 2), rest[0], rest[1], rest[2]])
    }
}

/// Whether a phrase of a division ends on the tonic.
fn ends_well(piece: &Piece, division: &Division, place: usize) -> bool {
    let end = division.phrases[place].end;
    piece.melody().iter().rfind(|note| note.onset < end).is_some_and(|note| note.pitch % 12 == piece.tonic)
}

/// First phrase and number of phrases: an end on the tonic, and as many lines before it as rng wants and fit.
fn excerpt(
    piece: &Piece,
    division: &Division,
    breath: f64,
    slowing: f64,
    hold: f64,
    rng: &mut CorpusRng,
) -> Option<(usize, usize)> {
    let seconds: Vec<f64> = division
        .phrases
        .iter()
        .map(|phrase| f64::from(phrase.end - phrase.start) * division.tick_seconds + breath)
        .collect();
    // A phrase that is much too short or long ends the excerpt before it.
    let fits = |place: usize| (LINE_SECONDS.0..LINE_SECONDS.1).contains(&seconds[place]);
    let room = LONGEST_SECONDS - LEAD_IN_SECONDS - RING_SECONDS - hold;
    let most = |end: usize| {
        let (mut left, mut count) = (room - (slowing - 1.0) * 0.3 * seconds[end], 0);
        while count <= end && fits(end - count) && left >= seconds[end - count] {
            left -= seconds[end - count];
            count += 1;
        }
        count
    };
    let ends: Vec<(usize, usize)> = (1..seconds.len())
        .filter(|end| ends_well(piece, division, *end))
        .map(|end| (end, most(end)))
        .filter(|(_, n)| *n >= 2)
        .collect();
    if ends.is_empty() {
        return None;
    }
    let (end, most) = rng.pick(&ends);
    let count = 2 + rng.below(most - 1);
    Some((end + 1 - count, count))
}

/// A transposition that brings the melody into the middle of the lead's range.
fn transposition(piece: &Piece, lead: &Instrument, rng: &mut CorpusRng) -> Option<i32> {
    let mut pitches: Vec<i32> = piece.melody().iter().map(|note| i32::from(note.pitch)).collect();
    pitches.sort_unstable();
    let (low, high, middle) = (*pitches.first()?, *pitches.last()?, pitches[pitches.len() / 2]);
    let range = (i32::from(lead.range.0), i32::from(lead.range.1));
    let possible = (-36..=36).filter(|by| low + by >= range.0 && high + by <= range.1);
    let off_centre = |by: &i32| (middle + by - i32::from(lead.centre)).abs();
    let (near, far): (Vec<i32>, Vec<i32>) = possible.partition(|by| off_centre(by) <= 5);
    if near.is_empty() { far.into_iter().min_by_key(off_centre) } else { Some(rng.pick(&near)) }
}
