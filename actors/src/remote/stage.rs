//! Remote flow: a song's windows on their way to workers of other machines, and back.
//!
//! A window whose worker is late, gone or wrong goes back to the workers of this machine. It is a pure function of its
//! order, so the song is the same. Each is given away once: what went wrong once waits for no second machine.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use flume::{Receiver, RecvTimeoutError, Sender};
use heartstream_messages::{Flow, FlowOrder, Numbers, Stage};
use heartstream_models::{heartcodec::LATENTS_PER_FRAME, signal::KeyedNoise};
use tokio::runtime::Handle;

use super::workers::RemoteWorkers;
use crate::{
    channel::{Inlet, Outlet},
    flow_task::{DecodedWindow, FlowTask, ready},
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
};

/// How often a stage that waits for an answer looks whether its song was ended.
const REST: Duration = Duration::from_millis(20);

/// Sends one segment after the other to a worker that is free.
pub struct RemoteFlowStage {
    workers: RemoteWorkers,
    options: Flow,
    noise: KeyedNoise,
    /// Numbers that the next segment may need.
    handed_on: usize,
    runtime: Handle,
    song: SongContext,
}

impl RemoteFlowStage {
    /// One of the stages that send segments to `workers`; the last `handed_on` frames that each segment plays are handed
    /// on. Answers are waited for in `runtime`.
    pub fn new(
        workers: RemoteWorkers,
        options: Flow,
        noise: KeyedNoise,
        handed_on: usize,
        runtime: Handle,
        song: SongContext,
    ) -> Self {
        let handed_on = handed_on * LATENTS_PER_FRAME * workers.sizes().1;
        Self { workers, options, noise, handed_on, runtime, song }
    }

    fn order(&self, task: &FlowTask) -> FlowOrder {
        let [low, high] = self.noise.key();
        FlowOrder {
            kind: self.workers.kind().clone(),
            codes: task.segment.codes.clone(),
            noise_key: u64::from(high) << 32 | u64::from(low),
            first_latent: task.first_latent(),
            flow: self.options,
            known: Numbers(task.in_context(self.workers.sizes().1).to_vec()),
        }
    }

    /// `None` when the song was ended: the place of the segment is given up.
    fn decode(&self, task: FlowTask) -> Option<Sent> {
        let Some(lease) = self.workers.lease() else { return Some(Sent::Back(task)) };
        let (name, (give, answer)) = (lease.name(), flume::bounded(1));
        let decoding = lease.decode(self.order(&task));
        self.runtime.spawn(async move {
            let _ = give.send(decoding.await); // the song may have been ended
        });
        let decoded = loop {
            match answer.recv_timeout(REST) {
                Err(RecvTimeoutError::Timeout) if self.song.stop.is_set() => return None,
                Err(RecvTimeoutError::Timeout) => (),
                // The runtime ends, or the answer's task has: a segment without latents would look like the song's end.
                Err(RecvTimeoutError::Disconnected) => return Some(Sent::Back(task)),
                Ok(decoded) => break decoded,
            }
        };
        match decoded {
            Ok(latents) => {
                let sizes = (self.workers.sizes().1, self.handed_on);
                Some(Sent::Decoded(task.complete(latents, sizes, (&self.song, Self::STAGE))))
            }
            Err(fault) => {
                let sentence = format!("the worker {name} is left out: {fault}; its window is decoded on this machine");
                self.song.mishaps.note(sentence);
                Some(Sent::Back(task))
            }
        }
    }
}

/// What became of a segment.
pub enum Sent {
    /// Its latents are there.
    Decoded(DecodedWindow),
    /// It must be decoded on this machine.
    Back(FlowTask),
}

impl StageWork for RemoteFlowStage {
    const STAGE: Stage = Stage::RemoteFlow;
    type Input = FlowTask;
    type Output = Sent;

    fn step(&mut self, event: Event<FlowTask>, outputs: &mut VecDeque<Sent>) -> Result<Next, Failure> {
        if let Event::Input(task) = event {
            outputs.extend(self.decode(task));
        }
        Ok(Next::Input)
    }
}

/// The inlet of a remote flow stage. It takes a task when a worker is free; when no more tasks come and none is free, it
/// ends, and leaves what is queued to this machine.
pub struct RemoteInlet {
    tasks: Receiver<FlowTask>,
    /// Closed when no more tasks come.
    coming: Receiver<Infallible>,
    workers: RemoteWorkers,
    /// A task that waits; kept here so that waiting is cancellation-safe.
    waiting: Option<FlowTask>,
}

impl RemoteInlet {
    /// One of several inlets of the queue `tasks`; the sender of `coming` is dropped after the last task was sent.
    pub fn new(tasks: Receiver<FlowTask>, coming: Receiver<Infallible>, workers: RemoteWorkers) -> Self {
        Self { tasks, coming, workers, waiting: None }
    }
}

impl Inlet for RemoteInlet {
    type Item = FlowTask;

    async fn take(&mut self) -> Option<FlowTask> {
        if self.waiting.is_none() {
            tokio::select! {
                biased;
                () = self.workers.free() => (),
                _ = self.coming.recv_async() => return None,
            }
        }
        ready(&self.tasks, &mut self.waiting).await
    }
}

/// Puts each result into its place, and what came back into the queue of this machine's workers, which has room for all.
pub struct ToPlacesOrLocal(pub Sender<FlowTask>);

impl Outlet for ToPlacesOrLocal {
    type Item = Sent;

    async fn give(&mut self, sent: Sent) -> bool {
        match sent {
            Sent::Decoded(placed) => placed.put().await,
            Sent::Back(task) => self.0.send_async(task).await.is_ok(),
        }
    }
}
