//! `distill`: how does a model get a drafter? It teaches one, on songs that it writes for the purpose.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::Device;
use heartstream_actors::compute_site::{ComputePool, ComputeSite, available_cores};
use heartstream_models::{
    ModelDirectory,
    heartmula::{HeartMula, KeyedSampler, SamplingOptions},
    signal::KeyedNoise,
    speculation::{DRAFTER_FILE, DistillOptions, Distillation, TaughtSong},
    text::PromptTokenizer,
    weights::{Checkpoint, Shards},
};

use super::{Failed, args::DistillArgs, output::probe_file, render::checkpoint, status::Status, words};
use crate::{EngineError, units::Seconds};

/// What songs are about, beside the words that are given: a drafter that knows one kind of song is of little use.
const TAGS: [&str; 8] = [
    "piano,calm",
    "guitar,happy",
    "electronic,energetic",
    "strings,sad,slow",
    "drums,rock",
    "synthesizer,dreamy",
    "acoustic,folk",
    "jazz,romantic",
];
/// Songs of so many are held out from training.
const HELD_OUT: usize = 8;
/// Steps between two looks at how good the drafter is.
const BETWEEN_LOOKS: usize = 200;
/// Looks without a better drafter after which training ends.
const PATIENCE: usize = 4;
/// The note that says how far training had come.
const STEP: &str = "step";

/// Trains a drafter and writes it beside the model.
pub(super) fn distill(args: &DistillArgs, quiet: bool) -> Result<(), Failed> {
    let checkpoint = checkpoint(&args.model.model)?;
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let path = path(args, &directory)?;
    probe_file(&path)?;
    let frames = Seconds(args.seconds).frames().0 as usize;
    if args.songs < 2 || args.heads == 0 || args.heads > 8 || frames <= args.heads + 1 {
        let expected = format!("two or more, of more than {} frames, for 1 to 8 heads", args.heads + 1);
        let found = format!("{} songs of {frames} frames for {} heads", args.songs, args.heads);
        return Err(EngineError::Option { option: "songs", expected, found }.into());
    }
    let mut status = Status::new(quiet);
    status.say(&format!("loading the model {}", args.model.model));
    let shards = directory.lm_shards()?;
    let teacher = Teacher {
        model: directory.load_lm(&Device::Cpu)?,
        tokenizer: directory.load_tokenizer()?,
        audio_eos: directory.ids.audio_eos,
        frames,
        args,
    };
    let threads = args.threads.unwrap_or(available_cores().len().max(1));
    let pool = ComputePool::around_this_thread(Some(&ComputeSite { threads, cores: Vec::new() }), "distill");
    let pool = pool.map_err(|error| EngineError::Threads(error.to_string()))?;
    pool.run(|| train(&teacher, &directory, &shards, &path, &mut status))
}

/// Where the drafter is written: beside the model, unless that is inside the program.
fn path(args: &DistillArgs, directory: &ModelDirectory) -> Result<PathBuf, Failed> {
    match (&args.out, &directory.checkpoint) {
        (Some(path), _) => Ok(path.clone()),
        (None, Checkpoint::Embedded { name, .. }) => Err(Failed::Usage(format!(
            "the model {name} is inside the program, and nothing can be written beside it. Give --out a file"
        ))),
        (None, checkpoint) => Ok(checkpoint.path_of(&format!("{}/{DRAFTER_FILE}", directory.lm_part))),
    }
}

/// Writes the songs that a drafter is trained on.
struct Teacher<'a> {
    model: HeartMula,
    tokenizer: PromptTokenizer,
    audio_eos: u32,
    frames: usize,
    args: &'a DistillArgs,
}

impl Teacher<'_> {
    fn songs(&self, status: &Status) -> Result<Vec<TaughtSong>, Failed> {
        let words = words::read(&self.args.words)?;
        let mut songs = Vec::with_capacity(self.args.songs);
        for number in 0..self.args.songs {
            status.say(&format!("writing song {} of {}", number + 1, self.args.songs));
            let tags = match number % (TAGS.len() + 1) {
                0 => words.tags.as_str(),
                other => TAGS[other - 1],
            };
            let prompt = self.tokenizer.prompt(tags, &words.lyrics)?.ids;
            let options = SamplingOptions { temperature: 1.0, top_k: 50 };
            let sampler = KeyedSampler::new(options, KeyedNoise::new(self.args.seed << 20 | number as u64))?;
            let guidance = self.args.cfg_scale;
            songs.push(TaughtSong::write(&self.model, &prompt, guidance, self.frames, self.audio_eos, sampler)?);
        }
        Ok(songs)
    }
}

fn train(
    teacher: &Teacher<'_>,
    directory: &ModelDirectory,
    shards: &Shards,
    path: &Path,
    status: &mut Status,
) -> Result<(), Failed> {
    let args = teacher.args;
    let songs = teacher.songs(status)?;
    let (held_out, taught) = songs.split_at((songs.len() / HELD_OUT).max(1));
    let options = DistillOptions { heads: args.heads, steps: args.steps, seed: args.seed, ..DistillOptions::default() };
    let unfinished = path.with_extension("training.safetensors");
    let mut training = begin(directory, shards, &options, &unfinished)?;
    let (mut best, mut since_best) = (0.0, 0);
    while !training.is_done() && since_best < PATIENCE {
        let mut loss = 0.0;
        let from = training.step();
        while !training.is_done() && training.step() < from + BETWEEN_LOOKS {
            loss = training.train(taught)?;
        }
        let matches = training.matches(held_out)?;
        let share = |way: usize| matches.iter().map(|matches| matches[way]).sum::<f64>() / matches.len() as f64;
        let [map, heads] = [share(0), share(1)];
        let step = training.step();
        status.line(&format!(
            "step {step} of {}: loss {loss:.3}, codes right on held-out songs: next-state {map:.3}, heads {heads:.3}",
            args.steps
        ));
        let notes = |matches: &str| {
            BTreeMap::from([
                (STEP.to_owned(), step.to_string()),
                ("matches".to_owned(), matches.to_owned()),
                ("guidance".to_owned(), args.cfg_scale.to_string()),
            ])
        };
        training.write(&unfinished, notes(&format!("{matches:?}")))?;
        since_best += 1;
        if map + heads > best {
            (best, since_best) = (map + heads, 0);
            training.write(path, notes(&format!("{matches:?}")))?;
        }
    }
    let _ = std::fs::remove_file(&unfinished); // nobody goes on with what is complete
    status.end(&format!("trained on {} songs, {}", taught.len(), path.display()));
    Ok(())
}

/// A new drafter, or the one that training was interrupted on.
fn begin(
    directory: &ModelDirectory,
    shards: &Shards,
    options: &DistillOptions,
    unfinished: &Path,
) -> Result<Distillation, Failed> {
    if let (Some(folder), Some(name), true) = (unfinished.parent(), unfinished.file_name(), unfinished.is_file()) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let bytes = std::fs::read(unfinished)
            .map_err(|error| Failed::Error(format!("cannot read {}: {error}", unfinished.display())))?;
        let header = safetensors::SafeTensors::read_metadata(&bytes);
        let step = header.ok().and_then(|(_, header)| header.metadata().as_ref()?.get(STEP)?.parse().ok());
        let trained = Shards::open_file(&Checkpoint::open(folder)?, &name.to_string_lossy())?;
        return Ok(Distillation::resume(&directory.lm, shards, options.clone(), &trained, step.unwrap_or_default())?);
    }
    Ok(Distillation::new(&directory.lm, shards, options.clone())?)
}
