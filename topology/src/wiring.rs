//! Wiring: a plan and a request become actors and channels, from the sinks back to the source.
//!
//! Each stage is given its neighbour's end of a channel, so no half-wired state exists; both ends are moved into the
//! actors and none is kept, so that a dropped end always means an ended neighbour.

use std::{convert::Infallible, future::Future, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use flume::{Receiver, Sender, bounded};
use heartstream_actors::{
    StageActor, StageArgs, StageWork,
    channel::{InOrder, Inlet, Nowhere, Outlet, ToAll},
    codes_sink::CodesSinkStage,
    codes_source::CodesSourceStage,
    compute_site::ComputeSite,
    flow_task::{FlowInlet, ToPlaces},
    flow_worker::FlowWorkerStage,
    language_model::LanguageModelStage,
    lockstep::LockstepHandle,
    prefetcher::{PrefetchRing, PrefetcherArgs},
    prompt_tokenizer::PromptTokenizerStage,
    reader_queue::{QueuedItem, reader_queue},
    remote::{
        answer::is_orderable,
        stage::{RemoteFlowStage, RemoteInlet, ToPlacesOrLocal},
        workers::RemoteWorkers,
    },
    segmenter::{Deadline, Dispatch, LocalQueue, SegmenterStage},
    song_context::SongContext,
    song_writer::WriterSettings,
    speaker_sink::SpeakerSinkStage,
    stage_threads::{StageRun, StageThreads},
    stitcher::StitcherStage,
    subscriber_sink::SubscriberSinkStage,
    vocoder::VocoderStage,
    wav_sink::WavSinkStage,
};
use heartstream_messages::{
    CodeFrame, PcmBlock, SongReport, Stage,
    units::{Frames, Seconds},
};
use heartstream_models::{
    SongCodes,
    heartmula::{HeartMula, KeyedSampler},
    signal::Window,
    speculation::{Speculation, Speculator},
};
use kameo::actor::{ActorRef, Spawn};
use tokio::{
    runtime::Handle,
    sync::{mpsc::UnboundedReceiver, oneshot},
};

use crate::{
    capacity::Capacities,
    conductor::{Conductor, ConductorArgs, Ending, StageLink},
    decoder::Decoder,
    error::EngineError,
    lm_resources::LmResources,
    plan::{DraftSite, Plan},
    request::{CheckedRequest, Sound},
    saved_song::metadata,
    sink::Sink,
};

/// The reader's end of a song's blocks.
pub(crate) type Blocks = UnboundedReceiver<QueuedItem<Arc<PcmBlock>>>;

/// Handles of a wired song that are not moved into actors.
pub(crate) struct Wired {
    pub conductor: ActorRef<Conductor>,
    pub report: oneshot::Receiver<SongReport>,
    /// Closed when the engine has all threads of the song again, and the stages' resources are freed.
    pub all_threads_returned: Receiver<Infallible>,
    /// There when one of the sinks is the subscriber.
    pub blocks: Option<Blocks>,
}

/// Links an actor to the conductor.
type Link = Box<dyn FnOnce(ActorRef<Conductor>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Actors that are prepared and do not run yet.
#[derive(Default)]
pub(crate) struct Pieces {
    members: Vec<StageLink>,
    links: Vec<Link>,
    /// For each the thread that it needs.
    needs: Vec<(Stage, Option<ComputeSite>)>,
    /// For each what runs it to its end.
    runs: Vec<StageRun>,
}

impl Pieces {
    /// Prepares the actor of a stage that does not compute.
    pub fn add<W, I, O>(&mut self, work: W, inlet: I, outlet: O, song: &SongContext)
    where
        W: StageWork,
        I: Inlet<Item = W::Input>,
        O: Outlet<Item = W::Output>,
    {
        self.add_at(None, work, inlet, outlet, song);
    }

    /// Prepares the actor of a stage, with threads and cores to compute on if it has a site.
    fn add_at<W, I, O>(&mut self, site: Option<&ComputeSite>, work: W, inlet: I, outlet: O, song: &SongContext)
    where
        W: StageWork,
        I: Inlet<Item = W::Input>,
        O: Outlet<Item = W::Output>,
    {
        let prepared = StageActor::<W, I, O>::prepare();
        let actor = prepared.actor_ref().clone();
        let (linked, killed) = (actor.clone(), actor.clone());
        self.members.push(StageLink { id: actor.id(), stage: W::STAGE, end: Box::new(move || killed.kill()) });
        self.links.push(Box::new(move |conductor| Box::pin(async move { conductor.link(&linked).await })));
        let (runtime, song) = (Handle::current(), song.clone());
        // As kameo's own `spawn_in_thread`, but on a thread that outlives the actor.
        let run: StageRun = Box::new(move |pool| {
            // The finished actor is returned with all that it holds; it is dropped here.
            drop(runtime.block_on(prepared.run(StageArgs { work, inlet, outlet, pool, song })));
        });
        self.needs.push((W::STAGE, site.cloned()));
        self.runs.push(run);
    }

    /// Starts all actors, after the conductor is linked to each.
    ///
    /// # Errors
    /// When the system has no thread for one of them; then none starts.
    pub async fn start(
        self,
        threads: &StageThreads,
        song: SongContext,
        ending: Ending,
        blocks: Option<Blocks>,
    ) -> Result<Wired, EngineError> {
        let lent = threads.lend(self.needs.iter().map(|(stage, site)| (*stage, site.as_ref())));
        let lent = lent.map_err(|error| EngineError::Threads(error.to_string()))?;
        let (report, reported) = oneshot::channel();
        let conductor = Conductor::spawn(ConductorArgs { members: self.members, song, ending, report });
        for link in self.links {
            link(conductor.clone()).await;
        }
        Ok(Wired { conductor, report: reported, all_threads_returned: lent.run(self.runs), blocks })
    }
}

/// Inputs of the half of a song that writes its frames.
pub(crate) struct Writing<'a> {
    pub lm_resources: &'a LmResources,
    pub lm: &'a Arc<HeartMula>,
    pub plan: &'a Plan,
    pub checked: CheckedRequest,
    /// Writes the frames of all songs with these weights.
    pub lockstep: LockstepHandle,
    pub speculation: &'a Speculation,
    /// Files that save the codes.
    pub codes: Vec<PathBuf>,
    /// Who else takes the frames.
    pub frames: Option<Sender<CodeFrame>>,
}

/// Wires a song and starts it; its sound goes to `audio`.
pub(crate) async fn wire_song(
    writing: Writing<'_>,
    decoder: &Decoder,
    audio: Vec<Sink>,
    song: SongContext,
) -> Result<Wired, EngineError> {
    let mut pieces = Pieces::default();
    let SoundEnds { frames, blocks } = add_sound(&mut pieces, decoder, writing.checked.sound, audio, &song);
    let notes = add_writing(&mut pieces, writing, frames, &song)?;
    let ending = Ending { notes, is_the_songs: true };
    pieces.start(&decoder.threads, song, ending, blocks).await
}

/// Wires the half of a song that writes its frames, and starts it. They come out of the channel that is given back
/// beside what is wired, until there are no more.
pub(crate) async fn wire_writing(
    writing: Writing<'_>,
    threads: &StageThreads,
    song: SongContext,
) -> Result<(Wired, Receiver<CodeFrame>), EngineError> {
    let mut pieces = Pieces::default();
    let (frames, written) = bounded(writing.plan.capacities.frame_places());
    let notes = add_writing(&mut pieces, writing, frames, &song)?;
    let ending = Ending { notes, is_the_songs: false };
    Ok((pieces.start(threads, song, ending, None).await?, written))
}

/// Adds the stages from the words to the frames, which go to `frames` and into the files of `writing`; returns the notes
/// of the request.
fn add_writing(
    pieces: &mut Pieces,
    writing: Writing<'_>,
    frames: Sender<CodeFrame>,
    song: &SongContext,
) -> Result<Vec<String>, EngineError> {
    let Writing { lm_resources, lm, plan, checked, lockstep, speculation, codes, frames: also } = writing;
    let keepers = add_codes_sinks(pieces, lm_resources, &checked, codes, &plan.capacities, song);
    let CheckedRequest { request, sampler, resumed_from, notes, .. } = checked;
    let speculator = speculator(lm_resources, lm, plan.draft.as_ref(), speculation, sampler.clone())?;
    // Before the sound that is made of it, so that who takes both has no sound without its frames.
    let takers = also.into_iter().chain([frames]).chain(keepers).collect();
    let (prompts, prompts_out) = bounded(1);
    let settings = WriterSettings {
        speculator,
        sampler,
        learned: lm_resources.learned.clone(),
        audio_eos: lm_resources.audio_eos,
        guidance: request.sampling.cfg_scale,
        max_frames: request.max_frames,
        resumed_from,
    };
    let (stage, inlet) = LanguageModelStage::new(lockstep, settings, ToAll(takers), prompts_out, song.clone());
    pieces.add(stage, inlet, Nowhere, song);

    let (requests, requests_out) = bounded(1);
    let tokenizer = PromptTokenizerStage::new(Arc::clone(&lm_resources.tokenizer), song.clone());
    pieces.add(tokenizer, requests_out, prompts, song);
    let _ = requests.try_send(request); // the channel is empty and has a place; dropping its sender ends the source
    Ok(notes)
}

/// Adds stages that save the codes of a song in files; where they take the frames.
pub(crate) fn add_codes_sinks(
    pieces: &mut Pieces,
    lm_resources: &LmResources,
    checked: &CheckedRequest,
    codes: Vec<PathBuf>,
    capacities: &Capacities,
    song: &SongContext,
) -> Vec<Sender<CodeFrame>> {
    let mut takers = Vec::new();
    for path in codes {
        let (give, take) = bounded(capacities.frame_places());
        let notes = metadata(&checked.request, &lm_resources.fingerprint);
        let kept = SongCodes { codebooks: lm_resources.sizes.audio_num_codebooks, codes: Vec::new(), notes };
        let stage = CodesSinkStage::new(path, kept, checked.resumed_from.codes.len(), song.clone());
        pieces.add(stage, take, Nowhere, song);
        takers.push(give);
    }
    takers
}

/// Speculator of a song, with a prefetcher where the plan has cores for one.
fn speculator(
    lm_resources: &LmResources,
    lm: &Arc<HeartMula>,
    site: Option<&DraftSite>,
    speculation: &Speculation,
    sampler: KeyedSampler,
) -> Result<Speculator, EngineError> {
    let inputs = lm_resources.drafter_inputs(lm);
    let speculator = Speculator::new(speculation, sampler.clone(), &inputs, lm_resources.learned.get())?;
    let Some(site) = site.filter(|_| *speculation != Speculation::Off) else { return Ok(speculator) };
    let drafters = Speculator::prefetchers(speculation, &lm_resources.prefetch_inputs(lm))?;
    let args = PrefetcherArgs { drafters, sampler, cores: site.cores.clone(), max_wait: Duration::ZERO };
    let ring = PrefetchRing::start(args).map_err(|error| EngineError::Threads(error.to_string()))?;
    Ok(speculator.with_prefetch(Box::new(ring)))
}

/// Wires the decoding of a saved song and starts it.
pub(crate) async fn wire_decoding(
    decoder: &Decoder,
    kept: SongCodes,
    sound: Sound,
    sinks: Vec<Sink>,
    song: SongContext,
) -> Result<Wired, EngineError> {
    let mut pieces = Pieces::default();
    let SoundEnds { frames, blocks } = add_sound(&mut pieces, decoder, sound, sinks, &song);
    let (songs, songs_out) = bounded(1);
    pieces.add(CodesSourceStage::new(song.clone()), songs_out, frames, &song);
    let _ = songs.try_send(Arc::new(kept)); // the channel is empty and has a place
    drop(songs);
    let ending = Ending { notes: Vec::new(), is_the_songs: true };
    pieces.start(&decoder.threads, song, ending, blocks).await
}

/// The outer ends of the half of a song that makes sound.
struct SoundEnds {
    frames: Sender<CodeFrame>,
    blocks: Option<Blocks>,
}

/// Adds the sinks of a song; where they take its blocks, and where a reader has them.
pub(crate) fn add_sinks(
    pieces: &mut Pieces,
    sound: Sound,
    sinks: Vec<Sink>,
    capacities: &Capacities,
    song: &SongContext,
) -> (Vec<Sender<Arc<PcmBlock>>>, Option<Blocks>) {
    let Sound { segments, noise, longest, .. } = sound;
    let mut subscriber = None;
    let mut takers: Vec<Sender<Arc<PcmBlock>>> = Vec::new();
    for (index, sink) in sinks.into_iter().enumerate() {
        let (give, take) = bounded(capacities.block_places());
        takers.push(give);
        match sink {
            Sink::Wav(target) => {
                pieces.add(WavSinkStage::new(target, noise, index, song.clone()), take, Nowhere, song);
            }
            Sink::Speaker(speaker) => {
                // Audio comes as the flow workers finish it: all that is played of a window at once, but for what the
                // next one fades.
                let end = |window: Window| Frames((window.played_end() - window.fade_out) as u64).seconds();
                let deliveries: Vec<Seconds> = segments.windows(longest.0 as usize).into_iter().map(end).collect();
                let stage = SpeakerSinkStage::new(speaker, index, longest, &deliveries, song.clone());
                pieces.add(stage, take, Nowhere, song);
            }
            Sink::Subscriber => {
                let (hand_out, places, blocks) = reader_queue(capacities.block_places());
                subscriber = Some(blocks);
                pieces.add(SubscriberSinkStage::new(index, song.clone()), take, hand_out, song);
                // What was made before the song was cancelled is its reader's.
                if let Some(member) = pieces.members.last_mut() {
                    let kill = std::mem::replace(&mut member.end, Box::new(|| ()));
                    member.end = Box::new(move || {
                        let _actor = &kill; // which ends with its last reference
                        places.open();
                    });
                }
            }
        }
    }
    (takers, subscriber)
}

/// Adds the stages from the segmenter to the sinks.
fn add_sound(pieces: &mut Pieces, decoder: &Decoder, sound: Sound, sinks: Vec<Sink>, song: &SongContext) -> SoundEnds {
    let Decoder { codec, workers, plan, .. } = decoder;
    let Plan { flow: flow_sites, vocoder, capacities, windows, .. } = plan;
    let (takers, subscriber) = add_sinks(pieces, sound, sinks, capacities, song);
    let Sound { segments, deadline, flow, noise, .. } = sound;
    let (pcm, pcm_out) = bounded(capacities.sound_places());
    pieces.add(StitcherStage::new(segments.edge_fade(), song.clone()), pcm_out, ToAll(takers), song);

    let remote = song.engine.remote.clone().filter(|_| {
        let orderable = is_orderable(flow);
        if !orderable {
            song.mishaps.note("other machines take no windows of this number of steps or of such guidance".to_owned());
        }
        orderable
    });
    let elsewhere = remote.as_ref().map_or(0, RemoteWorkers::stages);
    let segment_places = capacities.segment_places(*windows, flow_sites.len() + elsewhere);
    let (places, places_out) = bounded(segment_places);
    // Only a deadline needs the stages' rates, and the engine's first song measures them for all.
    let rates = &song.engine.rates;
    let measure_sound = deadline.is_some() && rates.sound().is_none();
    let stage = VocoderStage::new(Arc::clone(codec), segments, measure_sound, song.clone());
    pieces.add_at(Some(vocoder), stage, InOrder::new(places_out, song.stop.clone()), pcm, song);

    let (tasks, tasks_out) = bounded(segment_places);
    let (local, local_out) = bounded(segment_places + 1);
    let (coming, coming_out) = bounded(0);
    let measure_flow = deadline.is_some() && rates.flow(flow).is_none();
    for (worker, (site, codec)) in flow_sites.iter().zip(workers).enumerate() {
        let (codec, handed_on) = (Arc::clone(codec), segments.longest_overlap());
        let stage = FlowWorkerStage::new(codec, flow, noise, handed_on, measure_flow && worker == 0, song.clone());
        pieces.add_at(Some(site), stage, FlowInlet::new(tasks_out.clone(), local_out.clone()), ToPlaces, song);
    }
    for workers in std::iter::repeat_n(&remote, elsewhere).flatten() {
        let (handed_on, runtime) = (segments.longest_overlap(), Handle::current());
        let stage = RemoteFlowStage::new(workers.clone(), flow, noise, handed_on, runtime, song.clone());
        let inlet = RemoteInlet::new(tasks_out.clone(), coming_out.clone(), workers.clone());
        pieces.add(stage, inlet, ToPlacesOrLocal(local.clone()), song);
    }
    drop((tasks_out, local_out)); // only workers hold them, so that the channels close with the last of them
    let local = remote.is_some().then_some(LocalQueue { tasks: local, coming });

    let (frames, frames_out) = bounded(capacities.frame_places());
    let codebooks = codec.flow.quantizer.codebooks();
    let deadline = deadline.map(|within| Deadline { within, flow });
    let stage = SegmenterStage::new(segments, deadline, codebooks, song.clone());
    pieces.add(stage, frames_out, Dispatch::new(tasks, local, places), song);
    SoundEnds { frames, blocks: subscriber }
}
