//! Flow task: a segment on its way through the flow workers, its queues, and where its latents go.

use flume::{Receiver, Sender};
use heartstream_messages::{CodeSegment, Flow, LatentSegment, Stage};
use heartstream_models::{
    ModelError,
    heartcodec::{FlowJob, FlowMatching, LATENTS_PER_FRAME, StopCheck},
    signal::KeyedNoise,
};

use crate::{
    channel::{Inlet, Outlet},
    song_context::SongContext,
};

/// A segment to be decoded, and where its result and the end of its latents go.
pub struct FlowTask {
    /// The segment.
    pub segment: CodeSegment,
    /// Receives the latents that it shares with the segment before; `None` when it shares none.
    pub previous: Option<Receiver<Vec<f32>>>,
    /// The last played latents of the segment before; at least those that this one shares with it.
    pub known: Vec<f32>,
    /// To the worker of the next segment.
    pub hand_on: Sender<Vec<f32>>,
    /// The reserved place of the result.
    pub place: Sender<LatentSegment>,
}

impl FlowTask {
    /// The latents that its window begins with, of `channels` numbers each.
    pub fn in_context(&self, channels: usize) -> &[f32] {
        let shared = self.segment.known.0 as usize * LATENTS_PER_FRAME * channels;
        &self.known[self.known.len().saturating_sub(shared)..]
    }

    /// The place in the song of its first latent, which may be before the song.
    pub fn first_latent(&self) -> u64 {
        let lead_in = self.segment.lead_in.0 * LATENTS_PER_FRAME as u64;
        self.segment.first_frame.first_latent().0.wrapping_sub(lead_in)
    }

    /// Makes the result out of its latents, and hands the end of what it plays to the worker of the next segment: at
    /// most `handed_on` numbers.
    pub(crate) fn complete(
        &self,
        latents: Vec<f32>,
        (channels, handed_on): (usize, usize),
        (song, stage): (&SongContext, Stage),
    ) -> DecodedWindow {
        let segment = &self.segment;
        // The next segment computes the look-ahead again, so that is not handed on.
        let played = latents.len() - segment.look_ahead.0 as usize * LATENTS_PER_FRAME * channels;
        let end = latents[played.saturating_sub(handed_on)..played].to_vec();
        // The receiver is gone after the last segment; and a retried segment may have sent already.
        let _ = self.hand_on.try_send(end);
        song.meter.latents_are_there();
        song.meter.segments.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        song.meter.publish();
        song.meter.stage(stage).did_one();
        let CodeSegment { index, first_frame, lead_in, known, look_ahead, fade_out, song_end, .. } = *segment;
        let latents = LatentSegment { index, first_frame, latents, lead_in, known, look_ahead, fade_out, song_end };
        DecodedWindow { latents, place: self.place.clone() }
    }
}

/// Makes the latents of a window: a pure function of all but `cancelled`. `None` when that said so.
///
/// The noise is keyed by the place in the song, which is `first_latent` for the first: windows that overlap start from
/// the same noise where they do.
///
/// # Errors
/// When codes and in-context latents do not fit together, or the options are out of range.
pub fn solve_window(
    flow: &FlowMatching,
    codes: &[u16],
    (noise, first_latent): (KeyedNoise, u64),
    in_context: &[f32],
    options: Flow,
    cancelled: StopCheck<'_>,
) -> Result<Option<Vec<f32>>, ModelError> {
    let length = codes.len() / flow.quantizer.codebooks() * LATENTS_PER_FRAME;
    let mut start = vec![0f32; length * flow.channels()];
    noise.fill_latents(first_latent, flow.channels(), &mut start);
    flow.solve(FlowJob { codes, noise: &start, in_context, options }, cancelled)
}

/// A result and its place.
pub struct DecodedWindow {
    latents: LatentSegment,
    place: Sender<LatentSegment>,
}

impl DecodedWindow {
    /// Puts the result into its place, which always has room; false when no stage waits for it.
    pub(crate) async fn put(self) -> bool {
        self.place.send_async(self.latents).await.is_ok()
    }
}

/// Puts each result into its place.
pub struct ToPlaces;

impl Outlet for ToPlaces {
    type Item = DecodedWindow;

    async fn give(&mut self, placed: DecodedWindow) -> bool {
        placed.put().await
    }
}

/// The inlet of a flow worker on this machine. It takes tasks from the queue of all workers, waits for what each needs of
/// the segment before, and takes first what only this machine's workers may have: tasks that came back from elsewhere.
///
/// The worker of the segment before took it from a queue earlier, or it is among those that came back, which are taken
/// while this waits; so waiting always ends.
pub struct FlowInlet {
    tasks: Receiver<FlowTask>,
    /// Tasks for workers of this machine alone.
    local: Receiver<FlowTask>,
    /// A task that waits; kept here so that waiting is cancellation-safe.
    waiting: Option<FlowTask>,
}

impl FlowInlet {
    /// One of several inlets of the queues `tasks` and `local`.
    pub fn new(tasks: Receiver<FlowTask>, local: Receiver<FlowTask>) -> Self {
        Self { tasks, local, waiting: None }
    }
}

impl Inlet for FlowInlet {
    type Item = FlowTask;

    async fn take(&mut self) -> Option<FlowTask> {
        // A closed queue has nothing more to wait for.
        let local = async {
            match self.local.recv_async().await {
                Ok(task) => task,
                Err(_) => std::future::pending().await,
            }
        };
        let waited = tokio::select! {
            biased;
            task = local => return Some(task),
            task = ready(&self.tasks, &mut self.waiting) => task,
        };
        match waited {
            Some(task) => Some(task),
            // No more segments come, but other machines may still give some back.
            None => self.local.recv_async().await.ok(),
        }
    }
}

/// The next task of `tasks`, with what it needs of the segment before; `None` when there will be no more, or the segment
/// before was given up, and so the song. While it waits, the task is in `waiting`.
pub(crate) async fn ready(tasks: &Receiver<FlowTask>, waiting: &mut Option<FlowTask>) -> Option<FlowTask> {
    if waiting.is_none() {
        *waiting = Some(tasks.recv_async().await.ok()?);
    }
    if let Some(task) = waiting.as_mut()
        && let Some(previous) = &task.previous
    {
        task.known = previous.recv_async().await.ok()?;
        task.previous = None;
    }
    waiting.take()
}
