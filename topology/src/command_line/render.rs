//! `render` and `play`: how does a song get from the command line to a file or a loudspeaker?

use std::{
    path::PathBuf,
    process,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Failed,
    args::{CoreList, PlayArgs, RenderArgs},
    keys::{Key, Keys},
    output::{Output, probe_file},
    record,
    status::Status,
    words,
};
use crate::{
    Checkpoint, CpalDevice, EngineError, Flow, Heartstream, Outcome, Placement, Plan, Sampling, Sink, Song, SongReport,
    SongRequest, Speaker, SpeakerError, units::Seconds,
};

/// Between two looks at the progress.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// The exit code of a second Ctrl-C, which does not wait for anything.
const INTERRUPTED: i32 = 130;

/// Writes a song to a file or to standard output.
pub(super) fn render(args: &RenderArgs, quiet: bool) -> Result<(), Failed> {
    let output = Output::new(args.output.as_deref().unwrap_or("song.wav".as_ref()));
    sing(args, Some(output), None, quiet)
}

/// Plays a song; where there is no loudspeaker it is written to a file.
pub(super) fn play(args: &PlayArgs, quiet: bool) -> Result<(), Failed> {
    let PlayArgs { render: args, device, device_rate, start, on_device_loss } = args;
    let asked = args.output.as_deref().map(Output::new);
    match CpalDevice::find(device.as_deref(), *device_rate) {
        Ok(device) => {
            let speaker = Speaker::on(device).start((*start).into()).on_device_loss((*on_device_loss).into());
            sing(args, asked, Some(speaker), quiet)
        }
        // Somebody who names a device or a rate wants that one and no file.
        Err(error @ (SpeakerError::Unknown { .. } | SpeakerError::Ambiguous { .. } | SpeakerError::NoRate { .. })) => {
            Err(error.into())
        }
        Err(error) => {
            let output = asked.unwrap_or_else(|| Output::File(PathBuf::from("song.wav")));
            let path = args.output.clone().unwrap_or_else(|| "song.wav".into());
            eprintln!("heartstream: {error}, so the song is written to {} instead", path.display());
            sing(args, Some(output), None, quiet)
        }
    }
}

fn sing(args: &RenderArgs, output: Option<Output>, speaker: Option<Speaker>, quiet: bool) -> Result<(), Failed> {
    let request = request(args)?;
    // A large model loads for a minute: what can be refused before is.
    Heartstream::check_options(&request)?;
    Plan::new(&placement(args))?;
    output.as_ref().map_or(Ok(()), Output::probe)?;
    args.record.as_deref().map_or(Ok(()), probe_file)?;
    let checkpoint = checkpoint(&args.model.model)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failed::Error(format!("the system starts no more threads: {error}")))?;
    runtime.block_on(async {
        let mut status = Status::new(quiet);
        status.say(&format!("loading the model {}", args.model.model));
        let engine = Heartstream::builder().model(checkpoint).placement(placement(args)).build().await?;
        let verb = if speaker.is_some() { "played" } else { "written" };
        let mut sinks: Vec<Sink> = speaker.map(Sink::Speaker).into_iter().collect();
        let record_request = request.clone();
        // What only the model can refuse is refused before the file is made.
        engine.check(&request)?;
        if let Some(output) = &output {
            sinks.push(Sink::Wav(output.open()?));
        }
        let song = engine.sing_to(request, sinks).await?;
        let report = watch(song, &mut status, verb).await;
        for note in &report.notes {
            status.say(&format!("note: {note}"));
        }
        if let Some(path) = &args.record {
            record::write(path, &record::record(&args.model.model, &record_request, engine.plan(), &report))?;
        }
        conclude(&report, output.as_ref(), record_request.seed, &status, verb)
    })
}

/// Shows the progress of a song until it ends. The first Ctrl-C ends it, the second the program.
async fn watch(mut song: Song, status: &mut Status, verb: &str) -> SongReport {
    let mut look = tokio::time::interval(BETWEEN_LOOKS);
    let mut interrupted = false;
    let mut interrupt = Box::pin(end_asked_for());
    let mut keys = Keys::listen();
    if keys.is_some() {
        status.say("space pauses, q stops");
    }
    loop {
        // The end is waited for by reference, so looks in between do not lose it.
        let progress = song.progress();
        tokio::select! {
            biased;
            () = &mut interrupt => {
                if interrupted {
                    drop(keys); // sets the terminal back
                    process::exit(INTERRUPTED);
                }
                interrupted = true;
                interrupt.set(end_asked_for());
                song.cancel();
            }
            key = pressed(&mut keys) => match key {
                Key::Stop => song.cancel(),
                Key::Pause if song.is_paused() => song.resume(),
                Key::Pause => song.pause(),
            },
            report = song.wait() => return report,
            _ = look.tick() => status.show(&progress, verb),
        }
    }
}

/// The next key, where there are keys.
async fn pressed(keys: &mut Option<Keys>) -> Key {
    match keys {
        Some(keys) => keys.next().await,
        None => std::future::pending().await,
    }
}

/// Ends with Ctrl-C, or when the system asks the program to end.
async fn end_asked_for() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return,
                _ = terminate.recv() => return,
            }
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

fn conclude(
    report: &SongReport,
    output: Option<&Output>,
    seed: u64,
    status: &Status,
    verb: &str,
) -> Result<(), Failed> {
    if report.audio.0 == 0.0
        && let Some(output) = output
    {
        output.discard();
    }
    let mut sentence = format!("{} {verb} in {}", report.audio, report.wall);
    if report.audio.0 > 0.0 {
        sentence += &format!(" (real-time factor {:.2})", report.wall.0 / report.audio.0);
    }
    if let Some(first) = report.first_audio {
        sentence += &format!(", first audio after {first}");
    }
    if report.underrun_samples > 0 {
        sentence += &format!(
            ", {} of silence for want of music",
            Seconds(report.underrun_samples as f64 / f64::from(crate::units::SAMPLE_RATE))
        );
    }
    if report.xruns > 0 {
        sentence += &format!(", the device's buffer ran dry {} times", report.xruns);
    }
    if let Some(Output::File(path)) = output.filter(|_| report.audio.0 > 0.0) {
        sentence += &format!(", {}", path.display());
    }
    status.end(&format!("{sentence}, seed {seed}"));
    match &report.outcome {
        Outcome::Finished if report.frames.0 == 0 => {
            Err(Failed::Error("the model ended the song before its first frame. Try another seed".to_owned()))
        }
        Outcome::Finished => Ok(()),
        Outcome::Cancelled => Err(Failed::Cancelled),
        Outcome::Failed(error) => Err(Failed::Error(error.to_string())),
    }
}

/// The model directory, or the model inside the program.
pub(super) fn checkpoint(model: &str) -> Result<Checkpoint, Failed> {
    if model == heartstream_models::demo::NAME {
        return Ok(heartstream_models::demo::checkpoint());
    }
    Ok(Checkpoint::open(model)?)
}

fn request(args: &RenderArgs) -> Result<SongRequest, Failed> {
    if !(args.max_seconds.is_finite() && args.max_seconds > 0.0) {
        let (expected, found) = ("a number above 0".to_owned(), args.max_seconds.to_string());
        return Err(EngineError::Option { option: "max-seconds", expected, found }.into());
    }
    let words = words::read(&args.words)?;
    Ok(SongRequest {
        seed: args.seed.unwrap_or_else(another_seed),
        max_frames: Seconds(args.max_seconds).frames(),
        sampling: Sampling { temperature: args.temperature, top_k: args.top_k, cfg_scale: args.cfg_scale },
        flow: Flow { steps: args.flow_steps, guidance: args.flow_guidance },
        ..SongRequest::new(words.tags, words.lyrics)
    })
}

/// A seed that is short enough to be typed again.
fn another_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40
}

fn placement(args: &RenderArgs) -> Placement {
    let cores = |list: &Option<CoreList>| list.as_ref().map(|list| list.0.clone());
    Placement {
        lm_cores: cores(&args.lm_cores),
        flow_cores: cores(&args.flow_cores),
        vocoder_cores: cores(&args.vocoder_cores),
        threads: args.threads,
        flow_workers: args.flow_workers,
    }
}
