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

/// How much a frame that is played again counts, beside one that is new, if it differs from the frame before it: only it
/// asks for what was before.
const AGAIN: f32 = 3.0;
/// Share of the frames played again that the backbone reads as others, so that it finds back after a mistake of its own.
pub const MISTAKES: f64 = 0.03;
/// Frames from one stretch that the backbone reads as held to the next, in the mean, and the frames of one: what a model
/// that dwells has written, behind which the song goes on all the same.
const HELD_EVERY: f64 = 300.0;
const HELD: (usize, usize) = (3, 48);

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
        let changes = |frame: usize| {
            let codes = |frame: usize| &codes[frame * books..(frame + 1) * books];
            frame == 0 || codes(frame) != codes(frame - 1)
        };
        let weight = |(frame, source): (usize, &u32)| if *source != NEW && changes(frame) { AGAIN } else { 1.0 };
        let weights = sources.iter().enumerate().map(weight).collect();
        let form = Form { to_come: to_come(&song.phrases, frames), places: places(song, frames), key: song.key };
        Self { prompt, read: codes.clone(), codes, sources, weights, form: Some(form) }
    }

    /// The same, but some of its frames that are played again are read as others of it, and stretches of a song as one
    /// frame that is held. What plays such a stretch again is not learnt from, for it cannot be copied.
    pub fn with_mistakes(mut self, rng: &mut Rng) -> Self {
        let (frames, books) = (self.frames(), self.codes.len() / self.frames().max(1));
        for frame in (0..frames).filter(|frame| self.sources[*frame] != NEW) {
            if rng.unit() < MISTAKES {
                let other = rng.below(frames);
                let other = &self.codes[other * books..(other + 1) * books];
                self.read[frame * books..(frame + 1) * books].copy_from_slice(other);
            }
        }
        if self.form.is_some() {
            let mut held = vec![false; frames];
            for first in 0..frames {
                if rng.unit() * HELD_EVERY < 1.0 {
                    let (least, most) = (HELD.0 as f64, HELD.1 as f64);
                    let length = (least * (most / least).powf(rng.unit())) as usize;
                    let end = (first + length).min(frames);
                    for frame in first + 1..end {
                        self.read.copy_within(first * books..(first + 1) * books, frame * books);
                    }
                    held[first + 1..end.max(first + 1)].fill(true);
                }
            }
            for (weight, source) in self.weights.iter_mut().zip(&self.sources) {
                if *source != NEW && held[*source as usize] {
                    *weight = 0.0;
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_read_as_held_is_learnt_from_as_written_and_its_copy_is_not_learnt_from() {
        let (frames, books) = (400, 3);
        let codes: Vec<u16> = (0..frames as u16 * books as u16).collect();
        let sources: Vec<u32> = (0..frames as u32).map(|frame| if frame < 200 { NEW } else { frame - 200 }).collect();
        let (mut stretches, mut unlearnt) = (0, 0);
        for seed in 0..40 {
            let prompt = PromptTokens { tags: vec![], lyrics: vec![] };
            let form = Form { to_come: vec![0; frames], places: vec![0; frames], key: 0 };
            let song = Written {
                prompt,
                read: codes.clone(),
                codes: codes.clone(),
                sources: sources.clone(),
                weights: vec![1.0; frames],
                form: Some(form),
            };
            let made = song.with_mistakes(&mut Rng::new(&[seed]));
            assert_eq!(made.codes, codes);
            let read = |frame: usize| &made.read[frame * books..(frame + 1) * books];
            // A mistake is one frame of those that are played again; what is new differs from the song only where it is held.
            let held: Vec<bool> =
                (0..200).map(|frame| read(frame) != &codes[frame * books..(frame + 1) * books]).collect();
            for frame in (1..200).filter(|frame| held[*frame]) {
                assert_eq!(read(frame), read(frame - 1), "frame {frame} of song {seed}");
                assert_eq!(made.weights[frame + 200], 0.0);
            }
            stretches += held.windows(2).filter(|two| !two[0] && two[1]).count();
            unlearnt += made.weights.iter().filter(|weight| **weight == 0.0).count();
            assert_eq!(
                held.iter().filter(|held| **held).count(),
                made.weights.iter().filter(|weight| **weight == 0.0).count()
            );
        }
        // One in 300 frames begins one, of 16 frames in the mean.
        assert!(
            (10..60).contains(&stretches) && unlearnt > 100,
            "{stretches} stretches, {unlearnt} frames not learnt from"
        );
    }
}
