//! Songs of held-out words, beside real renders of the same words.

use std::path::{Path, PathBuf};

use heartstream::{Continuity, FirstWindow, Heartstream, SongRequest, units::Frames};
use heartstream_models::{signal::SegmentPlan, weights::Checkpoint};
use heartstream_tools::quality::{Seam, seams_of};

use super::{
    Counts, Shown,
    audio_features::{correlation, jumps, level, share_in_scale},
    instruments::{InstrumentClassifier, tagged},
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
    let look_ahead = SongRequest::USUAL_LOOK_AHEAD.0 as usize;
    let plan = SegmentPlan::chained(first.0 as usize, look_ahead).map_err(failed)?;
    let frames = report.frames.0 as usize;
    let (tags, lyrics, phrases) = (words.tags.clone(), words.lyrics.clone(), Vec::new()); // where they begin is not known
    let song = Song { left, right, tags, lyrics, phrases, key: words.key };
    Ok(Made { song, by_itself: report.frames < LONGEST, seams: seams_of(&plan, frames, 3840) })
}

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
pub fn print(
    setting: &Setting,
    checkpoint: Checkpoint,
    classifier: &InstrumentClassifier,
    counts: &Counts,
    shown: &Shown,
) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let mut sums = Sums::default();
    runtime.block_on(async {
        let engine = Heartstream::builder(checkpoint).build().await.map_err(failed)?;
        let songs = setting.source.songs(true, 0, setting.seed, setting.threads);
        for (place, real) in songs.take(counts.written).enumerate() {
            let real = real?;
            sums.real(classifier, &real)?;
            for take in 0..counts.takes {
                let seed = (take * counts.written + place) as u64;
                one(&engine, classifier, &real, [place, take], seed, &mut sums, shown).await?;
            }
        }
        Ok::<_, TrainError>(())
    })?;
    sums.print();
    Ok(())
}

async fn one(
    engine: &Heartstream,
    classifier: &InstrumentClassifier,
    real: &Song,
    [place, take]: [usize; 2],
    seed: u64,
    sums: &mut Sums,
    shown: &Shown,
) -> Result<()> {
    let Made { song, by_itself, seams } = made(engine, real, seed, None).await?;
    let unguided = made(engine, real, seed, Some(1.0)).await?.song;
    let lines = lines(real);
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

/// Lines of a song's words.
fn lines(song: &Song) -> usize {
    song.lyrics.lines().filter(|line| !line.is_empty() && !line.starts_with('[')).count()
}

fn picture(folder: &Path, place: usize) -> PathBuf {
    folder.join(format!("prompt-{place}.png"))
}

impl Sums {
    fn real(&mut self, classifier: &InstrumentClassifier, song: &Song) -> Result<()> {
        let real = &mut self.real;
        real.in_scale += share_in_scale(&song.left)?;
        real.lines.push(lines(song) as f64);
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
