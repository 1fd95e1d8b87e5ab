//! Codes that come back in the songs of a checkpoint, by prompts in a user's manner: what form there is before the codec
//! has its share. It takes seconds where the figures of the sound take minutes, so settings of sampling can be compared.
//!
//! A *window* is 3 s of codes. Its counterpart is the other window of the same song, at least 3 s from it, with the most
//! equal codes in the same places. A window comes back if nearly all codes are equal, and if it is no held note.

use std::path::Path;

use candle_core::Device;
use heartstream::units::Frames;
use heartstream_models::{
    ModelDirectory,
    heartmula::{HeartMula, KeyedSampler, Sampling},
    signal::KeyedNoise,
    text::PromptTokenizer,
    weights::Checkpoint,
};

use super::{
    SamplingArgs,
    prompts::{Prompt, prompts},
    users::{LONG, fits, longest, percent, quantile},
};
use crate::{error::Result, generated_song::each, setting::Setting};

/// Frames of a window: 3 s.
const WINDOW: usize = 38;
/// Frames from one window that is asked for to the next.
const STEP: usize = 6;
/// Share of a window's codes that are equal where it comes back.
const NEARLY_ALL: f64 = 0.85;
/// A window whose first codebook changes less often is a held note.
const CHANGES: usize = 4;

/// How long frames last.
fn seconds(frames: usize) -> f64 {
    Frames(frames as u64).seconds().0
}

/// What is measured of a song.
struct Copied {
    lines: usize,
    frames: usize,
    by_itself: bool,
    /// Share of the windows that come back in all codebooks, and in the first one.
    back: [f64; 2],
    /// Share of equal codes in each codebook of a window and its counterpart, the mean.
    equal: Vec<f64>,
    /// Seconds of the longest stretch of one code in the first codebook.
    held: f64,
}

impl Copied {
    /// That of a song with these codes, frame after frame.
    fn of(codes: &[u16], books: usize, lines: usize, by_itself: bool) -> Self {
        let frames = codes.len() / books;
        let starts = (frames + 1).saturating_sub(WINDOW);
        let equal = |one: usize, other: usize| -> Vec<f64> {
            let equal = |book: usize| {
                let same = |frame: &usize| codes[(one + frame) * books + book] == codes[(other + frame) * books + book];
                (0..WINDOW).filter(same).count() as f64 / WINDOW as f64
            };
            (0..books).map(equal).collect()
        };
        let sum = |equal: &[f64]| equal.iter().sum::<f64>();
        let (mut asked, mut back, mut means) = (0.0, [0.0; 2], vec![0.0; books]);
        for one in (0..starts).step_by(STEP) {
            let others = (0..starts).filter(|other| other.abs_diff(one) >= WINDOW);
            let best = others.map(|other| equal(one, other)).max_by(|a, b| sum(a).total_cmp(&sum(b)));
            let Some(best) = best else { continue };
            let first = |frame: usize| codes[frame * books];
            let moves = (one + 1..one + WINDOW).filter(|frame| first(*frame) != first(frame - 1)).count() >= CHANGES;
            asked += 1.0;
            back[0] += f64::from(u8::from(moves && sum(&best) >= NEARLY_ALL * books as f64));
            back[1] += f64::from(u8::from(moves && best[0] >= NEARLY_ALL));
            means.iter_mut().zip(&best).for_each(|(mean, equal)| *mean += equal);
        }
        let share = |sum: f64| if asked > 0.0 { sum / asked } else { 0.0 };
        let firsts: Vec<u16> = codes.iter().step_by(books).copied().collect();
        let held = firsts.chunk_by(|a, b| a == b).map(<[u16]>::len).max().unwrap_or(0);
        Self {
            lines,
            frames,
            by_itself,
            back: back.map(share),
            equal: means.into_iter().map(share).collect(),
            held: seconds(held),
        }
    }
}

/// A checkpoint that writes codes.
struct CodeGenerator {
    lm: HeartMula,
    tokenizer: PromptTokenizer,
    sampling: Sampling,
    codes: u32,
    books: usize,
}

impl CodeGenerator {
    fn copied(&self, prompt: &Prompt, seed: u64) -> Result<Copied> {
        let ids = self.tokenizer.prompt(&prompt.tags, &prompt.lyrics)?.ids;
        let frames = longest(prompt).0 as usize;
        let mut state = self.lm.start(&ids, self.sampling.cfg_scale, frames)?;
        let mut sampler = KeyedSampler::new(self.sampling, KeyedNoise::new(seed))?;
        let (mut codes, mut by_itself) = (Vec::new(), false);
        while codes.len() < frames * self.books && !by_itself {
            let frame = self.lm.next_frame(&mut state, &mut sampler)?;
            by_itself = frame.iter().any(|code| *code >= self.codes);
            if !by_itself {
                codes.extend(frame.into_iter().map(|code| code as u16));
            }
        }
        Ok(Copied::of(&codes, self.books, prompt.lines(), by_itself))
    }
}

/// Prints the figures of the checkpoint in `model` by `count` prompts, `takes` songs each, and with `each_song` a line for
/// each song.
///
/// # Errors
/// When the checkpoint cannot be read, or does not write.
pub fn print(
    setting: &Setting,
    model: &Path,
    sampling: SamplingArgs,
    counts: [usize; 2],
    each_song: bool,
) -> Result<()> {
    let directory = ModelDirectory::open(Checkpoint::Directory(model.to_owned()))?;
    let generator = CodeGenerator {
        lm: directory.load_lm(&Device::Cpu)?,
        tokenizer: directory.load_tokenizer()?,
        sampling: sampling.or(directory.defaults.sampling),
        codes: directory.codec.codebook_size as u32,
        books: directory.lm.audio_num_codebooks,
    };
    let [count, takes] = counts;
    let asked: Vec<Prompt> = (0..takes).flat_map(|_| prompts().into_iter().take(count)).collect();
    let songs = each(&asked, 0, setting.threads, |prompt, seed| generator.copied(prompt, seed))?;
    for (song, prompt) in songs.iter().zip(&asked).filter(|_| each_song) {
        let equal: Vec<String> = song.equal.iter().map(|share| format!("{:.0}", 100.0 * share)).collect();
        println!(
            "  {:<40} {:>2} lines, {:>5.1} s{}, {:>3.0} % back, {:>3.0} % in the first codebook, equal {} %, {:>4.1} s held",
            prompt.tags,
            song.lines,
            seconds(song.frames),
            if song.by_itself { "" } else { " (not ended)" },
            100.0 * song.back[0],
            100.0 * song.back[1],
            equal.join("/"),
            song.held,
        );
    }
    let long: Vec<&Copied> = songs.iter().filter(|song| seconds(song.frames) >= LONG).collect();
    let of_long = |of: &dyn Fn(&Copied) -> f64, share: f64| 100.0 * quantile(long.iter().map(|song| of(song)), share);
    let Sampling { temperature, top_k, cfg_scale } = generator.sampling;
    println!(
        "temperature {temperature}, {top_k} codes, guidance {cfg_scale}: {} songs, {} long ones",
        songs.len(),
        long.len()
    );
    let quartiles =
        |of: &dyn Fn(&Copied) -> f64| [0.25, 0.5, 0.75].map(|share| format!("{:.0}", of_long(of, share))).join(", ");
    println!("windows that come back, quartiles: {} %", quartiles(&|song| song.back[0]));
    println!("the same in the first codebook: {} %", quartiles(&|song| song.back[1]));
    for book in 0..generator.books {
        println!("equal codes of codebook {book}, quartiles: {} %", quartiles(&|song| song.equal[book]));
    }
    println!(
        "one code in the first codebook for more than 4 s: {:.0} %; longest {:.1} s",
        percent(&songs, |song| song.held > 4.0),
        songs.iter().map(|song| song.held).fold(0.0, f64::max),
    );
    println!(
        "songs that end by themselves: {:.0} %; lengths within 25 % of 3.2 s a line: {:.0} %",
        percent(&songs, |song| song.by_itself),
        percent(&songs, |song| fits(seconds(song.frames), song.lines)),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Frames of three codes, of which the first changes at every third one.
    fn tune(seed: u64, frames: usize) -> Vec<u16> {
        let mut rng = Rng::new(&[seed]);
        let mut note = 0;
        let frame = |place: usize| {
            note = if place.is_multiple_of(3) { rng.below(200) as u16 } else { note };
            [note, rng.below(200) as u16, rng.below(200) as u16]
        };
        (0..frames).flat_map(frame).collect()
    }

    #[test]
    fn a_part_that_is_sung_again_comes_back_and_one_whose_later_codes_differ_only_in_the_first_codebook() {
        let (one, other) = (tune(1, 108), tune(2, 108));
        let again = Copied::of(&[one.clone(), other.clone(), one.clone()].concat(), 3, 9, true);
        // The windows that lie in the first part or in its copy, of all: 2 x 71 of 287.
        assert!((0.4..0.6).contains(&again.back[0]), "{}", again.back[0]);
        assert_eq!(again.back[0], again.back[1]);
        let differs: Vec<u16> =
            one.iter().enumerate().map(|(place, code)| if place % 3 == 0 { *code } else { code + 200 }).collect();
        let first = Copied::of(&[one.clone(), other.clone(), differs].concat(), 3, 9, true);
        assert_eq!(first.back[0], 0.0);
        assert!((0.4..0.6).contains(&first.back[1]), "{}", first.back[1]);
        let new = Copied::of(&[one, other, tune(3, 108)].concat(), 3, 9, true);
        assert_eq!(new.back, [0.0; 2]);
        assert!((new.held - 0.24).abs() < 0.3, "{} s", new.held);
    }

    #[test]
    fn a_held_note_does_not_come_back() {
        let held = Copied::of(&[7u16, 8, 9].repeat(300), 3, 8, true);
        assert_eq!((held.back, held.equal), ([0.0; 2], vec![1.0; 3]));
        assert!((held.held - 24.0).abs() < 1e-9, "{} s", held.held);
    }
}
