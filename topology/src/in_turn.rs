//! How is a song made where only half of the model fits into memory? The language model writes all of it and is let go;
//! then the codec comes, and decodes what was written as it decodes a kept song.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use candle_core::Device;
use flume::{Receiver, Sender, bounded};
use heartstream_actors::{song_context::SongContext, stage_threads::StageThreads};
use heartstream_messages::{CodeFrame, Outcome, PcmBlock, SongReport, Stage, StageError, StageReport};
use heartstream_models::{ModelDirectory, SongCodes, heartmula::HeartMula, speculation::Speculation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{
    decoder::{Decoder, blocking},
    engine::Voice,
    error::EngineError,
    plan::Plan,
    request::{CheckedRequest, Sound},
    sink::{Sink, Sinks},
    song::{CurrentConductor, Song, SongEnds, unreported},
    wiring::{Wired, wire_decoding, wire_writing},
};

/// Between two looks whether the language model is gone. A prefetcher holds it to the end of its draft, and tells nobody.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// A model whose halves are loaded one after the other, for one song at a time.
#[derive(Clone)]
pub(crate) struct InTurn {
    directory: Arc<ModelDirectory>,
    /// Whose turn it is: there is room for one song.
    turn: Arc<Semaphore>,
}

impl InTurn {
    pub fn new(directory: ModelDirectory) -> Self {
        Self { directory: Arc::new(directory), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Begins a song, once no other has a half of the model in memory. A deadline for its first sound has no say: it could
    /// only be missed.
    ///
    /// # Errors
    /// When the language model cannot be loaded, or the system has no threads. What is wrong with the codec is in the
    /// song's report.
    #[allow(clippy::too_many_arguments)]
    pub async fn sing(
        &self,
        voice: &Voice,
        plan: &Plan,
        threads: &StageThreads,
        mut checked: CheckedRequest,
        speculation: &Speculation,
        sinks: Sinks,
        song: SongContext,
    ) -> Result<Song, EngineError> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|error| EngineError::Interrupted(error.to_string()))?;
        let directory = Arc::clone(&self.directory);
        let lm = blocking(move || Ok(Arc::new(directory.load_lm(&Device::Cpu)?))).await?;
        checked.request.first_window.deadline = None;
        let sound = Sound { deadline: None, ..checked.sound };
        let Sinks { audio, codes } = sinks;
        let (wired, frames) =
            wire_writing(voice, &lm, plan, threads, checked, speculation, codes, song.clone()).await?;
        let conductor = CurrentConductor::default();
        conductor.set(wired.conductor.clone());
        let subscriber = audio.iter().any(|sink| matches!(sink, Sink::Subscriber));
        let (give, blocks) = bounded(1);
        let (report, reported) = oneshot::channel();
        let (back, ended) = bounded(1);
        let (directory, plan, threads) = (Arc::clone(&self.directory), plan.clone(), threads.clone());
        let load = move || Ok(Decoder::new(directory.load_codec(&Device::Cpu)?, plan, threads));
        let blocks = Some(blocks).filter(|_| subscriber);
        let ends = SongEnds { conductor: conductor.clone(), report: reported, threads: ended, blocks };
        let second = SecondHalf { sound, audio, blocks: give, conductor, song: song.clone() };
        let codebooks = voice.sizes.audio_num_codebooks;
        let first = FirstHalf { wired, frames, lm, codebooks, song: song.clone() };
        tokio::spawn(both(first, second, load, report, (turn, back)));
        Ok(Song::of(ends, song))
    }
}

/// A song whose frames are being written.
struct FirstHalf {
    wired: Wired,
    frames: Receiver<CodeFrame>,
    lm: Arc<HeartMula>,
    codebooks: usize,
    song: SongContext,
}

/// What becomes of the frames.
struct SecondHalf {
    sound: Sound,
    audio: Vec<Sink>,
    /// Blocks to whoever holds the song.
    blocks: Sender<Arc<PcmBlock>>,
    conductor: CurrentConductor,
    song: SongContext,
}

/// Runs both halves and reports. `held` is given back when the song is over: its turn, and the word to its holder.
async fn both(
    first: FirstHalf,
    second: SecondHalf,
    load: impl FnOnce() -> Result<Decoder, EngineError> + Send + 'static,
    report: oneshot::Sender<SongReport>,
    held: (OwnedSemaphorePermit, Sender<Infallible>),
) {
    let song = second.song.clone();
    let (codes, written) = first.finish().await;
    let said = if written.outcome == Outcome::Finished { second.finish(codes, load, &written).await } else { written };
    song.meter.end();
    let _ = report.send(said); // whoever asked may have left
    drop(held);
}

impl FirstHalf {
    /// All that was written, once the language model is no longer in memory.
    async fn finish(self) -> (SongCodes, SongReport) {
        let Self { wired: Wired { report, threads, .. }, frames, lm, codebooks, song } = self;
        let mut codes = SongCodes { codebooks, codes: Vec::new(), notes: HashMap::new() };
        while let Ok(frame) = frames.recv_async().await {
            codes.codes.extend(frame.codes);
        }
        let report = report.await.unwrap_or_else(|_| unreported(&song));
        let _ = threads.recv_async().await; // nothing is ever sent: the last sender dropped is the word
        let gone = Arc::downgrade(&lm);
        drop(lm);
        until_gone(&gone).await;
        (codes, report)
    }
}

/// Waits until nobody holds the weights any more.
async fn until_gone(weights: &Weak<HeartMula>) {
    while weights.strong_count() > 0 {
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

impl SecondHalf {
    /// Decodes what was written; the report of the whole song.
    async fn finish(
        self,
        codes: SongCodes,
        load: impl FnOnce() -> Result<Decoder, EngineError> + Send + 'static,
        written: &SongReport,
    ) -> SongReport {
        let Self { sound, audio, blocks, conductor, song } = self;
        let failed = |error: EngineError| {
            let error = StageError { stage: Stage::FlowWorker, panicked: false, message: error.to_string() };
            SongReport { outcome: Outcome::Failed(error), ..written.clone() }
        };
        tracing::info!(frames = codes.frames(), "the song is written and the language model is gone; the codec comes");
        let decoder = match blocking(load).await {
            Ok(decoder) => decoder,
            Err(error) => return failed(error),
        };
        let wired = match wire_decoding(&decoder, codes, sound, audio, song.clone()).await {
            Ok(wired) => wired,
            Err(error) => return failed(error),
        };
        conductor.set(wired.conductor.clone());
        if song.interrupt.is_raised() {
            conductor.cancel(); // it was cancelled while there was nobody to tell
        }
        if let Some(sung) = wired.blocks {
            while let Ok(block) = sung.recv_async().await {
                if blocks.send_async(block).await.is_err() {
                    break;
                }
            }
        }
        drop(blocks);
        let sung = wired.report.await.unwrap_or_else(|_| unreported(&song));
        let _ = wired.threads.recv_async().await; // as above
        joined(written, sung)
    }
}

/// The report of a song whose halves have said these.
fn joined(written: &SongReport, sung: SongReport) -> SongReport {
    let of = |stage: Stage| {
        let said = |report: &SongReport| report.stages.iter().find(|said| said.stage == stage).copied();
        said(&sung).or_else(|| said(written))
    };
    let stages: Vec<StageReport> = Stage::ALL.into_iter().filter_map(of).collect();
    let notes = written.notes.iter().chain(&sung.notes).cloned().collect();
    SongReport { stages, notes, ..sung }
}
