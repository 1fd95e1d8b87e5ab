//! `render`, `play` and `decode`: a song from the command line to a file or a loudspeaker.

use std::{path::Path, time::Duration};

use heartstream::{Decoder, Heartstream, Outcome, Song, SongReport, codes::SavedSong, memory::MemoryPlan, plan::Plan};
use heartstream_models::ModelDirectory;

use super::{
    Failed,
    asked::{Asked, checkpoint, placement},
    conclusion::{About, conclude},
    destination::Destination,
    interrupts::Interrupts,
    keys::{Key, Keys},
    request_args::saved_request,
    song_args::{DecodeArgs, PlayArgs, RenderArgs},
    song_recorder::SongRecorder,
    status::{Status, Verbosity},
    status_line::SongLine,
    takes,
};

/// Interval of the progress display.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Writes a song to a file or to standard output, or several takes to files.
pub(super) fn render(args: &RenderArgs, verbosity: Verbosity) -> Result<(), Failed> {
    if let Some(count) = args.takes {
        return takes::render(args, count, verbosity);
    }
    sing(args, Destination::file(&args.output, &args.model.model)?, verbosity, Stopping::IsEarly)
}

/// Plays a song; without a loudspeaker it is written to a file.
pub(super) fn play(args: &PlayArgs, verbosity: Verbosity) -> Result<(), Failed> {
    if let Some(count) = args.render.takes {
        return takes::play(args, count, verbosity);
    }
    sing(&args.render, Destination::speaker(args, verbosity.verbose)?, verbosity, Stopping::IsAnEnd)
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
fn sing(
    args: &RenderArgs,
    mut destination: Destination,
    verbosity: Verbosity,
    stopping: Stopping,
) -> Result<(), Failed> {
    let mut asked = Asked::new(args, destination.speaker.is_some())?;
    destination.probe(args.save_codes.as_deref(), &asked.read_files())?;
    runtime()?.block_on(async {
        let mut status = Status::new(verbosity.quiet);
        let engine = asked.engine(1, &mut status).await?;
        let mut sinks = destination.open(&asked.request, &asked.fingerprint)?;
        if let Some(path) = &args.save_codes {
            sinks = sinks.and_codes(path);
        }
        let song = match asked.saved.take() {
            Some((saved, path)) => engine.resume(saved, path, sinks).await?,
            None => engine.sing_to(asked.request.clone(), sinks).await?,
        };
        let mut shown =
            SongLine { seed: asked.request.seed, verb: destination.verb, keys: false, verbose: verbosity.verbose };
        let recording = destination.recording.take();
        let (report, by_key) = follow(song, recording, &mut status, &mut shown).await?;
        let about = About {
            model: &args.model.model,
            request: &asked.request,
            plan: engine.plan(),
            fingerprint: &asked.fingerprint,
        };
        let concluded = conclude(&report, &about, &destination, &status, &asked.notes);
        match concluded {
            Err(Failed::Cancelled) if by_key && stopping == Stopping::IsAnEnd => Ok(()),
            concluded => concluded,
        }
    })
}

/// Decodes a saved song.
pub(super) fn decode(args: &DecodeArgs, verbosity: Verbosity) -> Result<(), Failed> {
    let mut destination = Destination::file(&args.output, &args.model.model)?;
    let checkpoint = checkpoint(&args.model.model)?;
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let fingerprint = directory.fingerprint()?;
    let saved = SavedSong::read(&args.codes)?;
    // Another codec is what decoding again may be for; codes that no model can have written are a mistake.
    saved.codes.check(&args.codes, directory.codec.num_quantizers, directory.ids.audio_eos)?;
    let request = saved_request(&saved, &args.sound, &directory.defaults, &fingerprint)?;
    Heartstream::check_options(&request)?;
    let placement = placement(&args.placement);
    let plan = Plan::new(&placement)?;
    let asked = args.codec_weights.codec_weights.into();
    let limits = args.memory_limit.clone().unwrap_or_default().or_what_is_free(plan.devices)?;
    let (codec, memory_adjustment) = MemoryPlan::codec_within(&limits, &directory, asked, &plan, &request)?;
    let read: Vec<&Path> = [Some(args.codes.as_path()), args.sound.plan.as_deref()].into_iter().flatten().collect();
    destination.probe(None, &read)?;
    runtime()?.block_on(async {
        let mut status = Status::new(verbosity.quiet);
        if let Some(sentence) = &memory_adjustment {
            status.line(sentence);
        }
        let decoder = Decoder::load_as(checkpoint, codec, &placement).await?;
        let sinks = destination.open(&request, &fingerprint)?;
        let song = decoder.decode(saved.codes, &request, sinks).await?;
        let mut shown =
            SongLine { seed: request.seed, verb: destination.verb, keys: false, verbose: verbosity.verbose };
        let recording = destination.recording.take();
        let (report, _) = follow(song, recording, &mut status, &mut shown).await?;
        let about =
            About { model: &args.model.model, request: &request, plan: decoder.plan(), fingerprint: &fingerprint };
        conclude(&report, &about, &destination, &status, &[])
    })
}

pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    runtime_of(2)
}

/// A runtime with its own count of threads: with tokio's, a TOKIO_WORKER_THREADS that is no count is a panic.
pub(super) fn runtime_of(threads: usize) -> Result<tokio::runtime::Runtime, Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    runtime.map_err(|error| Failed::Error(format!("the system starts no more threads: {error}")))
}

/// Shows the progress of a song until it ends, and says whether a key ended it. The first Ctrl-C ends it, the second the
/// program. Where its blocks are to be recorded, they are; what cannot be written ends the song.
async fn follow(
    mut song: Song,
    mut recording: Option<SongRecorder>,
    status: &mut Status,
    shown: &mut SongLine,
) -> Result<(SongReport, bool), Failed> {
    let mut look = tokio::time::interval(BETWEEN_LOOKS);
    let mut interrupts = Interrupts::listen();
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
            () = interrupts.next() => {
                interrupts.came(&mut keys);
                song.cancel();
            }
            key = pressed(&mut keys) => match key {
                Key::Stop => {
                    by_key = !interrupts.any();
                    song.cancel();
                }
                Key::Pause if song.is_paused() => song.resume(),
                Key::Pause => song.pause(),
            },
            ended = ended(&mut song, &mut recording) => return Ok((ended?, by_key)),
            _ = look.tick() => status.show(&progress, shown),
        }
    }
}

/// The end of a song, all of whose blocks are recorded if they are to be. May be dropped while it waits.
async fn ended(song: &mut Song, recording: &mut Option<SongRecorder>) -> Result<SongReport, Failed> {
    if let Some(recording) = recording {
        while let Some(room) = recording.room().await {
            match song.next_block().await {
                Some(block) => room.send(block),
                None => break,
            }
        }
        recording.written().await?;
        if recording.reader_left {
            song.cancel();
        }
    }
    let mut report = song.wait().await;
    if recording.as_ref().is_some_and(|recording| recording.reader_left) {
        report.outcome = Outcome::ReaderLeft;
    }
    Ok(report)
}

/// The next key, where there are keys.
pub(super) async fn pressed(keys: &mut Option<Keys>) -> Key {
    match keys {
        Some(keys) => keys.next().await,
        None => std::future::pending().await,
    }
}
