//! Shows the corpus: cuts the SoundFont, writes songs of it as WAV files with their words, counts, and times.
//!
//! ```text
//! cargo run --release --package heartstream-trainer --bin corpus_tool -- cut [WHOLE.sf2] OUT.sf2
//! cargo run --release --package heartstream-trainer --bin corpus_tool -- render excerpt|form FONT.sf2 FOLDER [COUNT] [SEED]
//! cargo run --release --package heartstream-trainer --bin corpus_tool -- statistics excerpt|form FONT.sf2
//! cargo run --release --package heartstream-trainer --bin corpus_tool -- speed FONT.sf2 [SECONDS]
//! cargo run --release --package heartstream-trainer --bin corpus_tool -- tokenizer OUT.json
//! ```

mod corpus;

use std::{collections::BTreeMap, error::Error, fs, path::Path, sync::Arc, time::Instant};

use corpus::{Dataset, Manner, SAMPLE_RATE, SCORES, Split, soundfont, tokens};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["cut", out] => cut(soundfont::DEBIAN, out),
        ["cut", whole, out] => cut(whole, out),
        ["render", manner, font, folder] => render(named(manner)?, font, folder, 8, 1),
        ["render", manner, font, folder, count] => render(named(manner)?, font, folder, count.parse()?, 1),
        ["render", manner, font, folder, count, seed] => {
            render(named(manner)?, font, folder, count.parse()?, seed.parse()?)
        }
        ["statistics", manner, font] => statistics(named(manner)?, font),
        ["speed", font] => speed(font, 120.0),
        ["speed", font, seconds] => speed(font, seconds.parse()?),
        ["tokenizer", out] => {
            fs::write(out, tokens::tokenizer_json())?;
            println!("{} ids", tokens::vocabulary_size());
            Ok(())
        }
        _ => Err("expected cut, render, statistics, speed or tokenizer: see the first lines of this file".into()),
    }
}

fn named(manner: &str) -> Result<Manner, String> {
    match manner {
        "excerpt" => Ok(Manner::Excerpt),
        "form" => Ok(Manner::Form),
        _ => Err(format!("expected excerpt or form, found {manner}")),
    }
}

fn cut(whole: &str, out: &str) -> Result<(), Box<dyn Error>> {
    soundfont::cut(Path::new(whole), Path::new(out))?;
    println!("{out}: {:.1} MB of {:.1} MB", megabytes(out)?, megabytes(whole)?);
    Ok(())
}

fn megabytes(path: &str) -> Result<f64, Box<dyn Error>> {
    Ok(fs::metadata(path)?.len() as f64 / 1e6)
}

fn open(font: &str) -> Result<Arc<Dataset>, Box<dyn Error>> {
    Ok(Arc::new(Dataset::open(Path::new(SCORES), Path::new(font))?))
}

/// Writes held-out songs, each as `N.wav` and `N.txt`.
fn render(manner: Manner, font: &str, folder: &str, count: usize, seed: u64) -> Result<(), Box<dyn Error>> {
    let dataset = open(font)?;
    fs::create_dir_all(folder)?;
    for (number, example) in dataset.examples(Split::HeldOut, manner, 0..count, seed, 1).enumerate() {
        let example = example?;
        let spec = hound::WavSpec {
            channels: 2,
            sample_rate: SAMPLE_RATE,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut file = hound::WavWriter::create(Path::new(folder).join(format!("{number}.wav")), spec)?;
        for (left, right) in example.left.iter().zip(&example.right) {
            file.write_sample(*left)?;
            file.write_sample(*right)?;
        }
        file.finalize()?;
        let (plan, frames) = (&example.plan, example.frames);
        let text = format!("{}\n\n{}\n\n", example.tags, example.lyrics);
        let about = format!("{}, {frames} frames, {} phrases\n", plan.piece.title, plan.variation.order.len());
        fs::write(Path::new(folder).join(format!("{number}.txt")), text + &about)?;
        println!("{number}: {} | {about}", example.tags);
    }
    Ok(())
}

/// Counts over one epoch: lengths, lines, tags, and the share of notes in their scale.
fn statistics(manner: Manner, font: &str) -> Result<(), Box<dyn Error>> {
    let dataset = open(font)?;
    println!("{} pieces to train, {} held out", dataset.len(Split::Train), dataset.len(Split::HeldOut));
    let (mut tags, mut pairs) = (BTreeMap::<String, usize>::new(), Vec::new());
    let (mut inside, mut notes, mut words) = (0.0, 0.0, 0);
    for index in 0..dataset.len(Split::Train) {
        let plan = dataset.plan(Split::Train, manner, index, 1);
        for tag in plan.tags.split(',') {
            *tags.entry(tag.to_owned()).or_default() += 1;
        }
        let scale = plan.piece.mode.steps().map(|step| (plan.song.tonic + step) % 12);
        for note in &plan.song.notes {
            let seconds = note.end - note.start;
            notes += seconds;
            inside += if scale.contains(&(note.pitch % 12)) { seconds } else { 0.0 };
        }
        words += plan.lyrics.split_whitespace().count();
        pairs.push((plan.lines() as f64, plan.frames as f64));
    }
    let count = pairs.len() as f64;
    let [lines, frames] = [|pair: &(f64, f64)| pair.0, |pair: &(f64, f64)| pair.1];
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
    let (mean_lines, mean_frames) = (mean(lines), mean(frames));
    let spread = |a: fn(&(f64, f64)) -> f64, b: fn(&(f64, f64)) -> f64| {
        pairs.iter().map(|pair| (a(pair) - mean(a)) * (b(pair) - mean(b))).sum::<f64>() / count
    };
    let correlation = spread(lines, frames) / (spread(lines, lines) * spread(frames, frames)).sqrt();
    let longest = pairs.iter().map(frames).fold(0.0, f64::max);
    let shortest = pairs.iter().map(frames).fold(f64::MAX, f64::min);
    println!("frames: {shortest} to {longest}, mean {mean_frames:.1}; lines: mean {mean_lines:.2}");
    println!("correlation of lines and frames: {correlation:.3}");
    println!("share of sounding time in the scale: {:.4}; words a song: {:.1}", inside / notes, words as f64 / count);
    for (tag, count) in tags {
        println!("{count:6} {tag}");
    }
    Ok(())
}

/// Renders for `seconds` on one thread.
fn speed(font: &str, seconds: f64) -> Result<(), Box<dyn Error>> {
    let dataset = open(font)?;
    let (begin, mut music, mut index) = (Instant::now(), 0.0, 0);
    while begin.elapsed().as_secs_f64() < seconds {
        music += dataset.example(Split::Train, Manner::Excerpt, index, 1)?.left.len() as f64 / f64::from(SAMPLE_RATE);
        index += 1;
    }
    let wall = begin.elapsed().as_secs_f64();
    println!("{index} songs, {music:.0} s of music in {wall:.1} s: {:.1} times real time on one core", music / wall);
    Ok(())
}
