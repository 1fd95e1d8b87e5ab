//! Feed of a training stage: a pool of prepared songs, which new ones flow into by the step.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    corpus::{Dataset, Example, Manner, PARTS, SCORES, Split, Variation},
    error::Result,
    rng::Rng,
};

/// A song with its words.
pub struct Song {
    /// Samples of the left channel, 48 kHz, 3840 a frame.
    pub left: Vec<f32>,
    /// Samples of the right channel, as many.
    pub right: Vec<f32>,
    /// As the program takes them.
    pub tags: String,
    /// As the program takes them.
    pub lyrics: String,
    /// When each phrase begins, in seconds: a phrase is a line of the lyrics, but for what is only played.
    pub phrases: Vec<f64>,
    /// Which phrase of the piece each is: equal ones are played alike.
    pub order: Vec<usize>,
    /// The place of each phrase in its part of the form, below [`PLACES`]; [`NO_FORM`] where it is not known.
    pub places: Vec<u32>,
    /// The key: pitch class of its tonic, 0 is C, and 12 more where the third above it is a minor one.
    pub key: u32,
}

impl Song {
    /// A song that was not rendered from notes: what is known of it are its words and its sound.
    pub fn sounding(tags: &str, lyrics: &str, [left, right]: [Vec<f32>; 2], key: u32) -> Self {
        let (tags, lyrics) = (tags.to_owned(), lyrics.to_owned());
        Self { left, right, tags, lyrics, phrases: Vec::new(), order: Vec::new(), places: Vec::new(), key }
    }
}

/// Keys that there are.
pub const KEYS: usize = 24;
/// Phrases of a part that are told apart: later ones are as the last.
const PLACES_OF_A_PART: usize = 8;
/// Places in a form: those of the verse, then those of the chorus.
pub const PLACES: usize = PARTS * PLACES_OF_A_PART;
/// The place of a phrase of a song without a form.
pub const NO_FORM: u32 = PLACES as u32;

/// The place of each phrase that a variation plays. A part's phrases are told apart by which they are, so that a coda has
/// the places of what it repeats.
fn places(variation: &Variation) -> Vec<u32> {
    let first = |part: usize| {
        let of_part = variation.sections.iter().filter(|section| section.part == part);
        of_part.flat_map(|section| section.phrases.iter().copied()).min().unwrap_or(0)
    };
    let of = |part: usize, phrase: usize| {
        (part * PLACES_OF_A_PART + (phrase - first(part)).min(PLACES_OF_A_PART - 1)) as u32
    };
    let sections = variation.sections.iter();
    let known: Vec<u32> =
        sections.flat_map(|section| section.phrases.iter().map(|phrase| of(section.part, *phrase))).collect();
    if known.is_empty() { vec![NO_FORM; variation.order.len()] } else { known }
}

impl Song {
    /// Whole frames of 80 ms.
    pub fn frames(&self) -> usize {
        self.left.len() / 3840
    }
}

/// Which songs there are.
#[derive(Clone)]
pub enum Source {
    /// The corpus.
    Corpus(Arc<Dataset>),
    /// Sines of two colours: nothing to learn music from, but there at once.
    Toy,
}

/// The endless songs of a source, in an order that belongs to a seed.
pub type Songs = Box<dyn Iterator<Item = Result<Song>> + Send>;

impl Source {
    /// The corpus with this SoundFont, or without one the toy. The notes are those of the repository if no others are
    /// given.
    pub fn open(scores: Option<&PathBuf>, soundfont: Option<&PathBuf>) -> Result<Self> {
        let scores = scores.map_or(Path::new(SCORES), PathBuf::as_path);
        match soundfont {
            Some(font) => Ok(Self::Corpus(Arc::new(Dataset::open(scores, font)?))),
            None => Ok(Self::Toy),
        }
    }

    /// The songs from number `first` on, rendered ahead by `threads` threads.
    pub fn songs(&self, held_out: bool, manner: Manner, first: usize, seed: u64, threads: usize) -> Songs {
        match self {
            Self::Corpus(dataset) => {
                let split = if held_out { Split::HeldOut } else { Split::Train };
                Box::new(dataset.examples(split, manner, first..usize::MAX, seed, threads).map(|example| {
                    let Example { left, right, tags, lyrics, plan, .. } = example?;
                    let key = u32::from(plan.song.tonic) + 12 * u32::from(plan.piece.mode.is_minor());
                    let places = places(&plan.variation);
                    let order = plan.variation.order;
                    Ok(Song { left, right, tags, lyrics, phrases: plan.song.phrases, order, places, key })
                }))
            }
            Self::Toy => {
                let domain = if held_out { seed.wrapping_add(1) } else { seed };
                Box::new((first..).map(move |index| Ok(toy(index, domain))))
            }
        }
    }
}

/// A few decaying sines; a line of words is a second.
fn toy(index: usize, seed: u64) -> Song {
    let mut rng = Rng::new(&[seed, index as u64]);
    let lines = 2 + rng.below(3);
    let bright = rng.below(2) == 1;
    let samples = lines * 12 * 3840;
    let mut left = vec![0f32; samples];
    let note = samples / (4 * lines);
    for (place, piece) in left.chunks_mut(note).enumerate() {
        let pitch = 220.0 * 2f64.powf(([0, 2, 4, 5, 7, 9, 11][rng.below(7)] as f64 + (place % 2) as f64 * 12.0) / 12.0);
        for (n, sample) in piece.iter_mut().enumerate() {
            let time = n as f64 / 48_000.0;
            let wave = |harmonic: f64| (std::f64::consts::TAU * pitch * harmonic * time).sin() / harmonic;
            let tone = if bright { wave(1.0) + wave(2.0) + wave(3.0) + wave(4.0) } else { wave(1.0) };
            *sample = (0.15 * tone * (-3.0 * time).exp()) as f32;
        }
    }
    let right = left.iter().map(|x| 0.7 * x).collect();
    let tags = if bright { "trumpet,happy" } else { "flute,calm" };
    let lyrics = format!("[Verse]\n{}[Outro]", "la la la la\n".repeat(lines));
    let phrases = (0..lines).map(|line| line as f64 * 12.0 * 3840.0 / 48_000.0).collect();
    let places = (0..lines as u32).collect();
    let order = (0..lines).collect();
    Song { left, right, tags: tags.to_owned(), lyrics, phrases, order, places, key: 9 }
}

/// The next `count` of endless songs.
pub fn some(songs: &mut Songs, count: usize) -> Result<Vec<Song>> {
    songs.take(count).collect()
}

/// Songs that are taken in at once, at most: their sound is held until all of them are prepared.
const BURST: usize = 8;

/// Prepared songs: the oldest makes room for the newest.
pub struct Pool<T> {
    items: Vec<T>,
    room: usize,
    /// New songs for each step.
    fresh: f64,
    owed: f64,
    /// Songs taken so far.
    pub taken: usize,
}

impl<T> Pool<T> {
    /// Room for `room` songs, of which each step brings `fresh`.
    pub fn new(room: usize, fresh: f64) -> Self {
        Self { items: Vec::new(), room: room.max(1), fresh, owed: 0.0, taken: 0 }
    }

    /// Takes in the songs of a step: all that there is room for before the first one, then `fresh`; `next` prepares so
    /// many. So what is learnt from does not depend on who is faster.
    pub fn refill(&mut self, first: usize, mut next: impl FnMut(usize) -> Result<Vec<T>>) -> Result<()> {
        // Several at once: preparing a song waits for the device.
        let burst = BURST.min(self.room);
        let mut wanted = if self.items.is_empty() { first.clamp(1, self.room) } else { 0 };
        if wanted == 0 {
            self.owed += self.fresh;
            if self.owed >= burst as f64 {
                wanted = self.owed as usize;
                self.owed -= wanted as f64;
            }
        }
        while wanted > 0 {
            let few = wanted.min(burst);
            wanted -= few;
            for item in next(few)? {
                if self.items.len() < self.room {
                    self.items.push(item);
                } else {
                    self.items[self.taken % self.room] = item;
                }
                self.taken += 1;
            }
        }
        Ok(())
    }

    /// One of the songs.
    pub fn pick(&self, rng: &mut Rng) -> &T {
        &self.items[rng.below(self.items.len())]
    }
}
