//! Song as the language model learns from it: words, codes, and what the backbone is asked beside them.

use heartstream_models::{ModelDirectory, heartmula::PromptTokens, text::PromptTokenizer};

use crate::{
    again::{self, NEW},
    codes::Coder,
    error::Result,
    feed::{NO_FORM, Song},
    questions::MOST_PHRASES,
    rng::Rng,
    setting::Setting,
};

/// How much a frame that is played again counts, beside one that is new: only it asks for what was before.
const AGAIN: f32 = 2.0;
/// Share of the frames played again that the backbone reads as others, so that it finds back after a mistake of its own.
pub const MISTAKES: f64 = 0.03;

/// A song, or a sequence of copies ([`crate::copies`]).
#[derive(Clone)]
pub struct Written {
    /// Its words.
    pub prompt: PromptTokens,
    /// Its codes, frame after frame.
    pub codes: Vec<u16>,
    /// What the backbone reads of them: the same, but for mistakes.
    pub read: Vec<u16>,
    /// For each frame the one at which the same was played first, or [`NEW`].
    pub sources: Vec<u32>,
    /// How much each frame counts.
    pub weights: Vec<f32>,
    /// What is asked of a song; nothing of a sequence of copies.
    pub form: Option<Form>,
}

/// What the backbone is asked beside the codes.
#[derive(Clone)]
pub struct Form {
    /// Phrases that begin behind each frame.
    pub to_come: Vec<u32>,
    /// The place in the form of the phrase that each frame belongs to.
    pub places: Vec<u32>,
    /// The key.
    pub key: u32,
}

/// Phrases that begin behind each frame.
fn to_come(phrases: &[f64], frames: usize) -> Vec<u32> {
    let behind = |frame: usize| phrases.iter().filter(|start| **start > (frame as f64 + 1.0) * 0.08).count() as u32;
    (0..frames).map(|frame| behind(frame).min(MOST_PHRASES)).collect()
}

/// The place of the phrase that each frame belongs to.
fn places(song: &Song, frames: usize) -> Vec<u32> {
    let of = |frame: usize| {
        let begun = song.phrases.iter().filter(|start| **start <= (frame as f64 + 0.5) * 0.08).count();
        song.places.get(begun.saturating_sub(1)).copied().unwrap_or(NO_FORM)
    };
    (0..frames).map(of).collect()
}

impl Written {
    /// Frames of it.
    pub fn frames(&self) -> usize {
        self.sources.len()
    }

    /// A song with these words and codes; frames that are played again get the codes of their source, which are those
    /// of nearly the same sound.
    fn song(song: &Song, prompt: PromptTokens, mut codes: Vec<u16>) -> Self {
        let frames = song.frames();
        let books = codes.len() / frames.max(1);
        let sources = again::sources(song, frames);
        for (frame, source) in sources.iter().enumerate().filter(|(_, source)| **source != NEW) {
            codes.copy_within(*source as usize * books..(*source as usize + 1) * books, frame * books);
        }
        let weights = sources.iter().map(|source| if *source == NEW { 1.0 } else { AGAIN }).collect();
        let form = Form { to_come: to_come(&song.phrases, frames), places: places(song, frames), key: song.key };
        Self { prompt, read: codes.clone(), codes, sources, weights, form: Some(form) }
    }

    /// The same, but some of its frames that are played again are read as others of it.
    pub fn with_mistakes(mut self, rng: &mut Rng) -> Self {
        let (frames, books) = (self.frames(), self.codes.len() / self.frames().max(1));
        for frame in (0..frames).filter(|frame| self.sources[*frame] != NEW) {
            if rng.unit() < MISTAKES {
                let other = rng.below(frames);
                let other = &self.codes[other * books..(other + 1) * books];
                self.read[frame * books..(frame + 1) * books].copy_from_slice(other);
            }
        }
        self
    }
}

/// Turns songs into what the language model learns from.
pub struct Writer {
    tokenizer: PromptTokenizer,
    coder: Coder,
}

impl Writer {
    /// With the finished codes of a run, and the tokenizer of a checkpoint.
    pub fn open(setting: &Setting, directory: &ModelDirectory) -> Result<Self> {
        Ok(Self { tokenizer: directory.load_tokenizer()?, coder: Coder::open(setting)? })
    }

    /// Writes some.
    pub fn written(&self, songs: &[Song]) -> Result<Vec<Written>> {
        let paths = self.coder.paths(songs)?;
        let one = |(song, path): (&Song, crate::steady::CodePath)| {
            Ok(Written::song(song, self.tokenizer.prompt(&song.tags, &song.lyrics)?.ids, path.codes_by_frame()))
        };
        songs.iter().zip(paths).map(one).collect()
    }
}
