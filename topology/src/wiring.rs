//! Who is next to whom? A plan and a request become actors and channels, from the sinks back to the source.
//!
//! Each stage is given its neighbour's end of a channel, so no half-wired state exists; both ends are moved into the
//! actors and none is kept, so that a dropped end always means an ended neighbour.

use std::{future::Future, pin::Pin, sync::Arc};

use flume::{Receiver, Sender, bounded};
use heartstream_actors::{
    StageActor, StageArgs, StageWork,
    channel::{InOrder, Inlet, Nowhere, Outlet, ToAll},
    compute_site::ComputeSite,
    flow_worker::{FlowInlet, FlowWorkerStage, ToPlaces},
    language_model::LanguageModelStage,
    prompt_tokenizer::PromptTokenizerStage,
    segmenter::{Dispatch, SegmenterStage},
    song_context::SongContext,
    speaker_sink::SpeakerSinkStage,
    stitcher::StitcherStage,
    subscriber_sink::SubscriberSinkStage,
    vocoder::VocoderStage,
    wav_sink::WavSinkStage,
};
use heartstream_messages::{
    PcmBlock, SongReport,
    units::{Frames, SAMPLES_PER_FRAME},
};
use kameo::actor::{ActorRef, Spawn};
use tokio::sync::oneshot;

use crate::{
    conductor::{Conductor, ConductorArgs, Member},
    engine::{Models, Sink},
    plan::Plan,
    request::CheckedRequest,
};

/// The ends that stay outside of a wired song.
pub(crate) struct Wired {
    pub conductor: ActorRef<Conductor>,
    pub report: oneshot::Receiver<SongReport>,
    /// There when one of the sinks is the subscriber.
    pub blocks: Option<Receiver<Arc<PcmBlock>>>,
}

/// Links an actor to the conductor.
type Link = Box<dyn FnOnce(ActorRef<Conductor>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Actors that are prepared and do not run yet.
#[derive(Default)]
struct Troupe {
    members: Vec<Member>,
    links: Vec<Link>,
    starts: Vec<Box<dyn FnOnce() + Send>>,
}

impl Troupe {
    /// Prepares the actor of a stage.
    fn add<W, I, O>(&mut self, args: StageArgs<W, I, O>)
    where
        W: StageWork,
        I: Inlet<Item = W::Input>,
        O: Outlet<Item = W::Output>,
    {
        let prepared = StageActor::<W, I, O>::prepare();
        let actor = prepared.actor_ref().clone();
        let (linked, killed) = (actor.clone(), actor.clone());
        self.members.push(Member { id: actor.id(), stage: W::STAGE, kill: Box::new(move || killed.kill()) });
        self.links.push(Box::new(move |conductor| Box::pin(async move { conductor.link(&linked).await })));
        // A finished thread that is kept for joining would keep its actor's channels too: so it is let go.
        self.starts.push(Box::new(move || drop(prepared.spawn_in_thread(args))));
    }

    /// Starts everybody, but only after the conductor will hear of each one's end.
    async fn start(
        self,
        song: SongContext,
        notes: Vec<String>,
    ) -> (ActorRef<Conductor>, oneshot::Receiver<SongReport>) {
        let (report, reported) = oneshot::channel();
        let conductor = Conductor::spawn(ConductorArgs { members: self.members, song, notes, report });
        for link in self.links {
            link(conductor.clone()).await;
        }
        for start in self.starts {
            start();
        }
        (conductor, reported)
    }
}

/// Wires a song and starts it.
pub(crate) async fn wire(
    models: &Models,
    plan: &Plan,
    checked: CheckedRequest,
    sinks: Vec<Sink>,
    song: SongContext,
) -> Wired {
    let CheckedRequest { request, sampler, flow, noise, notes } = checked;
    let Plan { lm, flow: flow_sites, vocoder, capacities, windows } = plan;
    let mut troupe = Troupe::default();
    let mut subscriber = None;
    let block_takers = sinks.into_iter().enumerate().map(|(index, sink)| {
        let (give, take) = bounded(capacities.block_places());
        match sink {
            Sink::Wav(target) => troupe.add(idle(WavSinkStage::new(target, index, song.clone()), take, Nowhere, &song)),
            Sink::Speaker(speaker) => {
                // Audio comes as the flow workers finish it: the new frames of a whole window at once.
                let at_once = Frames(windows.hop as u64).seconds();
                let stage = SpeakerSinkStage::new(speaker, index, request.max_frames, at_once, song.clone());
                troupe.add(idle(stage, take, Nowhere, &song))
            }
            Sink::Subscriber => {
                let (hand_out, blocks) = bounded(capacities.block_places());
                subscriber = Some(blocks);
                troupe.add(idle(SubscriberSinkStage::new(index, song.clone()), take, hand_out, &song));
            }
        }
        give
    });
    let block_takers: Vec<Sender<Arc<PcmBlock>>> = block_takers.collect();

    let (sound, sound_out) = bounded(capacities.sound_places(*windows));
    let overlap = windows.overlap_samples(SAMPLES_PER_FRAME as usize);
    troupe.add(idle(StitcherStage::new(overlap, song.clone()), sound_out, ToAll(block_takers), &song));

    let segment_places = capacities.segment_places(*windows, flow_sites.len());
    let (places, places_out) = bounded(segment_places);
    troupe.add(busy(
        VocoderStage::new(Arc::clone(&models.codec), *windows, song.clone()),
        InOrder::new(places_out),
        sound,
        vocoder,
        &song,
    ));

    let (tasks, tasks_out) = bounded(segment_places);
    for site in flow_sites {
        let worker = FlowWorkerStage::new(Arc::clone(&models.codec), flow, noise, windows.overlap(), song.clone());
        troupe.add(busy(worker, FlowInlet::new(tasks_out.clone()), ToPlaces, site, &song));
    }
    drop(tasks_out); // only workers hold it, so that their death is seen

    let (frames, frames_out) = bounded(capacities.frame_places());
    let codebooks = models.codec.flow.quantizer.codebooks();
    troupe.add(idle(
        SegmenterStage::new(*windows, codebooks, song.clone()),
        frames_out,
        Dispatch::new(tasks, places),
        &song,
    ));

    let (prompts, prompts_out) = bounded(1);
    let (guidance, max_frames) = (request.sampling.cfg_scale, request.max_frames);
    let writer =
        LanguageModelStage::new(Arc::clone(&models.lm), sampler, models.audio_eos, guidance, max_frames, song.clone());
    troupe.add(busy(writer, prompts_out, frames, lm, &song));

    let (requests, requests_out) = bounded(1);
    troupe.add(idle(
        PromptTokenizerStage::new(Arc::clone(&models.tokenizer), song.clone()),
        requests_out,
        prompts,
        &song,
    ));
    let _ = requests.try_send(request); // the channel is empty and has a place; dropping its sender ends the source
    drop(requests);

    let (conductor, report) = troupe.start(song, notes).await;
    Wired { conductor, report, blocks: subscriber }
}

/// A stage that does not compute.
fn idle<W, I, O>(work: W, inlet: I, outlet: O, song: &SongContext) -> StageArgs<W, I, O> {
    StageArgs { work, inlet, outlet, site: None, song: song.clone() }
}

/// A stage with threads and cores of its own.
fn busy<W, I, O>(work: W, inlet: I, outlet: O, site: &ComputeSite, song: &SongContext) -> StageArgs<W, I, O> {
    StageArgs { work, inlet, outlet, site: Some(site.clone()), song: song.clone() }
}
