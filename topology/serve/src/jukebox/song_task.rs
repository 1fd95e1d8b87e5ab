//! Task of a song: the engine sings, the writer writes, and clients pause it or end it.

use std::sync::Arc;

use heartstream::{Outcome, Sink, Sinks, Song, SongReport, codes::SavedSong};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Jukebox,
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

/// What becomes of a song that ends before its turn.
pub(super) fn unplayed(end: End) -> Ending {
    let state = match end {
        End::Cancelled => State::Cancelled,
        End::Interrupted => State::Interrupted,
    };
    Ending { state, ..Ending::default() }
}

/// Sings the song to its end, and says what became of it.
pub(super) async fn perform(jukebox: &Jukebox, song: &Arc<LiveSong>) -> Ending {
    match sung(jukebox, song).await {
        Ok(ending) => ending,
        Err(error) => Ending { state: State::Failed, error: Some(shown(&error.to_string())), ..Ending::default() },
    }
}

async fn sung(jukebox: &Jukebox, song: &Arc<LiveSong>) -> Result<Ending, ApiError> {
    jukebox.library.set_state(song.id, State::Writing).await?;
    let files = song.files.clone();
    tokio::task::spawn_blocking(move || files.make()).await??;
    let mut playing = begun(jukebox, song).await?;
    let (blocks, received) = mpsc::channel(BLOCKS);
    let writer = Writer::begin(song, jukebox.gain, jukebox.metrics.clone())?;
    let writer = tokio::task::spawn_blocking(move || writer.write(received));
    play(&mut playing, song, blocks, &jukebox.metrics).await;
    let report = playing.finished().await;
    let written = writer.await?;
    let ending = ending(song, &report, written);
    // Those that were written since the last look.
    jukebox.metrics.frames(report.frames.0.saturating_sub(song.status.borrow().frames));
    let (files, record) = (song.files.clone(), record(song, &report, &ending));
    // The song is there without it.
    if let Err(error) = tokio::task::spawn_blocking(move || files.write_record(&record)).await? {
        tracing::error!("the record of the song {} was not written: {error}", song.id);
    }
    Ok(ending)
}

/// Has the engine begin, or go on with what was kept.
async fn begun(jukebox: &Jukebox, song: &LiveSong) -> Result<Song, ApiError> {
    let codes = song.files.codes();
    let sinks = Sinks::from(Sink::Subscriber).and_codes(codes.clone());
    if song.resumed {
        let path = codes.clone();
        match tokio::task::spawn_blocking(move || SavedSong::read(&path)).await? {
            Ok(kept) => return Ok(jukebox.engine.resume(kept, &codes, sinks).await?),
            // Killed before its first second was kept. From its start it is the same song.
            Err(error) => tracing::info!("the song {} begins anew: {error}", song.id),
        }
    }
    Ok(jukebox.engine.sing_to(song.request.clone(), sinks).await?)
}

/// Hands the blocks to the writer, and what clients want to the song.
async fn play(
    playing: &mut Song,
    song: &LiveSong,
    blocks: mpsc::Sender<Arc<heartstream::PcmBlock>>,
    metrics: &Metrics,
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
                    before = std::mem::replace(&mut status.frames, frames);
                    before != frames
                });
                metrics.frames(frames.saturating_sub(before));
            }
            block = playing.next_block() => match block {
                None => return,
                Some(block) => {
                    if blocks.send(block).await.is_err() {
                        return playing.cancel(); // the writer failed, and says why
                    }
                }
            },
        }
    }
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
fn record(song: &LiveSong, report: &SongReport, ending: &Ending) -> String {
    let record = json!({
        "id": song.id.as_str(),
        "model": song.metadata.model,
        "software": song.metadata.software,
        "format": song.format.name(),
        "request": song.request,
        "state": ending.state.name(),
        "loudness_lufs": ending.loudness,
        "true_peak_dbtp": ending.true_peak,
        "report": report,
    });
    format!("{record:#}\n")
}
