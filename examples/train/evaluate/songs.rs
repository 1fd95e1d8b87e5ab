//! Songs of held-out words, beside real renders of the same words.

use std::path::{Path, PathBuf};

use heartstream::units::Frames;

use super::{
    Counts, Shown,
    audio_features::{correlation, jumps},
    chroma::share_in_scale,
    edges::level,
    instruments::{InstrumentClassifier, tagged},
    pictures,
    prompts::sung_lines,
    rendered::{Rendered, Renderer},
    wav,
};
use crate::{
    corpus::{INSTRUMENTS, Manner},
    error::Result,
    feed::Song,
    setting::Setting,
};

/// Frames after which a song is ended: half as many again as the longest that was learnt from.
const LONGEST: Frames = Frames(558);
/// Songs that pictures are sampling of.
const DRAWN: usize = 8;

/// What all songs together come to.
#[derive(Default)]
struct Sums {
    ours: f64,
    ended: usize,
    loudest: f32,
    offset: f64,
    lines: Vec<f64>,
    lengths: Vec<f64>,
    recognised: usize,
    without_guidance: usize,
    tagged: usize,
    our_jumps: Vec<f64>,
    seam_jumps: Vec<f64>,
    real: Real,
}

/// And what the renders of the same words do.
#[derive(Default)]
struct Real {
    in_scale: f64,
    lines: Vec<f64>,
    lengths: Vec<f64>,
    recognised: usize,
    tagged: usize,
    jumps: Vec<f64>,
}

/// Makes the songs and prints the figures.
///
/// # Errors
/// When the engine fails, or a picture or sound cannot be written.
pub fn print(
    setting: &Setting,
    renderer: &Renderer,
    classifier: &InstrumentClassifier,
    counts: &Counts,
    shown: &Shown,
) -> Result<()> {
    let mut sums = Sums::default();
    let songs = setting.source.songs(true, Manner::Excerpt, 0, setting.seed, setting.threads);
    for (place, real) in songs.take(counts.written).enumerate() {
        let real = real?;
        sums.real(classifier, &real)?;
        for take in 0..counts.takes {
            let seed = (take * counts.written + place) as u64;
            one(renderer, classifier, &real, [place, take], seed, &mut sums, shown)?;
        }
    }
    sums.print();
    Ok(())
}

fn one(
    renderer: &Renderer,
    classifier: &InstrumentClassifier,
    real: &Song,
    [place, take]: [usize; 2],
    seed: u64,
    sums: &mut Sums,
    shown: &Shown,
) -> Result<()> {
    let Rendered { song, by_itself, seams } = renderer.rendered(&real.tags, &real.lyrics, seed, LONGEST)?;
    let unguided = renderer.unguided().rendered(&real.tags, &real.lyrics, seed, LONGEST)?.song;
    let lines = sung_lines(&real.lyrics);
    sums.ended += usize::from(by_itself);
    sums.lines.push(lines as f64);
    sums.lengths.push(song.frames() as f64);
    sums.ours += share_in_scale(&song.left)?;
    let (loudest, offset) = level([&song.left, &song.right]);
    (sums.loudest, sums.offset) = (sums.loudest.max(loudest), sums.offset.max(offset.abs()));
    if let Some(tagged) = tagged(&real.tags) {
        let (ours, plain) = (classifier.classify(&song)?, classifier.classify(&unguided)?);
        sums.tagged += 1;
        sums.recognised += usize::from(ours == Some(tagged));
        sums.without_guidance += usize::from(plain == Some(tagged));
        println!(
            "  {place:>2}: {:<40} {lines} lines, {:>5.1} s, real {:>5.1} s; sounds like {}",
            real.tags,
            song.left.len() as f64 / 48_000.0,
            real.left.len() as f64 / 48_000.0,
            ours.map_or("nothing", |place| INSTRUMENTS[place].tag),
        );
    }
    let (elsewhere, at_seams) = jumps([&song.left, &song.right], &seams);
    sums.our_jumps.extend(elsewhere);
    sums.seam_jumps.extend(at_seams);
    if take > 0 {
        return Ok(());
    }
    if let Some(folder) = &shown.wavs {
        wav::write([&song.left, &song.right], folder, &format!("{place:02}-ours.wav"))?;
        wav::write([&real.left, &real.right], folder, &format!("{place:02}-real.wav"))?;
    }
    match &shown.pictures {
        Some(folder) if place < DRAWN => pictures::draw(&song, real, &picture(folder, place)),
        _ => Ok(()),
    }
}

fn picture(folder: &Path, place: usize) -> PathBuf {
    folder.join(format!("prompt-{place}.png"))
}

impl Sums {
    fn real(&mut self, classifier: &InstrumentClassifier, song: &Song) -> Result<()> {
        let real = &mut self.real;
        real.in_scale += share_in_scale(&song.left)?;
        real.lines.push(sung_lines(&song.lyrics) as f64);
        real.lengths.push(song.frames() as f64);
        real.jumps.extend(jumps([&song.left, &song.right], &[]).0);
        if let Some(tagged) = tagged(&song.tags) {
            real.tagged += 1;
            real.recognised += usize::from(classifier.classify(song)? == Some(tagged));
        }
        Ok(())
    }

    fn print(mut self) {
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        let mean = |sum: f64, songs: &[f64]| sum / songs.len().max(1) as f64;
        let real = &mut self.real;
        println!(
            "energy in the best scale: {:.3} (real renders {:.3}; at least 0.85)",
            mean(self.ours, &self.lengths),
            mean(real.in_scale, &real.lengths),
        );
        println!(
            "tagged instrument recognised: {:.1} % of {} (real renders {:.0} %; at least 75 %); with guidance 1.0: {:.1} %",
            share(self.recognised, self.tagged),
            self.tagged,
            share(real.recognised, real.tagged),
            share(self.without_guidance, self.tagged),
        );
        println!("songs that end by themselves: {:.0} % (at least 90 %)", share(self.ended, self.lengths.len()));
        let [ours, theirs] = [(&self.lines, &self.lengths), (&real.lines, &real.lengths)]
            .map(|(lines, lengths)| correlation(lines, lengths));
        println!("correlation of lines and length: {ours:.3} (real renders {theirs:.3}; at least 0.8)");
        println!("largest sample {:.3} (below 1), largest mean of a song {:.5}", self.loudest, self.offset);
        real.jumps.sort_by(f64::total_cmp);
        let rank = (0.999 * real.jumps.len() as f64) as usize;
        let limit = real.jumps.get(rank).copied().unwrap_or(f64::INFINITY);
        let above = |jumps: &[f64]| jumps.iter().filter(|jump| **jump > limit).count();
        println!(
            "jumps above the 99.9th percentile of real renders ({limit:.1} dB): {} of {} seams, {} of {} other latents",
            above(&self.seam_jumps),
            self.seam_jumps.len(),
            above(&self.our_jumps),
            self.our_jumps.len(),
        );
    }
}
