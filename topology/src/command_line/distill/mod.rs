//! `distill`: how does a model get a drafter? It teaches one, on songs that it writes for the purpose.

mod prompts;
mod songs;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::Device;
use heartstream_actors::compute_site::{ComputePool, ComputeSite, available_cores};
use heartstream_models::{
    ModelDirectory,
    heartmula::{HeartMula, HeartMulaConfig},
    speculation::{DRAFTER_FILE, DistillOptions, Distillation, DrafterName, DrafterWeights, TaughtSong},
    weights::{Checkpoint, Shards},
};
use sha2::{Digest, Sha256};

use self::{prompts::Prompts, songs::Writer};
use super::{Failed, args::DistillArgs, output::probe_file, render::checkpoint, status::Status, words};
use crate::{EngineError, units::Seconds};

/// Songs of so many are held out from training.
const HELD_OUT: usize = 8;
/// More are not held out: they say enough.
const MOST_HELD_OUT: usize = 16;
/// Looks at how good the drafter is, in a training that is not ended before.
const LOOKS: usize = 24;
/// Looks without a better drafter after which training ends.
const PATIENCE: usize = 8;
/// The notes that say how far training had come, and for which model.
const STEP: &str = "step";
const MODEL: &str = "model";

/// Trains a drafter and writes it beside the model.
pub(super) fn distill(args: &DistillArgs, quiet: bool) -> Result<(), Failed> {
    let checkpoint = checkpoint(&args.model.model)?;
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let path = path(args, &directory)?;
    probe_file(&path)?;
    let frames = Seconds(args.seconds).frames().0 as usize;
    if args.songs < 2 || args.heads == 0 || args.heads > 8 || frames <= args.heads + 2 {
        let expected = format!("two or more, of more than {} frames, for 1 to 8 heads", args.heads + 2);
        let found = format!("{} songs of {frames} frames for {} heads", args.songs, args.heads);
        return Err(EngineError::Option { option: "songs", expected, found }.into());
    }
    let (train_on, write_on) = (args.device.open()?, args.lm_device.unwrap_or(args.device).open()?);
    let given = words::read(&args.words)?;
    let prompts = Prompts::new(given, args.prompts.as_deref(), directory.lm.text_vocab_size, args.seed)?;
    let tokenizer = directory.load_tokenizer()?;
    let prompts = (0..args.songs).map(|number| {
        let (tags, lyrics) = prompts.of(number);
        Ok(tokenizer.prompt(&tags, &lyrics)?.ids)
    });
    let prompts = prompts.collect::<Result<Vec<_>, Failed>>()?;
    let mut status = Status::new(quiet);
    status.say(&format!("loading the model {}", args.model.model));
    let threads = args.threads.unwrap_or(available_cores().len().max(1));
    let writer = Writer {
        model: Arc::new(directory.load_lm(&write_on)?),
        prompts,
        audio_eos: directory.ids.audio_eos,
        frames,
        guidance: args.cfg_scale,
        seed: args.seed,
        threads: if write_on.is_cpu() { threads } else { 1 },
    };
    let songs = writer.songs(&status)?;
    let songs = songs.iter().map(|song| Ok(song.on(&train_on)?)).collect::<Result<Vec<_>, Failed>>()?;
    let pool = ComputePool::around_this_thread(Some(&ComputeSite { threads, cores: Vec::new() }), "distill");
    let pool = pool.map_err(|error| EngineError::Threads(error.to_string()))?;
    let student = Student { args, directory: &directory, path: &path, device: &train_on };
    pool.run(|| student.train(&writer.model, &write_on, songs, &mut status))
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

/// What is trained, and where.
struct Student<'a> {
    args: &'a DistillArgs,
    directory: &'a ModelDirectory,
    path: &'a Path,
    device: &'a Device,
}

impl Student<'_> {
    /// Trains on `songs`, but for those that are held out.
    fn train(
        &self,
        model: &Arc<HeartMula>,
        write_on: &Device,
        mut songs: Vec<TaughtSong>,
        status: &mut Status,
    ) -> Result<(), Failed> {
        let Self { args, path, .. } = *self;
        let taught = songs.split_off((songs.len() / HELD_OUT).clamp(1, MOST_HELD_OUT));
        let held_out = songs;
        let options =
            DistillOptions { heads: args.heads, steps: args.steps, seed: args.seed, ..DistillOptions::default() };
        let unfinished = path.with_extension("training.safetensors");
        let shards = self.directory.lm_shards()?;
        let model_mark = mark(&self.directory.lm, &shards)?;
        let mut training = self.begin(&shards, &options, &unfinished, &model_mark)?;
        let (mut best, mut since_best) = (f64::NEG_INFINITY, 0);
        while !training.is_done() && since_best < PATIENCE {
            let mut loss = 0.0;
            let until = training.step() + (args.steps / LOOKS).clamp(1, 1000);
            while !training.is_done() && training.step() < until {
                loss = training.train(&taught)?;
            }
            let matches = training.matches(&held_out)?;
            let step = training.step();
            let shares =
                |shares: &[f64]| shares.iter().map(|share| format!("{share:.2}")).collect::<Vec<_>>().join(" ");
            status.line(&format!(
                "step {step} of {}: loss {loss:.3}; right in songs it does not know: codes {}, frames {:.3}, second head {}",
                args.steps,
                shares(&matches.next),
                matches.next_frames,
                shares(&matches.head)
            ));
            let notes = BTreeMap::from([
                (STEP.to_owned(), step.to_string()),
                (MODEL.to_owned(), model_mark.clone()),
                ("matches".to_owned(), format!("{matches:?}")),
                ("guidance".to_owned(), args.cfg_scale.to_string()),
            ]);
            training.write(&unfinished, notes.clone(), true)?;
            since_best += 1;
            if matches.score() > best {
                (best, since_best) = (matches.score(), 0);
                training.write(path, notes, false)?;
            }
        }
        let _ = std::fs::remove_file(&unfinished); // nobody goes on with what is complete
        let weights = Arc::new(self.written(write_on)?);
        for drafter in [DrafterName::NextState, DrafterName::Heads] {
            let mut found = Vec::new();
            for frames in 1..=4 {
                let (mut written, mut looks) = (0, 0);
                for song in &held_out {
                    looks += song.on(write_on)?.looks(model, &weights, drafter, frames)?;
                    written += song.frames();
                }
                found.push(format!("{:.2}", written as f64 / looks.max(1) as f64));
            }
            let found = found.join(", ");
            status.line(&format!("frames for each look at the backbone with {drafter}, 1 to 4 drafted: {found}"));
        }
        status.end(&format!("trained on {} songs, {}", taught.len(), path.display()));
        Ok(())
    }

    /// The drafter that training was interrupted on, or the one that is given, or a new one.
    fn begin(
        &self,
        shards: &Shards,
        options: &DistillOptions,
        unfinished: &Path,
        mark: &str,
    ) -> Result<Distillation, Failed> {
        let (lm, options) = (&self.directory.lm, options.clone());
        if !unfinished.is_file() {
            return match &self.args.from {
                Some(given) => Ok(Distillation::resume(lm, shards, options, (&opened(given)?, 0), self.device)?),
                None => Ok(Distillation::new(lm, shards, options, self.device)?),
            };
        }
        let bytes = std::fs::read(unfinished)
            .map_err(|error| Failed::Error(format!("cannot read {}: {error}", unfinished.display())))?;
        let header = safetensors::SafeTensors::read_metadata(&bytes);
        let notes = header.ok().and_then(|(_, header)| header.metadata().clone()).unwrap_or_default();
        if notes.get(MODEL).is_none_or(|found| found != mark) {
            let file = unfinished.display();
            return Err(Failed::Error(format!(
                "{file}: expected an interrupted training for {}, found one for another model. Remove the file, or move it \
                 and give it as --from to begin with its drafter",
                self.args.model.model
            )));
        }
        let step = notes.get(STEP).and_then(|step| step.parse().ok()).unwrap_or_default();
        Ok(Distillation::resume(lm, shards, options, (&opened(unfinished)?, step), self.device)?)
    }

    /// The drafter as it was written.
    fn written(&self, device: &Device) -> Result<DrafterWeights, Failed> {
        Ok(DrafterWeights::load(&self.directory.lm, &opened(self.path)?, device)?)
    }
}

/// Tells a model from another: a digest of the head that its first codebook is drawn from.
fn mark(config: &HeartMulaConfig, shards: &Shards) -> Result<String, Failed> {
    let shape = [config.audio_vocab_size, config.backbone.embed_dim];
    let head = shards.tensor("codebook0_head.weight", &shape, &Device::Cpu)?;
    let numbers = head.flatten_all().and_then(|head| head.to_vec1::<f32>());
    let numbers = numbers.map_err(|error| Failed::Error(format!("cannot read codebook0_head.weight: {error}")))?;
    let mut digest = Sha256::new();
    numbers.iter().for_each(|number| digest.update(number.to_le_bytes()));
    Ok(digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The tensors of a file.
fn opened(path: &Path) -> Result<Shards, Failed> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Shards::open_file(&Checkpoint::open(folder)?, &name)?)
}
