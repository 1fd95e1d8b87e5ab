//! Dataset of the trainer: endless examples, each a pure function of split, index and seed.

use std::{fs, path::Path, sync::Arc};

use rustysynth::SoundFont;

use super::{
    error::{CorpusError, Result},
    render::{FRAME_SAMPLES, render},
    rng::CorpusRng,
    scores::{self, Kind, Piece},
    song::{Song, play},
    soundfont, user_words,
    variation::{Manner, Variation},
    words,
};

/// Examples that a thread renders ahead.
const AHEAD: usize = 4;
/// Variations that are tried before the next piece is taken.
const TRIES: u64 = 32;

/// Purposes of the random streams: the second key of each.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
enum Purpose {
    Order = 1,
    Variation = 2,
    Playing = 3,
    Words = 4,
}

/// Which pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// Those that the model learns from.
    Train,
    /// Those that it never sees.
    HeldOut,
}

/// A song with its words, before it is rendered.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The piece that is played.
    pub piece: Arc<Piece>,
    /// How it is played.
    pub variation: Variation,
    /// What is played.
    pub song: Song,
    /// As the program takes them: lower case, no space after a comma.
    pub tags: String,
    /// As the program takes them: marks of sections, and a line for each phrase that is sung.
    pub lyrics: String,
    /// Whole frames of 80 ms; at most 372 of an excerpt.
    pub frames: usize,
}

impl Plan {
    /// Number of lines that are sung.
    pub fn lines(&self) -> usize {
        self.lyrics.lines().filter(|line| !line.is_empty() && !line.starts_with('[')).count()
    }
}

/// A song with its words and its sound.
#[derive(Debug, Clone)]
pub struct Example {
    /// Samples of the left channel: [`FRAME_SAMPLES`] a frame, 48 kHz.
    pub left: Vec<f32>,
    /// Samples of the right channel, as many.
    pub right: Vec<f32>,
    /// As the program takes them.
    pub tags: String,
    /// As the program takes them.
    pub lyrics: String,
    /// Whole frames of 80 ms.
    pub frames: usize,
    /// What the sound was made from.
    pub plan: Plan,
}

/// The corpus.
#[derive(Debug)]
pub struct Dataset {
    train: Vec<Arc<Piece>>,
    held_out: Vec<Arc<Piece>>,
    font: Arc<SoundFont>,
}

impl Dataset {
    /// Opens the notes in the file `scores` and the sounds in the SoundFont file `soundfont`, cut or whole.
    ///
    /// # Errors
    /// When one of the files is missing or damaged.
    pub fn open(scores: &Path, soundfont: &Path) -> Result<Self> {
        let bytes = fs::read(scores).map_err(|error| CorpusError::File {
            path: scores.to_owned(),
            problem: error.to_string(),
            remedy: "Give examples/train/corpus/scores.bin",
        })?;
        Ok(Self::new(scores::read(&bytes)?, soundfont::load(soundfont)?))
    }

    /// The corpus of these pieces, without those of which no song can be made.
    pub fn new(pieces: Vec<Piece>, font: Arc<SoundFont>) -> Self {
        let held = scores::held_out(&pieces);
        let (mut train, mut held_out) = (Vec::new(), Vec::new());
        for (piece, held) in pieces.into_iter().zip(held) {
            if draw(&piece, Manner::Excerpt, &[0]).is_some() {
                let times = if held { 1 } else { times(&piece) };
                let piece = Arc::new(piece);
                if held { &mut held_out } else { &mut train }.extend(std::iter::repeat_n(piece, times));
            }
        }
        Self { train, held_out, font }
    }

    fn pieces(&self, split: Split) -> &[Arc<Piece>] {
        match split {
            Split::Train => &self.train,
            Split::HeldOut => &self.held_out,
        }
    }

    /// Number of examples of an epoch: one a piece, two a chorale to train on. Every index has an example.
    pub fn len(&self, split: Split) -> usize {
        self.pieces(split).len()
    }

    /// Example number `index` of the epoch that belongs to `seed`, without its sound. Each [`Dataset::len`]
    /// indices go through all pieces, in another order and variation for another seed or another round. A piece without
    /// a form leaves its place to the next one.
    pub fn plan(&self, split: Split, manner: Manner, index: usize, seed: u64) -> Plan {
        let pieces = self.pieces(split);
        let round = (index / pieces.len()) as u64;
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        CorpusRng::new(&[seed, Purpose::Order as u64, round]).shuffle(&mut order);
        let keys = |purpose: Purpose| [seed, purpose as u64, split as u64, index as u64];
        let drawn = (0..pieces.len()).find_map(|further| {
            let piece = &pieces[order[(index + further) % pieces.len()]];
            Some((piece, draw(piece, manner, &keys(Purpose::Variation))?))
        });
        // Every piece of the corpus has been drawn from once, when it was opened; another may need another try.
        let (piece, variation) = drawn.unwrap_or_else(|| panic!("no piece of {split:?} has a variation"));
        let song = play(piece, &variation, &mut CorpusRng::new(&keys(Purpose::Playing)));
        let mut rng = CorpusRng::new(&keys(Purpose::Words));
        let tags = words::tags(piece, &variation, &song, &mut rng);
        let lyrics = match manner {
            Manner::Excerpt => words::lyrics(piece, &variation, &song, &mut rng),
            Manner::Form | Manner::ShortForm => user_words::lyrics(&variation.sections, &song.syllables, &mut rng),
        };
        let frames = song.frames();
        Plan { piece: Arc::clone(piece), variation, song, tags, lyrics, frames }
    }

    /// Renders a plan.
    ///
    /// # Errors
    /// When the synthesizer cannot.
    pub fn rendered(&self, plan: Plan) -> Result<Example> {
        let sound = render(&self.font, &plan.song, &plan.variation)?;
        debug_assert_eq!(sound.left.len(), plan.frames * FRAME_SAMPLES, "a whole number of frames");
        let (tags, lyrics, frames) = (plan.tags.clone(), plan.lyrics.clone(), plan.frames);
        Ok(Example { left: sound.left, right: sound.right, tags, lyrics, frames, plan })
    }

    /// Example number `index` of the epoch that belongs to `seed`: see [`Dataset::plan`].
    ///
    /// # Errors
    /// When the synthesizer cannot render it.
    pub fn example(&self, split: Split, manner: Manner, index: usize, seed: u64) -> Result<Example> {
        self.rendered(self.plan(split, manner, index, seed))
    }

    /// The examples with these indices in their order, rendered ahead by `threads` threads. Dropping it ends them.
    pub fn examples(
        self: &Arc<Self>,
        split: Split,
        manner: Manner,
        indices: std::ops::Range<usize>,
        seed: u64,
        threads: usize,
    ) -> Examples {
        let threads = threads.max(1);
        let workers = (0..threads)
            .map(|worker| {
                let (sender, receiver) = flume::bounded(AHEAD);
                let (dataset, indices) = (Arc::clone(self), indices.clone());
                std::thread::spawn(move || {
                    for index in indices.skip(worker).step_by(threads) {
                        if sender.send(dataset.example(split, manner, index, seed)).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        Examples { workers, next: 0 }
    }
}

/// How many times a piece comes in an epoch: the chorales are few, and the only ones with four voices.
fn times(piece: &Piece) -> usize {
    if piece.kind == Kind::Chorale { 2 } else { 1 }
}

fn draw(piece: &Piece, manner: Manner, keys: &[u64]) -> Option<Variation> {
    (0..TRIES).find_map(|attempt| Variation::draw(piece, manner, &mut CorpusRng::new(&[keys, &[attempt]].concat())))
}

/// Examples in the order of their indices, rendered ahead.
#[derive(Debug)]
pub struct Examples {
    /// Worker `w` renders examples `w`, `w + workers` and so on.
    workers: Vec<flume::Receiver<Result<Example>>>,
    next: usize,
}

impl Iterator for Examples {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        let worker = self.next % self.workers.len();
        self.next += 1;
        self.workers[worker].recv().ok()
    }
}
