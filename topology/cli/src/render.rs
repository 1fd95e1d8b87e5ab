//! `render`, `play` and `decode`: a song from the command line to a file or a loudspeaker.

use std::{
    path::{Path, PathBuf},
    process,
    sync::Arc,
    time::{Duration, Instant},
};

use heartstream::{
    Checkpoint, Decoder, Heartstream, Outcome, PcmBlock, Placement, Song, SongReport, SongRequest,
    codes::SavedSong,
    memory::MemoryPlan,
    plan::{Devices, Plan},
    units::Seconds,
};
use heartstream_models::{ModelDirectory, ModelError};
use heartstream_tools::synth::NOISE;

use super::{
    Failed,
    arg_groups::PlacementArgs,
    destination::Destination,
    keys::{Key, Keys},
    output::Output,
    preflight, record,
    recording::Recording,
    request_args::{kept_request, request},
    song_args::{DecodeArgs, PlayArgs, RenderArgs},
    song_plan,
    status::{Loudness, Status},
    status_line::SongLine,
    values::CoreList,
};

/// Interval of the progress display.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// Ctrl-C within so much of the first is the same one: `timeout` and shells send it to a program and to its group.
const ONE_KEY: Duration = Duration::from_millis(300);
/// The exit code of a second Ctrl-C, which does not wait for anything.
const INTERRUPTED: i32 = 130;

/// Writes a song to a file or to standard output.
pub(super) fn render(args: &RenderArgs, loudness: Loudness) -> Result<(), Failed> {
    sing(args, Destination::file(&args.output), loudness, Stopping::IsEarly)
}

/// Plays a song; without a loudspeaker it is written to a file.
pub(super) fn play(args: &PlayArgs, loudness: Loudness) -> Result<(), Failed> {
    sing(&args.render, Destination::speaker(args, loudness.verbose)?, loudness, Stopping::IsAnEnd)
}

/// What the key that stops a song means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    /// The song was asked for whole, and is not.
    IsEarly,
    /// It was listened to for as long as it was wanted.
    IsAnEnd,
}

/// Makes a song, a new one or one that is resumed.
fn sing(args: &RenderArgs, mut destination: Destination, loudness: Loudness, stopping: Stopping) -> Result<(), Failed> {
    let checkpoint = checkpoint(&args.model.model)?;
    let directory = ModelDirectory::open(checkpoint.clone())?
        .stored_as(args.lm_weights.lm_weights.into(), args.codec_weights.codec_weights.into());
    let fingerprint = directory.fingerprint()?;
    let kept = match &args.resume {
        None => None,
        Some(path) => {
            let mut kept = SavedSong::read(path)?;
            kept.check_checkpoint(path, &fingerprint)?;
            if let Some(seconds) = args.max_seconds {
                kept.request.max_frames = Seconds(seconds).frames();
            }
            Some((kept, path.as_path()))
        }
    };
    let (request, mut notes) = match &kept {
        None => request(args, &fingerprint, destination.speaker.is_some())?,
        Some((kept, _)) => (kept.request.clone(), Vec::new()),
    };
    // A large model loads for a minute: what can be refused before is.
    Heartstream::check_options(&request)?;
    let placement = placement(&args.placement);
    preflight::enough_memory(&directory, &Plan::new(&placement)?, &request)?;
    let on_gpu = !placement.devices.gpus().is_empty();
    let words = [&args.words.tags, &args.words.lyrics].into_iter().flatten().map(Path::new);
    let files = [&args.resume, &args.sound.plan].into_iter().flatten().map(PathBuf::as_path);
    destination.probe(args.save_codes.as_deref(), &words.chain(files).collect::<Vec<_>>())?;
    runtime()?.block_on(async {
        let mut status = Status::new(loudness.quiet);
        status.say(&format!("loading the model {}", args.model.model));
        let mut builder = Heartstream::builder(checkpoint)
            .weights(args.lm_weights.lm_weights.into(), args.codec_weights.codec_weights.into())
            .placement(placement)
            .speculation(args.speculate.clone());
        // What is free on a GPU is a limit, whether one is given or not.
        if args.memory_limit.is_some() || on_gpu {
            builder = builder.memory_limit(args.memory_limit.clone().unwrap_or_default(), &request);
        }
        let engine = builder.build().await?;
        if let Some(sentence) = engine.memory_adjustment() {
            status.line(sentence);
        }
        // What only the model can refuse is refused before the file is made.
        notes.extend(engine.check(&request)?);
        notes.iter().for_each(|note| status.line(&format!("note: {note}")));
        let verb = destination.verb();
        let mut sinks = destination.open(&request, &fingerprint)?;
        if let Some(path) = &args.save_codes {
            sinks = sinks.and_codes(path);
        }
        let song = match kept {
            Some((kept, path)) => engine.resume(kept, path, sinks).await?,
            None => engine.sing_to(request.clone(), sinks).await?,
        };
        let mut shown = SongLine { seed: request.seed, verb, keys: false, verbose: loudness.verbose };
        let recording = destination.recording.take();
        let (report, by_key) = follow(song, recording, &mut status, &mut shown).await?;
        let about =
            About { model: &args.model.model, request: &request, plan: engine.plan(), fingerprint: &fingerprint };
        let concluded = conclude(&report, &about, &destination, verb, &status, &notes);
        match concluded {
            Err(Failed::Cancelled) if by_key && stopping == Stopping::IsAnEnd => Ok(()),
            concluded => concluded,
        }
    })
}

/// Decodes a kept song.
pub(super) fn decode(args: &DecodeArgs, loudness: Loudness) -> Result<(), Failed> {
    let mut destination = Destination::file(&args.output);
    let checkpoint = checkpoint(&args.model.model)?;
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let fingerprint = directory.fingerprint()?;
    let kept = SavedSong::read(&args.codes)?;
    // Another codec is what decoding again may be for; codes that no model can have written are a mistake.
    kept.codes.check(&args.codes, directory.codec.num_quantizers, directory.ids.audio_eos)?;
    let request = kept_request(&kept, &args.sound, &fingerprint)?;
    Heartstream::check_options(&request)?;
    let placement = placement(&args.placement);
    let plan = Plan::new(&placement)?;
    let asked = args.codec_weights.codec_weights.into();
    let limits = args.memory_limit.clone().unwrap_or_default().or_what_is_free(plan.devices)?;
    let (codec, memory_adjustment) = MemoryPlan::codec_within(&limits, &directory, asked, &plan, &request)?;
    let read: Vec<&Path> = [Some(args.codes.as_path()), args.sound.plan.as_deref()].into_iter().flatten().collect();
    destination.probe(None, &read)?;
    runtime()?.block_on(async {
        let mut status = Status::new(loudness.quiet);
        if let Some(sentence) = &memory_adjustment {
            status.line(sentence);
        }
        let decoder = Decoder::load_as(checkpoint, codec, &placement).await?;
        let sinks = destination.open(&request, &fingerprint)?;
        let song = decoder.decode(kept.codes, &request, sinks).await?;
        let verb = destination.verb();
        let mut shown = SongLine { seed: request.seed, verb, keys: false, verbose: loudness.verbose };
        let recording = destination.recording.take();
        let (report, _) = follow(song, recording, &mut status, &mut shown).await?;
        let about =
            About { model: &args.model.model, request: &request, plan: decoder.plan(), fingerprint: &fingerprint };
        conclude(&report, &about, &destination, verb, &status, &[])
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failed::Error(format!("the system starts no more threads: {error}")))
}

/// Shows the progress of a song until it ends, and says whether a key ended it. The first Ctrl-C ends it, the second the
/// program. Where its blocks are to be recorded, they are; what cannot be written ends the song.
async fn follow(
    mut song: Song,
    mut recording: Option<Recording>,
    status: &mut Status,
    shown: &mut SongLine,
) -> Result<(SongReport, bool), Failed> {
    let mut look = tokio::time::interval(BETWEEN_LOOKS);
    let mut interrupted: Option<Instant> = None;
    let mut stop = Box::pin(shutdown_signal());
    let mut keys = Keys::listen();
    let mut by_key = false;
    shown.keys = keys.is_some();
    if shown.keys {
        status.say("space pauses, q stops");
    }
    loop {
        // The end is waited for by reference, so looks in between do not lose it.
        let progress = song.snapshot();
        tokio::select! {
            biased;
            () = &mut stop => {
                if interrupted.is_some_and(|at| at.elapsed() > ONE_KEY) {
                    drop(keys); // sets the terminal back
                    process::exit(INTERRUPTED);
                }
                interrupted.get_or_insert_with(Instant::now);
                stop.set(shutdown_signal());
                song.cancel();
            }
            key = pressed(&mut keys) => match key {
                Key::Stop => {
                    by_key = interrupted.is_none();
                    song.cancel();
                }
                Key::Pause if song.is_paused() => song.resume(),
                Key::Pause => song.pause(),
            },
            next = next(&mut song, recording.is_some()) => match (next, &mut recording) {
                (Next::Ended(report), _) => return Ok((*report, by_key)),
                (Next::Block(block), Some(recording)) => recording.write(&block)?,
                (Next::Block(_), None) => (),
                (Next::AllRead, _) => recording.take().map_or(Ok(()), Recording::finish)?,
            },
            _ = look.tick() => status.show(&progress, shown),
        }
    }
}

/// What a song comes to next.
enum Next {
    Block(Arc<PcmBlock>),
    AllRead,
    Ended(Box<SongReport>),
}

/// The next block of a song whose blocks are read, or its end.
async fn next(song: &mut Song, is_read: bool) -> Next {
    if !is_read {
        return Next::Ended(Box::new(song.wait().await));
    }
    song.next_block().await.map_or(Next::AllRead, Next::Block)
}

/// The next key, where there are keys.
async fn pressed(keys: &mut Option<Keys>) -> Key {
    match keys {
        Some(keys) => keys.next().await,
        None => std::future::pending().await,
    }
}

/// Ends with Ctrl-C, when the system asks the program to end, or when its terminal is gone.
async fn shutdown_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut hang_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return,
                _ = terminate.recv() => return,
                _ = hang_up.recv() => return,
            }
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// What a record says beside the report.
struct About<'a> {
    model: &'a str,
    request: &'a SongRequest,
    plan: &'a Plan,
    fingerprint: &'a str,
}

fn conclude(
    report: &SongReport,
    about: &About<'_>,
    destination: &Destination,
    verb: &str,
    status: &Status,
    said: &[String],
) -> Result<(), Failed> {
    for note in report.notes.iter().filter(|note| !said.contains(note)) {
        status.line(&format!("note: {note}"));
    }
    let output = destination.output.as_ref();
    let heard = report.audio.0 > 0.0;
    if let (Some(output), false, true) = (output, heard, destination.made) {
        output.discard();
    }
    let file = output.filter(|_| heard);
    let seed = about.request.seed;
    status.end_song(&summary(report, file, seed, verb), || record::ending(report, file.and_then(Output::path), seed));
    let recorded = match &destination.record {
        Some(path) => {
            let mut record = record::record(about.model, about.request, destination.format_name(), about.plan, report);
            record["plan"] = song_plan::plan(about.request, report, about.fingerprint);
            record::write(path, &record)
        }
        None => Ok(()),
    };
    // What became of the song matters more than what became of its record.
    outcome(report).and(recorded)
}

/// What the program's end says of a song's.
fn outcome(report: &SongReport) -> Result<(), Failed> {
    match &report.outcome {
        // A reader that leaves, such as `head`, has all it wanted.
        Outcome::Finished | Outcome::ReaderLeft => Ok(()),
        Outcome::Cancelled => Err(Failed::Cancelled),
        Outcome::Failed(error) => Err(Failed::Error(error.to_string())),
    }
}

/// The last line: what came of it.
fn summary(report: &SongReport, output: Option<&Output>, seed: u64, verb: &str) -> String {
    let mut sentence = format!("{} {verb} in {}", report.audio, report.wall);
    if let Some(factor) = report.real_time_factor() {
        sentence += &format!(" (real-time factor {factor:.2})");
    }
    if let Some(first) = report.first_audio {
        sentence += &format!(", first audio after {first}");
    }
    if report.underrun_samples > 0 {
        let silence = Seconds(report.underrun_samples as f64 / f64::from(heartstream::units::SAMPLE_RATE));
        sentence += &format!(", {silence} of silence for want of music");
    }
    if report.xruns > 0 {
        sentence += &format!(", the device's buffer ran dry {} times", report.xruns);
    }
    if let Some(path) = output.and_then(Output::path) {
        sentence += &format!(", {}", path.display());
    }
    if report.outcome == Outcome::ReaderLeft {
        sentence += ", until the reader wanted no more";
    }
    format!("{sentence}, seed {seed}")
}

/// The model directory, or a model that needs no files.
pub(super) fn checkpoint(model: &str) -> Result<Checkpoint, ModelError> {
    match model {
        heartstream_demo::NAME => Ok(heartstream_demo::checkpoint()),
        NOISE => Ok(heartstream_tools::synth::noise()),
        "" => Err(ModelError::Option {
            option: "model",
            expected: "a directory, demo or noise".into(),
            found: "empty".into(),
        }),
        directory => Checkpoint::open(directory),
    }
}

fn placement(args: &PlacementArgs) -> Placement {
    let cores = |list: &Option<CoreList>| list.as_ref().map(|list| list.0.clone());
    Placement {
        lm_cores: cores(&args.lm_cores),
        flow_cores: cores(&args.flow_cores),
        vocoder_cores: cores(&args.vocoder_cores),
        draft_cores: cores(&args.draft_cores),
        draft_device: args.draft_device,
        threads: args.threads,
        flow_workers: args.flow_workers,
        devices: Devices {
            lm: args.lm_device.unwrap_or(args.device),
            flow: args.flow_device.first().copied().unwrap_or(args.device),
            vocoder: args.vocoder_device.unwrap_or(args.device),
        },
        more_flow_devices: args.flow_device.iter().skip(1).copied().collect(),
    }
}
