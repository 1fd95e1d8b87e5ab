//! `bench`: throughput of each stage of a model on this machine, beside the machine's limits.
//!
//! The limits of the machine are measured in the same run and with the same threads as the stages, before and after
//! them. Every time is the best of some tries, as others use the machine too.

use heartstream::{
    EngineError, FirstWindow, Heartstream, Outcome, Placement, Sink, SongRequest,
    memory::{MemoryPlan, SongSize},
    units::{Frames, Seconds},
};
use heartstream_models::{DeviceName, Devices, ModelDirectory};

use super::{
    args::SpeedArgs,
    machine::Machine,
    scaling::Fewer,
    speed_report::{Row, SpeedReport, Whole},
    stages::{PROMPT, Stages, WINDOWS},
};
use crate::{
    Failed,
    preflight::{cores, sensible_threads},
    prompt_input,
    record::peak_memory,
    render::runtime_of,
    status::Status,
};

/// Runs the bench and prints what it says.
pub(super) fn speed(args: &SpeedArgs, quiet: bool) -> Result<(), Failed> {
    let refuse = |option, expected: &str, found: String| {
        Err(EngineError::Option { option, expected: expected.to_owned(), found }.into())
    };
    if !(1..=1000).contains(&args.repeats) {
        return refuse("repeats", "from 1 to 1000", args.repeats.to_string());
    }
    if !(args.seconds.is_finite() && args.seconds >= 0.0) {
        return refuse("seconds", "0 (no song) or a number from 0.08 (one frame) upwards", args.seconds.to_string());
    }
    if !(args.kv_seconds.is_finite() && (0.0..=600.0).contains(&args.kv_seconds)) {
        return refuse("kv-seconds", "from 0 (no long song) to 600", args.kv_seconds.to_string());
    }
    args.threads.iter().try_for_each(|threads| sensible_threads(*threads))?;
    let runtime = runtime_of(cores())?;
    let status = Status::new(quiet);
    status.say("loading the model");
    let devices = Devices::all(args.device);
    let (fewer, last) = match &args.threads[..] {
        [fewer @ .., last] => (fewer, Some(*last)),
        [] => (&[][..], None),
    };
    let threads = last.filter(|_| fewer.is_empty());
    let flow_precision = args.flow_precision.flow_precision.into();
    let placement = Placement { flow_workers: 1, threads, devices, flow_precision, ..Placement::default() };
    let mut machine = Machine::open(args.device, last)?;
    let (model, checkpoint) = super::subject(&args.subject)?;
    let storages = (args.lm_weights.lm_weights.into(), args.codec_weights.codec_weights.into());
    let directory = ModelDirectory::open(checkpoint.clone())?.stored_as(storages.0, storages.1);
    let builder = Heartstream::builder(checkpoint).placement(placement).weights(storages.0, storages.1);
    // Before the model is there: what is read for it counts to no peak.
    if args.device.is_cpu() {
        status.say("measuring what the machine can do");
        machine.measure()?;
    }
    let engine = runtime.block_on(builder.build())?;
    // Before the stages are measured, which leave other windows and steps in a GPU's caches than loading does.
    let (whole, gpu_memory) = if args.seconds == 0.0 {
        (None, None)
    } else {
        status.say("making a song");
        let (whole, memory) = machine.with_gpu_memory(|| runtime.block_on(song(&engine, args)));
        (Some(whole?), memory)
    };
    let mut rows = Vec::new();
    let (Some(lm), Some(decoder)) = (engine.language_model(), engine.decoder()) else {
        return Err(Failed::Error("only a model that is in memory as a whole can be measured".to_owned()));
    };
    let stages = Stages::new(lm, decoder.codec(), &directory.codec, args.repeats);
    let fewer = fewer.iter().map(|threads| with_fewer(*threads, args.device, &stages, &status));
    let fewer = fewer.collect::<Result<Vec<_>, _>>()?;
    for (name, measure) in Stages::WRITING {
        status.say(&format!("measuring {name}"));
        rows.extend(machine.run(|| measure(&stages))?);
    }
    let long = match Seconds(args.kv_seconds).frames() {
        Frames(0) => None,
        frames => {
            status.say(&format!("reading {} frames", frames.0));
            Some(machine.run(|| stages.long_song(frames.0 as usize))?)
        }
    };
    for (name, measure) in Stages::SOUND {
        status.say(&format!("measuring {name}"));
        rows.extend(machine.run(|| measure(&stages))?);
    }
    let kv_bytes = long.as_ref().map(|song| song.kv_bytes() as u64);
    drop(long);
    let workers = if machine.threads() > 1 && args.device.is_cpu() {
        status.say("measuring two flow workers side by side");
        stages.workers()?
    } else {
        None
    };
    if let Some(workers) = &workers {
        let place = rows.iter().rposition(|row| row.stage.starts_with("flow")).map_or(rows.len(), |last| last + 1);
        rows.splice(place..place, stages.worker_rows(workers));
    }
    // Behind the stages on a GPU, whose memory this takes too.
    let peak_memory = peak_memory();
    status.say("measuring what the machine can do");
    machine.measure()?;
    status.end("measured");
    let song = SongSize {
        prompt: PROMPT as u64,
        frames: Seconds(args.kv_seconds.max(args.seconds)).frames().0.max(1),
        lm_rows: 2,
        flow_rows: 2,
        window: WINDOWS[WINDOWS.len() - 1] as u64,
        several_windows: false, // one stage after the other is measured
    };
    let estimated = MemoryPlan::estimate(&directory, engine.plan(), &song)?;
    let report = SpeedReport {
        model,
        machine: machine.name(),
        limits: machine.limits(),
        threads: machine.threads(),
        rows: rows.into_iter().filter(|row: &Row| row.time.0 > 0.0).collect(),
        fewer,
        worker_gain: workers.map(|workers| workers.gain()),
        whole,
        kv_bytes,
        peak_memory,
        gpu_memory,
        estimated: estimated.streaming_on(DeviceName::Cpu),
        gpu_estimated: estimated
            .devices
            .gpus()
            .first()
            .map(|gpu| estimated.streaming_on(*gpu) - MemoryPlan::CUDA_CONTEXT),
    };
    if args.json {
        out!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

/// The stages with another number of threads, beside what the machine can do with it.
fn with_fewer(threads: usize, device: DeviceName, stages: &Stages<'_>, status: &Status) -> Result<Fewer, Failed> {
    let mut machine = Machine::open(device, Some(threads))?;
    let mut rows = Vec::new();
    machine.measure()?;
    for (name, measure) in Stages::WRITING.into_iter().chain(Stages::SOUND) {
        status.say(&format!("measuring {name} with {threads} threads"));
        rows.extend(machine.run(|| measure(stages))?);
    }
    machine.measure()?;
    Ok(Fewer { threads, limits: machine.limits(), rows })
}

/// A song from words to sound, its sound thrown away.
async fn song(engine: &Heartstream, args: &SpeedArgs) -> Result<Whole, Failed> {
    let words = prompt_input::sample();
    let max_frames = Seconds(args.seconds).frames();
    let deadline = args.first_audio.map(Seconds);
    let usual = if deadline.is_some() { FirstWindow::LONGEST } else { FirstWindow::USUAL };
    let usual = args.first_window.map_or(usual, |frames| Frames(frames as u64));
    let first_window = FirstWindow { most: usual.min(max_frames), deadline };
    let request = SongRequest { seed: 1, max_frames, first_window, ..SongRequest::new(words.tags, words.lyrics) };
    let mut song = engine.sing_to(request, Sink::Subscriber).await?;
    let report = song.wait().await;
    match report.outcome {
        Outcome::Finished => (),
        outcome => return Err(Failed::Error(format!("the song did not finish: {outcome:?}"))),
    }
    Ok(Whole {
        audio: report.audio,
        wall: report.wall,
        first_audio: report.first_audio.unwrap_or(report.wall),
        milestones: report.milestones,
        first_window: report.first_window.unwrap_or(report.frames),
        deadline,
    })
}
