//! `bench speculation`: the speed-up of drafting on this machine with this model, and its limits.
//!
//! One song is written plainly, then again with every drafter and count of frames; all must be the same song. Runs are
//! interleaved and the best of each is taken, so that a busy moment of the machine does not decide. Oracles that are
//! right with a known probability show what a drafter of that quality would earn, beside what the sizes of the model
//! predict.

mod measure;
mod plot;
mod report;
mod runs;

use std::sync::Arc;

use heartstream::{
    EngineError,
    units::{Frames, Seconds},
};
use heartstream_actors::compute_site::{ComputePool, ComputeSite, available_cores};
use heartstream_models::{
    ModelDirectory,
    heartmula::{KeyedSampler, Sampling},
    signal::KeyedNoise,
    speculation::Frame,
    weights::FakeQuant,
};
use report::Report;
use runs::{Setting, Subject};

use super::{args::SpeculationArgs, write_plot};
use crate::{Failed, prompt_input, status::Status};

/// Runs the bench and prints what it says.
pub(super) fn speculation(args: &SpeculationArgs, quiet: bool) -> Result<(), Failed> {
    let length = Seconds(args.seconds).frames();
    if !args.seconds.is_finite() || length < Frames(2) || args.repeats == 0 {
        let expected = "at least 0.16 s (two frames), and one repeat or more".to_owned();
        let found = format!("{} s and {} repeats", args.seconds, args.repeats);
        return Err(EngineError::Option { option: "seconds", expected, found }.into());
    }
    let coarse = args.bits.iter().filter(|bits| **bits > 0).map(|bits| coarse(*bits)).collect::<Result<Vec<_>, _>>()?;
    super::continuity::probe_plot(args.plot.as_deref())?;
    let (name, checkpoint) = super::subject(&args.subject)?;
    let directory = ModelDirectory::open(checkpoint)?;
    let words = prompt_input::read(&args.words)?;
    let prompt = directory.load_tokenizer()?.prompt(&words.tags, &words.lyrics)?.ids;
    let options = Sampling::default();
    let sampler = KeyedSampler::new(options, KeyedNoise::new(args.seed))?;
    let status = Status::new(quiet);
    status.say(&format!("loading the model {name}"));
    let device = args.device.open()?;
    let drafter = directory.load_drafter(&device)?.map(Arc::new);
    let model = Arc::new(directory.load_lm(&device)?);
    let drafting = match args.draft_device.filter(|device| *device != args.device) {
        None => None,
        Some(name) => {
            let device = name.open()?;
            let trained = directory.load_drafter(&device)?.map(Arc::new);
            Some((Arc::new(directory.load_drafting_lm(&device)?), trained))
        }
    };
    let (guidance, frames) = (args.cfg_scale, length.0 as usize);
    let subject = Subject { model, drafter, drafting, prompt, guidance, frames, sampler };
    let threads = args.threads.unwrap_or(available_cores().len().max(1));
    let pool = ComputePool::around_this_thread(Some(&ComputeSite { threads, cores: Vec::new() }), "bench");
    let pool = pool.map_err(|error| EngineError::Threads(error.to_string()))?;
    let draft_cores = args.draft_cores.as_ref().map(|list| list.0.clone());
    let draft_cores = draft_cores.or(args.draft_device.map(|_| Vec::new()));

    status.say(&format!("writing {} plainly", length.seconds()));
    let song: Arc<[Frame]> = pool.run(|| subject.plain())?.0.into();
    status.say("measuring the model's distribution and what disturbs it");
    let measured = pool.run(|| measure::measure(&subject, &song))?;
    let settings = Setting::all(&subject, &args.counts, &args.oracles, draft_cores.as_deref());
    let mut rows = runs::Rows::new(settings);
    for repeat in 1..=args.repeats {
        status.say(&format!("run {repeat} of {}: {} ways of drafting", args.repeats, rows.len()));
        pool.run(|| rows.run(&subject, &song))?;
    }
    let (cost, trained) = (report::Cost::new(subject.model.config()), subject.drafter.is_some());
    let coarse = coarse_matches(&directory, subject, &song, &coarse, &pool, &status)?;
    status.end(&format!("wrote {} {} times", length.seconds(), args.repeats * (rows.len() + 1)));
    let seed = args.seed;
    let report = Report { model: name, threads, seed, frames, guidance, trained, cost, measured, rows, coarse };
    if let Some(path) = &args.plot {
        write_plot(path, plot::draw(&report))?;
    }
    if args.json {
        out!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

/// A width of weights, with the number that it was asked for by.
fn coarse(bits: u32) -> Result<(u32, FakeQuant), EngineError> {
    let refused = || EngineError::Option {
        option: "bits",
        expected: "from 2 to 8, or 0 for none".to_owned(),
        found: bits.to_string(),
    };
    Ok((bits, FakeQuant::new(bits).ok_or_else(refused)?))
}

/// How the model draws the song with coarser weights. Two models at once may be more than there is memory for: the one
/// that everything else was measured with is freed first.
fn coarse_matches(
    directory: &ModelDirectory,
    subject: Subject,
    song: &[Frame],
    widths: &[(u32, FakeQuant)],
    pool: &ComputePool,
    status: &Status,
) -> Result<Vec<measure::CoarseMatches>, Failed> {
    let Subject { model, prompt, guidance, sampler, .. } = subject;
    let device = model.device().clone();
    drop(model);
    let matches = widths.iter().map(|(bits, coarse)| {
        status.say(&format!("asking the model with weights of {bits} bits"));
        let model = directory.load_fake_quant_lm(*coarse, &device)?;
        let matches = pool.run(|| measure::matches(&model, &prompt, guidance, sampler.clone(), song))?;
        Ok(measure::CoarseMatches { bits: *bits, matches })
    });
    matches.collect()
}
