//! `render`, `play` and `decode`: how does a song get from the command line to a file or a loudspeaker?

use std::{
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use heartstream_models::{ModelDirectory, ModelError, demo};

use super::{
    Failed,
    arg_groups::{CoreList, OutputArgs, PlacementArgs},
    args::{DecodeArgs, PlayArgs, RenderArgs},
    keys::{Key, Keys},
    order::{kept_request, request},
    output::{Output, probe_file},
    record, song_plan,
    status::Status,
};
use crate::{
    Checkpoint, CpalDevice, Decoder, Devices, Heartstream, KeptSong, Outcome, Placement, Plan, SampleFormat, Sink,
    Sinks, Song, SongReport, SongRequest, Speaker, SpeakerError, memory, units::Seconds,
};

/// Between two looks at the progress.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// Ctrl-C within so much of the first is the same one: `timeout` and shells send it to a program and to its group.
const ONE_KEY: Duration = Duration::from_millis(300);
/// The exit code of a second Ctrl-C, which does not wait for anything.
const INTERRUPTED: i32 = 130;
/// Where a song goes when nothing is said.
const USUAL_OUTPUT: &str = "song.wav";

/// Where the song's sound goes, and what is written down about it.
struct Destination<'a> {
    output: Option<Output>,
    /// Whether the file was made for this song: what was there before is not removed again.
    made: bool,
    /// Samples of the file.
    format: SampleFormat,
    speaker: Option<Speaker>,
    record: Option<&'a Path>,
    quiet: bool,
}

impl<'a> Destination<'a> {
    fn file(args: &'a OutputArgs, quiet: bool) -> Self {
        let output = Output::new(args.output.as_deref().unwrap_or(USUAL_OUTPUT.as_ref()));
        let format = args.format.into();
        Self { output: Some(output), made: false, format, speaker: None, record: args.record.as_deref(), quiet }
    }

    /// A loudspeaker, and a file where one was asked for or where there is no loudspeaker.
    fn speaker(play: &'a PlayArgs, quiet: bool) -> Result<Self, Failed> {
        let PlayArgs { render: RenderArgs { output: args, .. }, speaker, device_rate, start, on_device_loss } = play;
        let asked = args.output.as_deref().map(Output::new);
        let (output, speaker) = match CpalDevice::find(speaker.as_deref(), *device_rate) {
            Ok(device) => {
                let speaker = Speaker::on(device).start((*start).into()).on_device_loss((*on_device_loss).into());
                (asked, Some(speaker))
            }
            // Somebody who names a device or a rate wants that one and no file.
            Err(
                error @ (SpeakerError::Unknown { .. } | SpeakerError::Ambiguous { .. } | SpeakerError::NoRate { .. }),
            ) => {
                return Err(error.into());
            }
            Err(error) => {
                let path = args.output.clone().unwrap_or_else(|| PathBuf::from(USUAL_OUTPUT));
                note!("heartstream: {error}, so the song is written to {} instead", path.display());
                (Some(Output::new(&path)), None)
            }
        };
        Ok(Self { output, made: false, format: args.format.into(), speaker, record: args.record.as_deref(), quiet })
    }

    /// Makes sure that everything can be written, before a large model is loaded, and that nothing that is read is
    /// written over.
    fn probe(&self, codes: Option<&Path>, read: &[&Path]) -> Result<(), Failed> {
        for path in read.iter().filter(|path| path.exists()) {
            let song = self.output.as_ref().is_some_and(|output| output.is_file(path));
            if song || self.record.is_some_and(|record| Output::new(record).is_file(path)) {
                return Err(Failed::Usage(format!(
                    "{} is read for this song and would be written over. Give -o and --record other files",
                    path.display()
                )));
            }
        }
        if let Some(path) = codes.filter(|path| path.exists() && !path.is_file()) {
            return Err(Failed::Usage(format!("--save-codes needs a regular file, and {} is none", path.display())));
        }
        self.output.as_ref().map_or(Ok(()), Output::probe)?;
        let beside = [("record", self.record), ("save-codes", codes)];
        for (option, path) in beside.into_iter().filter_map(|(option, path)| Some((option, path?))) {
            probe_file(path)?;
            if self.output.as_ref().is_some_and(|output| output.is_file(path)) {
                return Err(Failed::Usage(format!(
                    "--{option} would overwrite the song in {}. Give it another file",
                    path.display()
                )));
            }
        }
        match (self.record, codes) {
            (Some(record), Some(codes)) if Output::new(record).is_file(codes) => Err(Failed::Usage(format!(
                "--record would overwrite the codes in {}. Give it another file",
                codes.display()
            ))),
            _ => Ok(()),
        }
    }

    fn verb(&self) -> &'static str {
        if self.speaker.is_some() { "played" } else { "written" }
    }

    /// Opens the sinks.
    fn open(&mut self) -> Result<Sinks, Failed> {
        let mut sinks: Vec<Sink> = self.speaker.take().map(Sink::Speaker).into_iter().collect();
        if let Some(output) = &self.output {
            self.made = output.is_new();
            sinks.push(Sink::Wav(output.open(self.format)?));
        }
        Ok(sinks.into())
    }
}

/// Writes a song to a file or to standard output.
pub(super) fn render(args: &RenderArgs, quiet: bool) -> Result<(), Failed> {
    sing(args, Destination::file(&args.output, quiet))
}

/// Plays a song; without a loudspeaker it is written to a file.
pub(super) fn play(args: &PlayArgs, quiet: bool) -> Result<(), Failed> {
    sing(&args.render, Destination::speaker(args, quiet)?)
}

/// Writes, gone on with or new, a song.
fn sing(args: &RenderArgs, mut destination: Destination<'_>) -> Result<(), Failed> {
    let checkpoint = checkpoint(&args.model.model)?;
    let fingerprint = ModelDirectory::open(checkpoint.clone())?.fingerprint()?;
    let kept = match &args.resume {
        None => None,
        Some(path) => {
            let kept = KeptSong::read(path)?;
            kept.check_checkpoint(path, &fingerprint)?;
            Some((kept, path.as_path()))
        }
    };
    let request = match &kept {
        None => request(args, &fingerprint, destination.speaker.is_some())?,
        Some((kept, _)) => kept.request.clone(),
    };
    // A large model loads for a minute: what can be refused before is.
    Heartstream::check_options(&request)?;
    let placement = placement(&args.placement);
    Plan::new(&placement)?;
    let words = [&args.words.tags, &args.words.lyrics].into_iter().flatten().map(Path::new);
    let files = [&args.resume, &args.sound.plan].into_iter().flatten().map(PathBuf::as_path);
    destination.probe(args.save_codes.as_deref(), &words.chain(files).collect::<Vec<_>>())?;
    runtime()?.block_on(async {
        let mut status = Status::new(destination.quiet);
        status.say(&format!("loading the model {}", args.model.model));
        let mut builder = Heartstream::builder()
            .model(checkpoint)
            .weights(args.lm_weights.lm_weights.into(), args.codec_weights.codec_weights.into())
            .placement(placement)
            .speculation(args.speculate.clone());
        if let Some(limit) = args.memory_limit {
            builder = builder.memory_limit(limit, &request);
        }
        let engine = builder.build().await?;
        if let Some(sentence) = engine.to_fit() {
            status.line(sentence);
        }
        // What only the model can refuse is refused before the file is made.
        engine.check(&request)?;
        let verb = destination.verb();
        let mut sinks = destination.open()?;
        if let Some(path) = &args.save_codes {
            sinks = sinks.and_codes(path);
        }
        let song = match kept {
            Some((kept, path)) => engine.resume(kept, path, sinks).await?,
            None => engine.sing_to(request.clone(), sinks).await?,
        };
        let report = watch(song, &mut status, verb).await;
        let about =
            About { model: &args.model.model, request: &request, plan: engine.plan(), fingerprint: &fingerprint };
        conclude(&report, &about, &destination, verb, &status)
    })
}

/// Decodes a kept song.
pub(super) fn decode(args: &DecodeArgs, quiet: bool) -> Result<(), Failed> {
    let mut destination = Destination::file(&args.output, quiet);
    let checkpoint = checkpoint(&args.model.model)?;
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let fingerprint = directory.fingerprint()?;
    let kept = KeptSong::read(&args.codes)?;
    // Another codec is what decoding again may be for; codes that no model can have written are a mistake.
    kept.codes.check(&args.codes, directory.codec.num_quantizers, directory.ids.audio_eos)?;
    let request = kept_request(&kept, &args.sound, &fingerprint)?;
    Heartstream::check_options(&request)?;
    let placement = placement(&args.placement);
    let plan = Plan::new(&placement)?;
    let asked = args.codec_weights.codec_weights.into();
    let (codec, to_fit) = match args.memory_limit {
        None => (asked, None),
        Some(limit) => memory::fit_decoding(limit, &directory, asked, &plan, &request)?,
    };
    let read: Vec<&Path> = [Some(args.codes.as_path()), args.sound.plan.as_deref()].into_iter().flatten().collect();
    destination.probe(None, &read)?;
    runtime()?.block_on(async {
        let mut status = Status::new(quiet);
        to_fit.iter().for_each(|sentence| status.line(sentence));
        let decoder = Decoder::load_as(checkpoint, codec, &placement).await?;
        let sinks = destination.open()?;
        let song = decoder.decode(kept.codes, &request, sinks).await?;
        let report = watch(song, &mut status, "written").await;
        let about =
            About { model: &args.model.model, request: &request, plan: decoder.plan(), fingerprint: &fingerprint };
        conclude(&report, &about, &destination, "written", &status)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(|error| Failed::Error(format!("the system starts no more threads: {error}")))
}

/// Shows the progress of a song until it ends. The first Ctrl-C ends it, the second the program.
async fn watch(mut song: Song, status: &mut Status, verb: &str) -> SongReport {
    let mut look = tokio::time::interval(BETWEEN_LOOKS);
    let mut interrupted: Option<Instant> = None;
    let mut interrupt = Box::pin(end_asked_for());
    let mut keys = Keys::listen();
    if keys.is_some() {
        status.say("space pauses, q stops");
    }
    loop {
        // The end is waited for by reference, so looks in between do not lose it.
        let progress = song.snapshot();
        tokio::select! {
            biased;
            () = &mut interrupt => {
                if interrupted.is_some_and(|at| at.elapsed() > ONE_KEY) {
                    drop(keys); // sets the terminal back
                    process::exit(INTERRUPTED);
                }
                interrupted.get_or_insert_with(Instant::now);
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
    destination: &Destination<'_>,
    verb: &str,
    status: &Status,
) -> Result<(), Failed> {
    for note in &report.notes {
        status.say(&format!("note: {note}"));
    }
    let output = destination.output.as_ref();
    let heard = report.audio.0 > 0.0;
    output.filter(|_| !heard && destination.made).into_iter().for_each(Output::discard);
    status.end(&summary(report, output.filter(|_| heard), about.request.seed, verb));
    let recorded = destination.record.map_or(Ok(()), |path| {
        let format = output.map(|_| destination.format);
        let mut record = record::record(about.model, about.request, format, about.plan, report);
        record["plan"] = song_plan::plan(about.request, report, about.fingerprint);
        record::write(path, &record)
    });
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
    if report.audio.0 > 0.0 {
        sentence += &format!(" (real-time factor {:.2})", report.wall.0 / report.audio.0);
    }
    if let Some(first) = report.first_audio {
        sentence += &format!(", first audio after {first}");
    }
    if report.underrun_samples > 0 {
        let silence = Seconds(report.underrun_samples as f64 / f64::from(crate::units::SAMPLE_RATE));
        sentence += &format!(", {silence} of silence for want of music");
    }
    if report.xruns > 0 {
        sentence += &format!(", the device's buffer ran dry {} times", report.xruns);
    }
    if let Some(Output::File(path)) = output {
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
        demo::DEMO => Ok(Checkpoint::demo()),
        demo::NOISE => Ok(Checkpoint::noise()),
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
            flow: args.flow_device.unwrap_or(args.device),
            vocoder: args.vocoder_device.unwrap_or(args.device),
        },
    }
}
