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
/// Frames of the shortest and the longest stretch that is read as a model drew it, or is not.
const DRAWN: (usize, usize) = (1, 24);
/// How likely a frame that is new is read as drawn, beside one that is played again.
const NEW_DRAWN: f64 = 0.5;
/// Share of those stretches in which the first codebook is read as it is.
const LATER_ALONE: f64 = 0.3;

/// A song, or a sequence of copies ([`crate::copies`]).
#[derive(Clone)]
pub struct Written {
    /// Its words.
    pub prompt: PromptTokens,
    /// Its codes, frame after frame.
    pub codes: Vec<u16>,
    /// What the backbone reads of them: the same, but for mistakes.
    pub read: Vec<u16>,
    /// What the depth decoder reads of them: the same, but for codes that a model drew.
    pub heard: Vec<u16>,
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

/// How much a frame of a song counts.
fn weight(codes: &[u16], books: usize, frame: usize, source: u32) -> f32 {
    let codes = |frame: usize| &codes[frame * books..(frame + 1) * books];
    let changes = frame == 0 || codes(frame) != codes(frame - 1);
    if source != NEW && changes { AGAIN } else { 1.0 }
}

/// A number of frames between two, the logarithm of each equally likely.
fn stretch((least, most): (usize, usize), rng: &mut Rng) -> usize {
    (least as f64 * (most as f64 / least as f64).powf(rng.unit())) as usize
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
        let weights = (0..frames).map(|frame| weight(&codes, books, frame, sources[frame])).collect();
        let form = Form { to_come: to_come(&song.phrases, frames), places: places(song, frames), key: song.key };
        Self { prompt, read: codes.clone(), heard: codes.clone(), codes, sources, weights, form: Some(form) }
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
                    let end = (first + stretch(HELD, rng)).min(frames);
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

    /// The same, read in part as a model that drew `drawn` would read its own song (scheduled sampling): a share of the
    /// frames that are played again, and fewer of a song's new ones, are read as drawn, while what is to be written
    /// stays. What plays again a new frame that is read as drawn is that drawn frame, for that is what was sung. Frames
    /// that are read as mistakes or as held stay so.
    pub fn with_draws(mut self, drawn: &[u16], share: f64, rng: &mut Rng) -> Self {
        let (frames, books) = (self.frames(), self.codes.len() / self.frames().max(1));
        let of = |frame: usize| frame * books..(frame + 1) * books;
        let (mut altered, mut sung) = (vec![false; frames], vec![false; frames]);
        for (frame, altered) in altered.iter_mut().enumerate() {
            *altered = self.read[of(frame)] != self.codes[of(frame)];
        }
        let new_drawn = if self.form.is_some() { NEW_DRAWN } else { 0.0 };
        let mut first = 0;
        while first < frames {
            let end = (first + stretch(DRAWN, rng)).min(frames);
            let (random, from) = (rng.unit(), usize::from(rng.unit() < LATER_ALONE));
            for frame in first..end {
                let likely = if self.sources[frame] == NEW { new_drawn } else { 1.0 };
                if random < share * likely && !altered[frame] {
                    let codes = frame * books + from.min(books)..(frame + 1) * books;
                    self.read[codes.clone()].copy_from_slice(&drawn[codes]);
                    sung[frame] = true;
                }
            }
            first = end;
        }
        for frame in (0..frames).filter(|frame| self.sources[*frame] != NEW) {
            let source = self.sources[frame] as usize;
            if sung[source] {
                self.codes[of(frame)].copy_from_slice(&self.read[of(source)]);
                if !sung[frame] && !altered[frame] {
                    self.read[of(frame)].copy_from_slice(&self.codes[of(frame)]);
                }
            }
        }
        self.heard.clone_from(&self.codes);
        for frame in (0..frames).filter(|frame| self.sources[*frame] != NEW) {
            if self.form.is_some() && self.weights[frame] > 0.0 {
                self.weights[frame] = weight(&self.codes, books, frame, self.sources[frame]);
            }
            // A later code follows from the first one, so it is heard as drawn only behind a first one that is right.
            let first = frame * books;
            if rng.unit() < share && drawn[first] == self.codes[first] {
                self.heard[first + 1..first + books].copy_from_slice(&drawn[first + 1..first + books]);
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
                heard: codes.clone(),
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

    #[test]
    fn what_was_sung_is_what_comes_again_and_what_is_new_stays_as_it_is() {
        let (frames, books) = (400, 3);
        let codes: Vec<u16> = (0..frames as u16 * books as u16).map(|place| place % 600).collect();
        let drawn: Vec<u16> = codes.iter().map(|code| code + 5000).collect();
        let sources: Vec<u32> = (0..frames as u32).map(|frame| if frame < 200 { NEW } else { frame - 200 }).collect();
        let form = Form { to_come: vec![0; frames], places: vec![0; frames], key: 0 };
        let song = Written {
            prompt: PromptTokens { tags: vec![], lyrics: vec![] },
            read: codes.clone(),
            heard: codes.clone(),
            codes: codes.clone(),
            sources,
            weights: vec![1.0; frames],
            form: Some(form),
        };
        let of = |codes: &[u16], frame: usize| codes[frame * books..(frame + 1) * books].to_vec();
        let none = song.clone().with_draws(&drawn, 0.0, &mut Rng::new(&[1]));
        assert_eq!((&none.read, &none.heard, &none.codes), (&codes, &codes, &codes));
        let (mut new, mut again, mut later, mut kept) = (0, 0, 0, 0);
        for seed in 0..60 {
            let mut held = song.clone();
            // A frame that is read as another stays so.
            held.read[3 * books..4 * books].copy_from_slice(&codes[..books]);
            held.weights[203] = 0.0;
            let made = held.with_draws(&drawn, 0.4, &mut Rng::new(&[seed]));
            assert_eq!((of(&made.read, 3), of(&made.codes, 203)), (of(&codes, 0), of(&codes, 203)));
            assert_eq!(made.weights[203], 0.0);
            for frame in (0..200).filter(|frame| *frame != 3) {
                assert_eq!(of(&made.codes, frame), of(&codes, frame), "a new frame is to be written as it was");
                assert_eq!(of(&made.codes, frame + 200), of(&made.read, frame), "what was sung comes again");
                new += usize::from(made.read[frame * books + 1] != codes[frame * books + 1]);
                later += usize::from(
                    made.read[frame * books] == codes[frame * books]
                        && made.read[frame * books + 1] != codes[frame * books + 1],
                );
                let frame = frame + 200;
                again += usize::from(of(&made.read, frame) != of(&made.codes, frame));
                kept += usize::from(of(&made.read, frame) == of(&codes, frame));
                assert_eq!(of(&made.heard, frame)[0], of(&made.codes, frame)[0]);
            }
        }
        let share = |count: usize| count as f64 / (60.0 * 199.0);
        assert!((0.15..0.25).contains(&share(new)), "{} of the new frames are read as drawn", share(new));
        assert!((0.03..0.10).contains(&share(later)), "{} without their first codebook", share(later));
        assert!((0.2..0.5).contains(&share(again)) && kept > 0, "{} of those that are played again", share(again));
    }
}
