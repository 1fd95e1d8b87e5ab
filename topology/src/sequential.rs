//! Sequential songs, where only half of the model fits into memory: the language model writes all frames and is freed;
//! then the codec is loaded, and decodes them like a saved song.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Weak},
    time::Duration,
};

use flume::{Receiver, Sender, bounded};
use heartstream_actors::{failure, reader_queue::QueuedItem, song_context::SongContext};
use heartstream_messages::{CodeFrame, Outcome, PcmBlock, SongReport, Stage, StageReport};
use heartstream_models::{ModelDirectory, SongCodes, heartmula::HeartMula};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{UnboundedSender, unbounded_channel},
    oneshot,
};

use crate::{
    decoder::{Decoder, blocking},
    engine::Heartstream,
    error::EngineError,
    lockstep::SharedLockstep,
    request::{CheckedRequest, Sound},
    sink::{Sink, Sinks},
    song::{CurrentConductor, Song, SongEnds, unreported},
    wiring::{Wired, Writing, wire_decoding, wire_writing},
};

/// Poll interval until the language model is freed. A prefetcher holds it to the end of its draft.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// A model whose halves are loaded one after the other, for one song at a time.
#[derive(Clone)]
pub(crate) struct Sequential {
    directory: Arc<ModelDirectory>,
    /// A permit for one song at a time.
    turn: Arc<Semaphore>,
}

impl Sequential {
    pub fn new(directory: ModelDirectory) -> Self {
        Self { directory: Arc::new(directory), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Begins a song, once no other has a half of the model in memory. A deadline for its first sound is ignored: it
    /// could only be missed.
    ///
    /// # Errors
    /// When the language model cannot be loaded, or the system has no threads. What is wrong with the codec is in the
    /// song's report.
    pub async fn sing(
        &self,
        engine: &Heartstream,
        mut checked: CheckedRequest,
        sinks: Sinks,
        song: SongContext,
    ) -> Result<Song, EngineError> {
        let Heartstream { lm_resources, plan, threads, context, speculation, .. } = engine;
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|error| EngineError::Interrupted(error.to_string()))?;
        let (directory, device) = (Arc::clone(&self.directory), plan.devices.lm);
        let lm = blocking(move || Ok(Arc::new(directory.load_lm(&device.open()?)?))).await?;
        checked.request.first_window.deadline = None;
        let sound = Sound { deadline: None, ..checked.sound };
        let Sinks { audio, codes, frames } = sinks;
        let lockstep = SharedLockstep::default().join(&lm, &plan.lm, threads, context)?;
        let writing = Writing { lm_resources, lm: &lm, plan, checked, lockstep, speculation, codes, frames };
        let (wired, frames) = wire_writing(writing, threads, song.clone()).await?;
        let conductor = CurrentConductor::default();
        conductor.set(wired.conductor.clone());
        let subscriber = audio.iter().any(|sink| matches!(sink, Sink::Subscriber));
        let (give, blocks) = unbounded_channel();
        let (report, reported) = oneshot::channel();
        let (returned, all_threads_returned) = bounded(1);
        let (directory, plan, threads) = (Arc::clone(&self.directory), plan.clone(), threads.clone());
        let context = context.clone();
        let load = move || Decoder::read(&directory, plan, threads, context);
        let blocks = Some(blocks).filter(|_| subscriber);
        let ends = SongEnds { conductor: conductor.clone(), report: reported, all_threads_returned, blocks };
        let second = SecondHalf { sound, audio, blocks: give, conductor, song: song.clone() };
        let codebooks = lm_resources.sizes.audio_num_codebooks;
        let first = FirstHalf { wired, frames, lm, codebooks, song: song.clone() };
        tokio::spawn(both(first, second, load, report, (turn, returned)));
        Ok(Song::of(ends, song, sound.noise))
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

/// The half of a song that decodes the frames.
struct SecondHalf {
    sound: Sound,
    audio: Vec<Sink>,
    /// Blocks to the subscriber; as many as there are places for.
    blocks: UnboundedSender<QueuedItem<Arc<PcmBlock>>>,
    conductor: CurrentConductor,
    song: SongContext,
}

/// Runs both halves and reports. `held` is dropped when the song is over: its permit, and the signal to its handle.
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
    let _ = report.send(said); // the receiver may be gone
    drop(held);
}

impl FirstHalf {
    /// All that was written, once the language model is no longer in memory.
    async fn finish(self) -> (SongCodes, SongReport) {
        let Self { wired: Wired { report, all_threads_returned, .. }, frames, lm, codebooks, song } = self;
        let mut codes = SongCodes { codebooks, codes: Vec::new(), notes: HashMap::new() };
        while let Ok(frame) = frames.recv_async().await {
            codes.codes.extend(frame.codes);
        }
        let report = report.await.unwrap_or_else(|_| unreported(&song));
        let _ = all_threads_returned.recv_async().await; // nothing is ever sent: the signal is the drop of the last sender
        let gone = Arc::downgrade(&lm);
        drop(lm);
        weights_freed(&gone).await;
        (codes, report)
    }
}

/// Waits until the weights are freed.
async fn weights_freed(weights: &Weak<HeartMula>) {
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
            let error = match error {
                EngineError::Model(error) => failure::failed(Stage::FlowWorker, error),
                error => failure::failed(Stage::FlowWorker, error),
            };
            let mut report = written.clone();
            report.outcome = Outcome::Failed(error);
            report
        };
        tracing::info!(
            frames = codes.frames(),
            "the song is written and the language model is freed; loading the codec"
        );
        let decoder = match blocking(load).await {
            Ok(decoder) => decoder,
            Err(error) => return failed(error),
        };
        let wired = match wire_decoding(&decoder, codes, sound, audio, song.clone()).await {
            Ok(wired) => wired,
            Err(error) => return failed(error),
        };
        conductor.set(wired.conductor.clone());
        if song.stop.is_set() {
            conductor.cancel(); // it was cancelled between the two conductors
        }
        if let Some(mut sung) = wired.blocks {
            while let Some(block) = sung.recv().await {
                if blocks.send(block).is_err() {
                    break;
                }
            }
        }
        drop(blocks);
        let sung = wired.report.await.unwrap_or_else(|_| unreported(&song));
        let _ = wired.all_threads_returned.recv_async().await; // as above
        joined(written, sung)
    }
}

/// The report of a song from those of its halves.
fn joined(written: &SongReport, mut sung: SongReport) -> SongReport {
    let of = |stage: Stage| {
        let said = |report: &SongReport| report.stages.iter().find(|said| said.stage == stage).copied();
        said(&sung).or_else(|| said(written))
    };
    let stages: Vec<StageReport> = Stage::ALL.into_iter().filter_map(of).collect();
    let notes = written.notes.iter().chain(&sung.notes).cloned().collect();
    (sung.stages, sung.notes) = (stages, notes);
    sung
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use heartstream_actors::{
        song_context::{EngineContext, Faults},
        stage_threads::StageThreads,
    };
    use heartstream_messages::{SongRequest, units::Frames};
    use heartstream_models::speculation::Speculation;
    use heartstream_tools::synth::SynthSize;

    use super::*;
    use crate::{
        lm_resources::LmResources,
        memory::MemorySize,
        plan::{Placement, Plan},
    };

    #[tokio::test(flavor = "multi_thread")]
    async fn the_language_model_is_freed_before_the_codec_is_loaded() {
        let directory = heartstream_tools::synth::random_model(SynthSize::Tiny, 1).expect("a model");
        let plan = Plan::new(&Placement {
            flow_workers: 1,
            threads: Some(1),
            draft_cores: Some(Vec::new()),
            ..Placement::default()
        });
        let (plan, threads) = (plan.expect("a plan"), StageThreads::default());
        let request = SongRequest { max_frames: Frames(10), ..SongRequest::new("calm", "la la") };
        let tokenizer = Arc::new(directory.load_tokenizer().expect("a tokenizer"));
        let checked = crate::request::check(request, &tokenizer, directory.lm.backbone.max_seq_len).expect("a song");
        let lm_resources = LmResources {
            tokenizer,
            sizes: directory.lm.clone(),
            defaults: directory.defaults,
            drafter: None,
            drafting: None,
            audio_eos: u32::MAX,
            fingerprint: String::new(),
            learned: Default::default(),
            #[cfg(feature = "remote")]
            storage: Default::default(),
        };
        let lm = Arc::new(directory.load_lm(&Device::Cpu).expect("a language model"));
        let held = Arc::downgrade(&lm);
        let song = SongContext::new(1, Faults::default());
        let sound = checked.sound;
        let (lm_resources, speculation) = (&lm_resources, &Speculation::Auto);
        let lockstep =
            SharedLockstep::default().join(&lm, &plan.lm, &threads, &EngineContext::default()).expect("a thread");
        let writing = Writing {
            lm_resources,
            lm: &lm,
            plan: &plan,
            checked,
            lockstep,
            speculation,
            codes: Vec::new(),
            frames: None,
        };
        let (wired, frames) = wire_writing(writing, &threads, song.clone()).await.expect("a song");
        let first =
            FirstHalf { wired, frames, lm, codebooks: lm_resources.sizes.audio_num_codebooks, song: song.clone() };
        let (blocks, mut heard) = unbounded_channel();
        let second =
            SecondHalf { sound, audio: vec![Sink::Subscriber], blocks, conductor: CurrentConductor::default(), song };
        let (seen, holders) = bounded(1);
        let load = move || {
            let _ = seen.send(held.strong_count());
            Decoder::read(&directory, plan, threads, EngineContext::default())
        };
        let (report, reported) = oneshot::channel();
        let (returned, _ended) = bounded(1);
        let turn = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("open");
        tokio::spawn(both(first, second, load, report, (turn, returned)));
        let mut samples = 0;
        while let Some(block) = heard.recv().await {
            samples += block.take().samples.len();
        }
        assert_eq!(holders.recv(), Ok(0), "holders of the language model when the codec was loaded");
        assert_eq!(reported.await.expect("a report").outcome, Outcome::Finished);
        assert_eq!(samples, 10 * 3840 * 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_codec_that_cannot_be_loaded_is_in_the_songs_report() {
        // Its files are there when the engine is made, and gone when a song needs them.
        let folder = tempfile::tempdir().expect("a folder");
        heartstream_tools::synth::synthesise(SynthSize::Tiny, 1, folder.path(), &mut |_, _| ()).expect("a model");
        let checkpoint = heartstream_models::weights::Checkpoint::open(folder.path()).expect("a directory");
        let mut request = SongRequest { max_frames: Frames(40), ..SongRequest::new("calm", "la la") };
        request.sampling.top_k = 5;
        let engine = crate::Heartstream::builder(checkpoint)
            .placement(Placement { flow_workers: 1, threads: Some(1), ..Placement::default() })
            .memory_limit(MemorySize(limit(folder.path(), &request)), &request)
            .build()
            .await
            .expect("an engine");
        assert!(engine.decoder().is_none(), "nothing of the codec is in memory");
        std::fs::remove_dir_all(folder.path().join("HeartCodec-oss")).expect("a folder");
        let song = engine.sing(request).await.expect("a song");
        match song.finished().await.outcome {
            Outcome::Failed(error) => assert!(error.message.contains("HeartCodec-oss"), "{error}"),
            other => panic!("{other:?}"),
        }
    }

    /// Enough for one half after the other, and not for both, however short the prompt is.
    fn limit(model: &std::path::Path, request: &SongRequest) -> u64 {
        let checkpoint = heartstream_models::weights::Checkpoint::open(model).expect("a directory");
        let half = heartstream_models::weights::Storage::As(heartstream_models::WeightDtype::F16);
        let directory = ModelDirectory::open(checkpoint).expect("a model");
        let directory = directory.stored_as(heartstream_models::weights::Storage::Auto, half);
        let plan = Plan::new(&Placement { flow_workers: 1, threads: Some(1), ..Placement::default() });
        let size = crate::memory::SongSize::of(request, 1).expect("a song");
        let estimate =
            crate::memory::MemoryPlan::estimate(&directory, &plan.expect("a plan"), &size).expect("a forecast");
        estimate.streaming() - 1
    }
}
