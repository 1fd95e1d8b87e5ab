//! Song: a piece and a variation become a score in seconds.

use super::{
    harmony::harmonise,
    instruments::{Instrument, VELOCITIES},
    phrases::Phrase,
    render::{FRAME_SAMPLES, SAMPLE_RATE},
    rng::Rng,
    scores::{Note, Piece},
    variation::{LEAD_IN_SECONDS, RING_SECONDS, Texture, Variation},
};

/// Seconds by which a note comes earlier or later than written, at most.
const LOOSENESS: f64 = 0.006;
/// Two onsets nearer than this are sung on one syllable.
const SYLLABLE_SECONDS: f64 = 0.24;
/// The last part of the last phrase, which is slower.
const SLOW_PART: f64 = 0.3;
/// Lowest and highest velocity that is written before random changes and accents.
const WRITTEN: (f64, f64) = (74.0, 92.0);

/// A note as it sounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sounding {
    /// Seconds since the song's beginning.
    pub start: f64,
    /// Seconds since the song's beginning.
    pub end: f64,
    /// MIDI pitch.
    pub pitch: u8,
    /// MIDI velocity.
    pub velocity: u8,
    /// Who plays it.
    pub instrument: &'static Instrument,
}

/// What is played of a piece.
#[derive(Debug, Clone, PartialEq)]
pub struct Song {
    /// The notes, by onset.
    pub notes: Vec<Sounding>,
    /// Begin of each phrase in seconds.
    pub phrases: Vec<f64>,
    /// Syllables of each phrase: about one a note of the melody.
    pub syllables: Vec<usize>,
    /// Melody notes a second.
    pub pace: f64,
    /// Seconds to the end of the ring-out.
    pub seconds: f64,
    /// Pitch class of the tonic as it sounds.
    pub tonic: u8,
}

impl Song {
    /// Whole frames that the song fills.
    pub fn frames(&self) -> usize {
        (self.seconds * f64::from(SAMPLE_RATE) / FRAME_SAMPLES as f64).ceil() as usize
    }
}

/// When does a tick sound?
struct Clock<'a> {
    variation: &'a Variation,
    /// The phrases that are played.
    phrases: &'a [Phrase],
}

impl Clock<'_> {
    fn seconds(&self, tick: u32) -> f64 {
        let (first, last) = (self.phrases[0].start, self.phrases[self.phrases.len() - 1]);
        let breaths = self.phrases.iter().skip(1).filter(|phrase| phrase.start <= tick).count();
        let slow_from = f64::from(last.end) - SLOW_PART * f64::from(last.end - last.start);
        let slowed = (f64::from(tick) - slow_from).max(0.0) * (self.variation.slowing - 1.0);
        let ticks = f64::from(tick - first) + slowed;
        LEAD_IN_SECONDS + ticks * self.variation.division.tick_seconds + breaths as f64 * self.variation.breath
    }

    /// The end of a note, which is not drawn over a breath, and is held where it ends the song.
    fn end(&self, note: &Note, phrase: &Phrase) -> f64 {
        let (start, end) = (self.seconds(note.onset), (note.onset + note.duration).min(phrase.end));
        let last = self.phrases[self.phrases.len() - 1].end;
        if end >= last {
            return self.seconds(last) + self.variation.hold;
        }
        let span = f64::from(end - note.onset) * self.variation.division.tick_seconds;
        start + (self.seconds(end) - start).min(span * 1.3) * self.variation.gate
    }
}

/// Plays `piece` as `variation` says; `rng` moves onsets and velocities a little.
pub fn play(piece: &Piece, variation: &Variation, rng: &mut Rng) -> Song {
    let phrases = &variation.division.phrases[variation.first..variation.first + variation.count];
    let clock = Clock { variation, phrases };
    let rest = variation.second.unwrap_or(variation.lead);
    let mut notes = Vec::new();
    let mut sound = |part: &[Note], by: i32, instrument: &'static Instrument, loudness: f64| {
        for phrase in phrases {
            for note in part.iter().filter(|note| (phrase.start..phrase.end).contains(&note.onset)) {
                let Some(pitch) = moved(note.pitch, by, instrument) else { continue };
                let loose = rng.between(-LOOSENESS, LOOSENESS);
                let velocity = velocity(piece, note, phrase, loudness) + rng.between(-4.0, 4.0);
                notes.push(Sounding {
                    start: (clock.seconds(note.onset) + loose).max(0.0),
                    end: clock.end(note, phrase),
                    pitch,
                    velocity: (velocity as u8).clamp(VELOCITIES.0, VELOCITIES.1),
                    instrument,
                });
            }
        }
    };
    let by = variation.transposition;
    sound(piece.melody(), by, variation.lead, 1.0);
    if variation.doubling != 0 {
        sound(piece.melody(), by + variation.doubling, variation.lead, 0.75);
    }
    let (start, end) = (phrases[0].start, phrases[phrases.len() - 1].end);
    match variation.texture {
        Texture::Solo => {}
        Texture::Duet => {
            if let [_, .., last] = &piece.parts[..] {
                sound(last, by, rest, 0.85);
            }
        }
        Texture::Full => piece.parts.iter().skip(1).for_each(|part| sound(part, by, rest, 0.85)),
        pattern => sound(&accompaniment(piece, pattern, by, start, end), 0, rest, 0.72),
    }
    notes.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.pitch.cmp(&b.pitch)));
    let seconds = clock.seconds(end) + variation.hold + RING_SECONDS;
    let syllables = phrases.iter().map(|phrase| syllables(piece, &clock, phrase)).collect();
    let count = piece.melody().iter().filter(|note| (start..end).contains(&note.onset)).count();
    Song {
        notes,
        phrases: phrases.iter().map(|phrase| clock.seconds(phrase.start)).collect(),
        syllables,
        pace: count as f64 / (clock.seconds(end) - LEAD_IN_SECONDS).max(1.0),
        seconds,
        tonic: (i32::from(piece.tonic) + by).rem_euclid(12) as u8,
    }
}

/// A pitch moved by semitones, and by octaves into the instrument's range.
fn moved(pitch: u8, by: i32, instrument: &Instrument) -> Option<u8> {
    let (low, high) = (i32::from(instrument.range.0), i32::from(instrument.range.1));
    let mut pitch = i32::from(pitch) + by;
    while pitch < low {
        pitch += 12;
    }
    while pitch > high {
        pitch -= 12;
    }
    (pitch >= low).then_some(pitch as u8)
}

/// Louder on the bar's first beat and in a phrase's middle.
fn velocity(piece: &Piece, note: &Note, phrase: &Phrase, loudness: f64) -> f64 {
    let through = f64::from(note.onset - phrase.start) / f64::from(phrase.end - phrase.start);
    let arch = (through * std::f64::consts::PI).sin();
    let bar = piece.bar().max(1);
    let downbeat = (note.onset + bar - piece.pickup % bar).is_multiple_of(bar);
    loudness * (WRITTEN.0 + (WRITTEN.1 - WRITTEN.0) * arch + if downbeat { 8.0 } else { 0.0 })
}

fn syllables(piece: &Piece, clock: &Clock<'_>, phrase: &Phrase) -> usize {
    let (mut count, mut last) = (0, f64::NEG_INFINITY);
    for note in piece.melody().iter().filter(|note| (phrase.start..phrase.end).contains(&note.onset)) {
        let at = clock.seconds(note.onset);
        if at - last >= SYLLABLE_SECONDS {
            (count, last) = (count + 1, at);
        }
    }
    count.max(1)
}

/// The notes of an accompaniment, already moved by `by` semitones.
fn accompaniment(piece: &Piece, pattern: Texture, by: i32, start: u32, end: u32) -> Vec<Note> {
    // Below these lie the bass and the chord: an octave each, under the melodies.
    const BASS: i32 = 40;
    const CHORD: i32 = 52;
    let placed = |class: u8, low: i32| (low + (i32::from(class) + by - low).rem_euclid(12)) as u8;
    let beat = match piece.meter {
        (6 | 9 | 12, 8) => piece.bar() * 3 / u32::from(piece.meter.0),
        (2, 2) => piece.bar() / 4,
        _ => piece.bar() / u32::from(piece.meter.0),
    }
    .max(1);
    let mut notes = Vec::new();
    let mut add = |onset: u32, duration: u32, pitch: u8| {
        notes.push(Note { onset, duration, pitch, ends_phrase: false });
    };
    let last = harmonise(piece, start, end).len().saturating_sub(1);
    for (number, chord) in harmonise(piece, start, end).into_iter().enumerate() {
        let span = chord.end - chord.start;
        let bass = placed(chord.classes[0], BASS);
        let mut tones = chord.classes.map(|class| placed(class, CHORD));
        tones.sort_unstable();
        match pattern {
            Texture::AfterBeat if number < last => {
                add(chord.start, beat.min(span), bass);
                let afters = (1..).map(|count| chord.start + count * beat).take_while(|onset| *onset < chord.end);
                afters.for_each(|onset| tones.iter().for_each(|tone| add(onset, beat / 2, *tone)));
            }
            Texture::Broken if number < last => {
                let step = (beat / 2).max(1);
                let order = [bass, tones[0], tones[1], tones[2], tones[1], tones[0]];
                let onsets = (0..).map(|count| (count, chord.start + count as u32 * step));
                onsets
                    .take_while(|(_, onset)| *onset < chord.end)
                    .for_each(|(count, onset)| add(onset, step, order[count % order.len()]));
            }
            _ => {
                add(chord.start, span, bass);
                tones.iter().for_each(|tone| add(chord.start, span, *tone));
            }
        }
    }
    notes
}
