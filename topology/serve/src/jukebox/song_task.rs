//! Task of a song: the engine sings, the writer writes, and clients pause it or end it.

use std::sync::Arc;

use heartstream::{
    Outcome, PcmBlock, Sink, Sinks, Song, SongReport, Stage,
    codes::SavedSong,
    units::{CHANNELS, SampleIndex},
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Jukebox,
    places::{LocalPlace, Place},
    writer::{Writer, Written},
};
use crate::{
    error::{ApiError, shown},
    library::Ending,
    live_song::{End, LiveSong, State, Wish},
    metrics::Metrics,
};

/// Blocks between the engine and the writer, of a quarter of a second each: the file is never far behind.
const BLOCKS: usize = 1;
/// Other machines that a song may lose, at most; after so many it is made on this one.
const MOST_LOST: usize = 3;

/// What becomes of a song that ends before its turn.
pub(super) fn unplayed(end: End) -> Ending {
    let state = match end {
        End::Cancelled => State::Cancelled,
        End::Interrupted => State::Interrupted,
    };
    Ending { state, ..Ending::default() }
}

/// Sings the song to its end, beginning at `place`, and says what became of it.
pub(super) async fn perform(jukebox: &Arc<Jukebox>, song: &Arc<LiveSong>, place: Place) -> Ending {
    match sung(jukebox, song, place).await {
        Ok(ending) => ending,
        Err(error) => Ending { state: State::Failed, error: Some(shown(&error.to_string())), ..Ending::default() },
    }
}

async fn sung(jukebox: &Arc<Jukebox>, song: &Arc<LiveSong>, place: Place) -> Result<Ending, ApiError> {
    jukebox.library.set_state(song.id, State::Writing).await?;
    let files = song.files.clone();
    tokio::task::spawn_blocking(move || files.make()).await??;
    let mut machines = vec![place.machine()];
    let mut made = begun(jukebox, song, place, song.resumed, SampleIndex(0)).await?;
    let (blocks, received) = mpsc::channel(BLOCKS);
    let writer = Writer::begin(song, jukebox.gain, jukebox.metrics.clone())?;
    let writer = tokio::task::spawn_blocking(move || writer.write(received));
    let (mut played, mut lost) = (SampleIndex(0), Vec::new());
    let mut report = loop {
        play(&mut made.song, song, &blocks, &jukebox.metrics, &mut played).await;
        let mut report = made.song.finished().await;
        drop(made.here); // its place is free
        let Some(reason) = lost_machine(&report) else { break report };
        lost.push(reason);
        let another = jukebox.another_place(song, lost.len() < MOST_LOST).await;
        let Some(place) = another.filter(|_| song.wish.borrow().end.is_none()) else {
            report.outcome = Outcome::Cancelled;
            break report;
        };
        machines.push(place.machine());
        made = begun(jukebox, song, place, true, played).await?;
    };
    drop(blocks);
    report.notes.extend(lost);
    let written = writer.await?;
    let ending = ending(song, &report, written);
    // Those that were written since the last look.
    jukebox.metrics.frames(report.frames.0.saturating_sub(song.status.borrow().frames));
    let (files, record) = (song.files.clone(), record(song, &report, &ending, &machines));
    // The song is there without it.
    if let Err(error) = tokio::task::spawn_blocking(move || files.write_record(&record)).await? {
        tracing::error!("the record of the song {} was not written: {error}", song.id);
    }
    Ok(ending)
}

/// Why the machine that made a song does not go on with it; `None` where the song ended otherwise.
fn lost_machine(report: &SongReport) -> Option<String> {
    match &report.outcome {
        Outcome::Failed(error) if error.stage == Stage::RemoteSong => Some(shown(&error.message)),
        _ => None,
    }
}

/// A song that is made, and its place on this machine, where it is made here.
struct Made {
    song: Song,
    here: Option<LocalPlace>,
}

/// Has the engine or another machine begin, or go on with what was kept. Its reader has what was `played`.
async fn begun(
    jukebox: &Jukebox,
    song: &LiveSong,
    place: Place,
    resumed: bool,
    played: SampleIndex,
) -> Result<Made, ApiError> {
    let (engine, codes, machine) = (&jukebox.engine, song.files.codes(), place.machine());
    song.set(|status| status.machine = machine);
    let sinks = Sinks::from(Sink::Subscriber).and_codes(codes.clone());
    let mut kept = None;
    if resumed {
        let path = codes.clone();
        match tokio::task::spawn_blocking(move || SavedSong::read(&path)).await? {
            Ok(saved) => kept = Some(saved),
            // Ended before its first second was kept. From its start it is the same song.
            Err(error) => tracing::info!("the song {} begins anew: {error}", song.id),
        }
    }
    let request = song.request.clone();
    let (song, here) = match (place, kept) {
        (Place::Here(here), Some(kept)) => (engine.resume(kept, &codes, sinks).await?, Some(here)),
        (Place::Here(here), None) => (engine.sing_to(request, sinks).await?, Some(here)),
        (Place::Elsewhere(lease), Some(kept)) => {
            (engine.resume_elsewhere(lease, kept, &codes, played, sinks).await?, None)
        }
        (Place::Elsewhere(lease), None) => (engine.sing_elsewhere(lease, request, played, sinks).await?, None),
    };
    Ok(Made { song, here })
}

/// Hands the blocks to the writer, but for those that it has from the machine before, and what clients want to the song.
async fn play(
    playing: &mut Song,
    song: &LiveSong,
    blocks: &mpsc::Sender<Arc<PcmBlock>>,
    metrics: &Metrics,
    played: &mut SampleIndex,
) {
    let (mut wish, mut progress) = (song.wish.subscribe(), playing.progress());
    wish.mark_changed(); // something may have been wished for before
    loop {
        tokio::select! {
            Ok(()) = wish.changed() => follow(*wish.borrow_and_update(), playing, song),
            Ok(()) = progress.changed() => {
                let frames = progress.borrow_and_update().frames_written.0;
                let mut before = frames;
                song.status.send_if_modified(|status| {
                    before = status.frames;
                    status.frames = before.max(frames); // on another machine a song is written from its start
                    before < frames
                });
                metrics.frames(frames.saturating_sub(before));
            }
            block = playing.next_block() => match block {
                None => return,
                Some(block) => {
                    let Some(rest) = behind(block, *played) else { continue };
                    *played = rest.end();
                    if blocks.send(rest).await.is_err() {
                        return playing.cancel(); // the writer failed, and says why
                    }
                }
            },
        }
    }
}

/// What of a block is behind a place; `None` where nothing is.
fn behind(block: Arc<PcmBlock>, place: SampleIndex) -> Option<Arc<PcmBlock>> {
    if block.start >= place {
        return Some(block);
    }
    let known = (place.0 - block.start.0) as usize * CHANNELS;
    let rest = block.samples.get(known..).filter(|rest| !rest.is_empty())?;
    Some(Arc::new(PcmBlock { start: place, samples: rest.to_vec() }))
}

fn follow(wish: Wish, playing: &Song, song: &LiveSong) {
    if wish.end.is_some() {
        return playing.cancel();
    }
    if wish.paused == playing.is_paused() {
        return;
    }
    if wish.paused {
        playing.pause()
    } else {
        playing.resume()
    }
    let state = if wish.paused { State::Paused } else { State::Writing };
    song.set(|status| status.state = state);
}

fn ending(song: &LiveSong, report: &SongReport, written: Result<Written, ApiError>) -> Ending {
    let wished = song.wish.borrow().end;
    let (state, error) = match (&report.outcome, &written) {
        (_, Err(error)) => (State::Failed, Some(error.to_string())),
        (Outcome::Finished, Ok(_)) => (State::Finished, None),
        (Outcome::Failed(error), Ok(_)) => (State::Failed, Some(error.to_string())),
        (_, Ok(_)) => (if wished == Some(End::Interrupted) { State::Interrupted } else { State::Cancelled }, None),
    };
    let error = error.map(|error| shown(&error));
    let ending = Ending { state, error, frames: report.frames.0, ..Ending::default() };
    match written {
        Err(_) => ending,
        Ok(Written { bytes, seconds, loudness }) => {
            Ending { bytes, seconds, loudness: loudness.integrated, true_peak: loudness.true_peak, ..ending }
        }
    }
}

/// What was asked for and what came of it.
fn record(song: &LiveSong, report: &SongReport, ending: &Ending, machines: &[Option<String>]) -> String {
    let record = json!({
        "id": song.id.as_str(),
        "model": song.metadata.model,
        "software": song.metadata.software,
        "format": song.format.name(),
        "request": song.request,
        "state": ending.state.name(),
        "machines": machines, // none: this one
        "loudness_lufs": ending.loudness,
        "true_peak_dbtp": ending.true_peak,
        "report": report,
    });
    format!("{record:#}\n")
}
