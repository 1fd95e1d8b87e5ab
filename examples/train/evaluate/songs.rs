//! What does the engine make of held-out words, beside real renders of the same words?

use std::path::{Path, PathBuf};

use heartstream::{Continuity, FirstWindow, Heartstream, SongRequest, units::Frames};
use heartstream_models::{
    quality::{Seam, seams_of},
    signal::SegmentPlan,
    weights::Checkpoint,
};

use super::{
    Counts, Shown,
    heard::{correlation, jumps, level, share_in_scale},
    instruments::{Ear, tagged},
    pictures, wav,
};
use crate::{
    corpus::INSTRUMENTS,
    error::{Result, TrainError},
    feed::Song,
    stage::Setting,
};

/// Frames after which a song is ended: half as many again as the longest that was learnt from.
const LONGEST: Frames = Frames(558);
/// Songs that pictures are drawn of.
const DRAWN: usize = 8;

fn failed(error: impl std::fmt::Display) -> TrainError {
    TrainError::Order(format!("the engine does not render: {error}"))
}

/// A song that the engine made.
struct Made {
    song: Song,
    by_itself: bool,
    seams: Vec<Seam>,
}

async fn made(engine: &Heartstream, words: &Song, seed: u64, guidance: Option<f64>) -> Result<Made> {
    let mut request = SongRequest::new(&words.tags, &words.lyrics);
    (request.seed, request.max_frames) = (seed, LONGEST);
    if let Some(guidance) = guidance {
        request.sampling.cfg_scale = guidance;
    }
    debug_assert_eq!(request.continuity, Continuity::Chained, "the seams below are those of the default");
    let mut song = engine.sing(request).await.map_err(failed)?;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    while let Some(block) = song.next_block().await {
        left.extend(block.samples.iter().step_by(2));
        right.extend(block.samples.iter().skip(1).step_by(2));
    }
    let report = song.finished().await;
    let first = report.first_window.unwrap_or(FirstWindow::USUAL);
    let plan = SegmentPlan::chained(first.0 as usize).map_err(failed)?;
    let frames = report.frames.0 as usize;
    let song = Song { left, right, tags: words.tags.clone(), lyrics: words.lyrics.clone(), phrases: Vec::new() };
    Ok(Made { song, by_itself: report.frames < LONGEST, seams: seams_of(&plan, frames, 3840) })
}

/// What all songs together come to.
#[derive(Default)]
struct Sums {
    ours: f64,
    real: f64,
    ended: usize,
    loudest: f32,
    offset: f64,
    lines: Vec<f64>,
    lengths: Vec<f64>,
    real_lengths: Vec<f64>,
    recognised: usize,
    real_recognised: usize,
    without_guidance: usize,
    tagged: usize,
    real_jumps: Vec<f64>,
    our_jumps: Vec<f64>,
    seam_jumps: Vec<f64>,
}

/// Makes the songs and prints the figures.
pub fn print(setting: &Setting, checkpoint: Checkpoint, counts: &Counts, shown: &Shown) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let ear = Ear::taught(setting, counts.taught)?;
    let mut sums = Sums::default();
    runtime.block_on(async {
        let engine = Heartstream::builder().model(checkpoint).build().await.map_err(failed)?;
        let songs = setting.source.songs(true, 0, setting.seed, setting.threads);
        for (place, real) in songs.take(counts.written).enumerate() {
            one(&engine, &ear, &real?, place, &mut sums, shown).await?;
        }
        Ok::<_, TrainError>(())
    })?;
    sums.print(counts.written);
    Ok(())
}

async fn one(engine: &Heartstream, ear: &Ear, real: &Song, place: usize, sums: &mut Sums, shown: &Shown) -> Result<()> {
    let Made { song, by_itself, seams } = made(engine, real, place as u64, None).await?;
    let unguided = made(engine, real, place as u64, Some(1.0)).await?.song;
    sums.ended += usize::from(by_itself);
    let lines = real.lyrics.lines().filter(|line| !line.is_empty() && !line.starts_with('[')).count();
    sums.lines.push(lines as f64);
    sums.lengths.push(song.frames() as f64);
    sums.real_lengths.push(real.frames() as f64);
    sums.ours += share_in_scale(&song.left)?;
    sums.real += share_in_scale(&real.left)?;
    let (loudest, offset) = level([&song.left, &song.right]);
    (sums.loudest, sums.offset) = (sums.loudest.max(loudest), sums.offset.max(offset.abs()));
    if let Some(tagged) = tagged(&real.tags) {
        let hears = |song| Ok::<_, TrainError>(usize::from(ear.heard(song)? == Some(tagged)));
        sums.tagged += 1;
        let (ours, theirs, plain) = (hears(&song)?, hears(real)?, hears(&unguided)?);
        sums.recognised += ours;
        sums.real_recognised += theirs;
        sums.without_guidance += plain;
        let heard = ear.heard(&song)?.map_or("nothing", |place| INSTRUMENTS[place].tag);
        println!(
            "  {place:>2}: {:<40} {lines} lines, {:>5.1} s, real {:>5.1} s; sounds like {heard}",
            real.tags,
            song.left.len() as f64 / 48_000.0,
            real.left.len() as f64 / 48_000.0,
        );
    }
    sums.real_jumps.extend(jumps([&real.left, &real.right], &[]).0);
    let (elsewhere, at_seams) = jumps([&song.left, &song.right], &seams);
    sums.our_jumps.extend(elsewhere);
    sums.seam_jumps.extend(at_seams);
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
    fn print(mut self, count: usize) {
        let mean = |sum: f64| sum / count.max(1) as f64;
        let share = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        let (ours, real) = (mean(self.ours), mean(self.real));
        println!("energy in the best scale: {ours:.3} (real renders {real:.3}; at least 0.85)");
        println!(
            "tagged instrument recognised: {:.0} % (real renders {:.0} %; at least 75 %); with guidance 1.0: {:.0} %",
            share(self.recognised, self.tagged),
            share(self.real_recognised, self.tagged),
            share(self.without_guidance, self.tagged),
        );
        println!("songs that end by themselves: {:.0} % (at least 90 %)", share(self.ended, count));
        let [ours, real] = [&self.lengths, &self.real_lengths].map(|lengths| correlation(&self.lines, lengths));
        println!("correlation of lines and length: {ours:.3} (real renders {real:.3}; at least 0.8)");
        println!("largest sample {:.3} (below 1), largest mean of a song {:.5}", self.loudest, self.offset);
        self.real_jumps.sort_by(f64::total_cmp);
        let rank = (0.999 * self.real_jumps.len() as f64) as usize;
        let limit = self.real_jumps.get(rank).copied().unwrap_or(f64::INFINITY);
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
