//! Song: a piece and a variation become a score in seconds.

use super::{
    harmony::harmonise,
    instruments::{Instrument, VELOCITIES},
    phrases::{LINE_FRAMES, Phrase},
    render::{FRAME_SAMPLES, SAMPLE_RATE},
    rng::CorpusRng,
    scores::{Note, Piece},
    variation::{LEAD_IN_SECONDS, RING_SECONDS, Texture, Variation},
};

/// Seconds of a frame of codes.
pub const FRAME_SECONDS: f64 = FRAME_SAMPLES as f64 / SAMPLE_RATE as f64;
/// Seconds of a line in a form.
const LINE_SECONDS: f64 = LINE_FRAMES as f64 * FRAME_SECONDS;
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

/// A phrase as it is played: its ticks, and when the first of them sounds.
#[derive(Debug, Clone, Copy)]
struct Played {
    phrase: Phrase,
    /// Its place in the division.
    place: usize,
    /// Seconds since the song's beginning.
    start: f64,
}

/// Times of the phrases that are played, in their order.
struct Clock<'a> {
    variation: &'a Variation,
    played: Vec<Played>,
}

impl<'a> Clock<'a> {
    fn of(variation: &'a Variation) -> Self {
        let mut start = LEAD_IN_SECONDS;
        let mut played = Vec::new();
        for place in &variation.order {
            let phrase = variation.division.phrases[*place];
            played.push(Played { phrase, place: *place, start });
            let ticks = f64::from(phrase.end - phrase.start);
            start += ticks * variation.division.tick_seconds + variation.breath;
            if !variation.sections.is_empty() {
                // Phrases that are played again begin at the same place of a frame, so their codes are the same, too.
                start = LEAD_IN_SECONDS + ((start - LEAD_IN_SECONDS) / LINE_SECONDS - 1e-6).ceil() * LINE_SECONDS;
            }
        }
        Self { variation, played }
    }

    /// When a tick of the phrase in place `number` sounds; the last one, where the next phrase begins.
    fn seconds(&self, number: usize, tick: u32) -> f64 {
        let Played { phrase, start, .. } = self.played[number];
        let tick_seconds = self.variation.division.tick_seconds;
        match self.played.get(number + 1) {
            Some(next) if tick >= phrase.end => next.start,
            Some(_) => start + f64::from(tick - phrase.start) * tick_seconds,
            None => {
                let slow_from = f64::from(phrase.end) - SLOW_PART * f64::from(phrase.end - phrase.start);
                let slowed = (f64::from(tick) - slow_from).max(0.0) * (self.variation.slowing - 1.0);
                start + (f64::from(tick - phrase.start) + slowed) * tick_seconds
            }
        }
    }

    /// The end of a note, which is not drawn over a breath, and is held where it ends the song.
    fn end(&self, number: usize, note: &Note) -> f64 {
        let phrase = self.played[number].phrase;
        let (start, end) = (self.seconds(number, note.onset), (note.onset + note.duration).min(phrase.end));
        if end >= phrase.end && number + 1 == self.played.len() {
            return self.seconds(number, end) + self.variation.hold;
        }
        let span = f64::from(end - note.onset) * self.variation.division.tick_seconds;
        start + (self.seconds(number, end) - start).min(span * 1.3) * self.variation.gate
    }

    /// Spans of ticks that are played without a break, with the numbers of their phrases: a section each, or the whole
    /// song where it has none.
    fn runs(&self) -> Vec<std::ops::Range<usize>> {
        let mut runs = Vec::new();
        let mut first = 0;
        for number in 1..=self.played.len() {
            let breaks = self.played.get(number).is_none_or(|next| next.place != self.played[number - 1].place + 1);
            if breaks || self.begins_a_section(number) {
                runs.push(first..number);
                first = number;
            }
        }
        runs
    }

    fn begins_a_section(&self, number: usize) -> bool {
        let mut end = 0;
        self.variation.sections.iter().any(|section| {
            end += section.phrases.len();
            end == number
        })
    }
}

/// Plays `piece` as `variation` says; `rng` moves onsets and velocities a little, in a form alike each time that a
/// phrase is played.
pub fn play(piece: &Piece, variation: &Variation, rng: &mut CorpusRng) -> Song {
    let clock = Clock::of(variation);
    let rest = variation.second.unwrap_or(variation.lead);
    let own = (!variation.sections.is_empty()).then(|| rng.below(1 << 30) as u64);
    let mut notes = Vec::new();
    let mut sound = |part: &[Note], numbers: std::ops::Range<usize>, by: i32, instrument, loudness: f64| {
        let instrument: &'static Instrument = instrument;
        for number in numbers {
            let Played { phrase, place, .. } = clock.played[number];
            let mut again = own.map(|key| CorpusRng::new(&[key, place as u64, u64::from(instrument.program)]));
            let rng = again.as_mut().unwrap_or(&mut *rng);
            for note in part.iter().filter(|note| (phrase.start..phrase.end).contains(&note.onset)) {
                let Some(pitch) = moved(note.pitch, by, instrument) else { continue };
                // Where frames are to come again, an onset is not before its frame.
                let loose =
                    if own.is_some() { rng.between(0.0, LOOSENESS) } else { rng.between(-LOOSENESS, LOOSENESS) };
                let velocity = velocity(piece, note, &phrase, loudness) + rng.between(-4.0, 4.0);
                notes.push(Sounding {
                    start: (clock.seconds(number, note.onset) + loose).max(0.0),
                    end: clock.end(number, note),
                    pitch,
                    velocity: (velocity as u8).clamp(VELOCITIES.0, VELOCITIES.1),
                    instrument,
                });
            }
        }
    };
    let (by, all) = (variation.transposition, 0..clock.played.len());
    sound(piece.melody(), all.clone(), by, variation.lead, 1.0);
    if variation.doubling != 0 {
        sound(piece.melody(), all.clone(), by + variation.doubling, variation.lead, 0.75);
    }
    match variation.texture {
        Texture::Solo => {}
        Texture::Duet => {
            if let [_, .., last] = &piece.parts[..] {
                sound(last, all.clone(), by, rest, 0.85);
            }
        }
        Texture::Full => piece.parts.iter().skip(1).for_each(|part| sound(part, all.clone(), by, rest, 0.85)),
        pattern => clock.runs().into_iter().for_each(|run| {
            let (start, end) = (clock.played[run.start].phrase.start, clock.played[run.end - 1].phrase.end);
            sound(&accompaniment(piece, pattern, by, start, end), run, 0, rest, 0.72);
        }),
    }
    notes.sort_by(|a, b| a.start.total_cmp(&b.start).then(a.pitch.cmp(&b.pitch)));
    let last = clock.played.len() - 1;
    let end = clock.seconds(last, clock.played[last].phrase.end);
    let melody_notes = |played: &Played| {
        let ticks = played.phrase.start..played.phrase.end;
        piece.melody().iter().filter(|note| ticks.contains(&note.onset)).count()
    };
    Song {
        notes,
        phrases: clock.played.iter().map(|played| played.start).collect(),
        syllables: (0..=last).map(|number| syllables(piece, &clock, number)).collect(),
        pace: clock.played.iter().map(melody_notes).sum::<usize>() as f64 / (end - LEAD_IN_SECONDS).max(1.0),
        seconds: end + variation.hold + RING_SECONDS,
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

fn syllables(piece: &Piece, clock: &Clock<'_>, number: usize) -> usize {
    let (mut count, mut last) = (0, f64::NEG_INFINITY);
    let phrase = clock.played[number].phrase;
    for note in piece.melody().iter().filter(|note| (phrase.start..phrase.end).contains(&note.onset)) {
        let at = clock.seconds(number, note.onset);
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
