//! `distill`: trains a drafter for a model, on songs that the model writes for the purpose.

mod prompts;
mod songs;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use candle_core::Device;
use heartstream::{
    EngineError,
    units::{Frames, Seconds},
};
use heartstream_actors::compute_site::{ComputePool, ComputeSite, available_cores};
use heartstream_models::{
    ModelDirectory,
    heartmula::{HeartMula, HeartMulaConfig, prompt_positions},
    speculation::{DRAFTER_FILE, DrafterName, DrafterSizes, DrafterWeights},
    weights::{Checkpoint, TensorStore},
};
use heartstream_tools::distill::{DistillOptions, Distillation, TaughtSong};
use sha2::{Digest, Sha256};

use self::{prompts::Prompts, songs::Writer};
use super::{
    Failed, asked::checkpoint, model_args::DistillArgs, output::probe_file, preflight::sensible_threads, prompt_input,
    status::Status,
};

/// One song of this number is held out from training.
const HELD_OUT: usize = 8;
/// More are not held out: they say enough.
const MOST_HELD_OUT: usize = 16;
/// Evaluations of the drafter, in a training that is not ended before.
const EVALUATIONS: usize = 24;
/// Evaluations without a better drafter after which training ends.
const MOST_WITHOUT_GAIN: usize = 8;
/// The notes that say how far training had come, and for which model.
const STEP: &str = "step";
const MODEL: &str = "model";

/// Trains a drafter and writes it beside the model.
pub(super) fn distill(args: &DistillArgs, quiet: bool) -> Result<(), Failed> {
    let checkpoint = checkpoint(&args.model.model)?;
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let path = path(args, &directory)?;
    probe_file(&path)?;
    let unfinished = path.with_extension("training.safetensors");
    let mark = mark(&directory.lm, &directory.lm_store()?)?;
    let begins = Beginning::of(args, &directory, &unfinished, &mark)?;
    // A drafter that is there can be written anew, and judged, without a step more.
    if args.steps == 0 && matches!(begins, Beginning::New) {
        return Err(
            EngineError::Option { option: "steps", expected: "from 1 up".to_owned(), found: "0".to_owned() }.into()
        );
    }
    args.threads.map_or(Ok(()), sensible_threads)?;
    let frames = usize::try_from(Seconds(args.seconds).frames().0).unwrap_or(usize::MAX);
    if args.songs < 2 || args.heads == 0 || args.heads > 8 || frames <= args.heads + 2 {
        let expected = format!("two or more, of more than {} frames, for 1 to 8 heads", args.heads + 2);
        let found = format!("{} songs of {frames} frames for {} heads", args.songs, args.heads);
        return Err(EngineError::Option { option: "songs", expected, found }.into());
    }
    let (train_on, write_on) = (args.device.open()?, args.lm_device.unwrap_or(args.device).open()?);
    let given = prompt_input::read(&args.words)?;
    let prompts = Prompts::new(given, args.prompts.as_deref(), directory.lm.text_vocab_size, args.seed)?;
    let tokenizer = directory.load_tokenizer()?;
    let prompts = (0..args.songs).map(|number| {
        let (tags, lyrics) = prompts.of(number);
        Ok(tokenizer.prompt(&tags, &lyrics)?.ids)
    });
    let prompts = prompts.collect::<Result<Vec<_>, Failed>>()?;
    let longest = prompts.iter().map(prompt_positions).max().unwrap_or(0);
    let room = (directory.lm.backbone.max_seq_len + 1).saturating_sub(longest);
    if frames > room {
        let expected = format!(
            "at most {:.2}, which the positions of the model leave for songs of these words",
            Frames(room as u64).seconds().0
        );
        return Err(EngineError::Option { option: "seconds", expected, found: args.seconds.to_string() }.into());
    }
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
    let student =
        Student { args, directory: &directory, path: &path, unfinished: &unfinished, mark, device: &train_on };
    pool.run(|| student.train(&writer.model, &write_on, begins, songs, &mut status))
}

/// Where the drafter is written: beside the model, unless that is the built-in demo model.
fn path(args: &DistillArgs, directory: &ModelDirectory) -> Result<PathBuf, Failed> {
    match (&args.out, &directory.checkpoint) {
        (Some(path), _) => Ok(path.clone()),
        (None, Checkpoint::Embedded { name, .. }) => Err(Failed::Usage(format!(
            "the model {name} is built in, and nothing can be written beside it. Give --out a file"
        ))),
        (None, checkpoint) => Ok(checkpoint.path_of(&format!("{}/{DRAFTER_FILE}", directory.lm_part))),
    }
}

/// What is trained, and where.
struct Student<'a> {
    args: &'a DistillArgs,
    directory: &'a ModelDirectory,
    path: &'a Path,
    /// Where a training is kept that is not done.
    unfinished: &'a Path,
    /// That of the model.
    mark: String,
    device: &'a Device,
}

/// What training begins with.
enum Beginning {
    /// A drafter that knows nothing.
    New,
    /// A drafter, after `step` steps.
    Trained { drafter: TensorStore, step: usize },
}

impl Beginning {
    /// The training that was interrupted, or the drafter that is given, or nothing.
    fn of(args: &DistillArgs, directory: &ModelDirectory, unfinished: &Path, mark: &str) -> Result<Self, Failed> {
        let (file, step) = match (&args.from, unfinished.is_file()) {
            (None, false) => return Ok(Self::New),
            (Some(given), false) => (given.as_path(), 0),
            (None, true) => (unfinished, interrupted(unfinished, mark, &args.model.model)?),
            (Some(_), true) => {
                return Err(Failed::Error(format!(
                    "{}: expected no interrupted training beside --from, found one. Remove it, or go on with it without \
                     --from",
                    unfinished.display()
                )));
            }
        };
        let drafter = opened(file)?;
        drafter.check(&DrafterWeights::expected(&directory.lm, DrafterSizes::usual(&directory.lm, args.heads)))?;
        Ok(Self::Trained { drafter, step })
    }
}

/// The steps that a training was interrupted after, if it was one for the model with this mark.
fn interrupted(file: &Path, mark: &str, model: &impl std::fmt::Display) -> Result<usize, Failed> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| Failed::Error(format!("cannot read {shown}: {error}")))?;
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|error| {
        Failed::Error(format!("{shown}: expected an interrupted training, found {error}. Remove it"))
    })?;
    let notes = header.metadata().clone().unwrap_or_default();
    let found = match notes.get(MODEL) {
        Some(found) if found == mark => None,
        Some(_) => Some("one for another model"),
        None => Some("one that does not say for which model it is"),
    };
    if let Some(found) = found {
        return Err(Failed::Error(format!(
            "{shown}: expected an interrupted training for {model}, found {found}. Remove it, or give it another name and \
             this as --from to begin with its drafter"
        )));
    }
    notes.get(STEP).and_then(|step| step.parse().ok()).ok_or_else(|| {
        Failed::Error(format!("{shown}: expected a note of the steps that are done, found none. Remove it"))
    })
}

impl Student<'_> {
    /// Trains on `songs`, but for those that are held out.
    fn train(
        &self,
        model: &Arc<HeartMula>,
        write_on: &Device,
        begins: Beginning,
        mut songs: Vec<TaughtSong>,
        status: &mut Status,
    ) -> Result<(), Failed> {
        let Self { args, path, unfinished, .. } = *self;
        let taught = songs.split_off((songs.len() / HELD_OUT).clamp(1, MOST_HELD_OUT));
        let held_out = songs;
        let options =
            DistillOptions { heads: args.heads, steps: args.steps, seed: args.seed, ..DistillOptions::default() };
        let (lm, shards) = (&self.directory.lm, self.directory.lm_store()?);
        let mut best = f64::NEG_INFINITY;
        let mut training = match begins {
            Beginning::New => Distillation::new(lm, &shards, options, self.device)?,
            Beginning::Trained { drafter, step } => {
                let training = Distillation::resume(lm, &shards, options, (&drafter, step), self.device)?;
                // What is written must be better than what was there.
                best = training.matches(&held_out)?.score();
                training.write(path, self.notes(&training, "as it began"), false)?;
                training
            }
        };
        let mut since_best = 0;
        while !training.is_done() && since_best < MOST_WITHOUT_GAIN {
            let mut loss = 0.0;
            let until = training.step() + (args.steps / EVALUATIONS).clamp(1, 1000);
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
            let notes = self.notes(&training, &format!("{matches:?}"));
            training.write(unfinished, notes.clone(), true)?;
            since_best += 1;
            if matches.score() > best {
                (best, since_best) = (matches.score(), 0);
                training.write(path, notes, false)?;
            }
        }
        let _ = std::fs::remove_file(unfinished); // a complete training is not resumed
        let weights = Arc::new(self.written(write_on)?);
        for drafter in [DrafterName::NextState, DrafterName::Heads] {
            let mut found = Vec::new();
            for frames in 1..=4 {
                let (mut written, mut passes) = (0, 0);
                for song in &held_out {
                    passes += song.on(write_on)?.passes(model, &weights, drafter, frames)?;
                    written += song.frames();
                }
                found.push(format!("{:.2}", written as f64 / passes.max(1) as f64));
            }
            let found = found.join(", ");
            status.line(&format!("frames for each pass of the backbone with {drafter}, 1 to 4 drafted: {found}"));
        }
        status.end(&format!("trained on {} songs, {}", taught.len(), path.display()));
        Ok(())
    }

    /// What is noted in a drafter's file.
    fn notes(&self, training: &Distillation, matches: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (STEP.to_owned(), training.step().to_string()),
            (MODEL.to_owned(), self.mark.clone()),
            ("matches".to_owned(), matches.to_owned()),
            ("guidance".to_owned(), self.args.cfg_scale.to_string()),
        ])
    }

    /// The drafter as it was written.
    fn written(&self, device: &Device) -> Result<DrafterWeights, Failed> {
        Ok(DrafterWeights::load(&self.directory.lm, &opened(self.path)?, device)?)
    }
}

/// Tells a model from another: a digest of the head that its first codebook is drawn from.
fn mark(config: &HeartMulaConfig, shards: &TensorStore) -> Result<String, Failed> {
    let shape = [config.audio_vocab_size, config.backbone.embed_dim];
    let head = shards.tensor("codebook0_head.weight", &shape, &Device::Cpu)?;
    let numbers = head.flatten_all().and_then(|head| head.to_vec1::<f32>());
    let numbers = numbers.map_err(|error| Failed::Error(format!("cannot read codebook0_head.weight: {error}")))?;
    let mut digest = Sha256::new();
    numbers.iter().for_each(|number| digest.update(number.to_le_bytes()));
    Ok(digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The tensors of a file.
fn opened(path: &Path) -> Result<TensorStore, Failed> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(TensorStore::open_file(&Checkpoint::open(folder)?, &name)?)
}
