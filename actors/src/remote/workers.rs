//! Workers on other machines: which are free, how fast each is, until when it must answer, and which are left out.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use heartstream_messages::{FlowAnswer, FlowKind, FlowOrder, FlowRefusal, SongRefusal};
use tokio::sync::{mpsc, watch};

use super::{
    answer::{WrongAnswer, checked},
    song_part::WrongPart,
};

/// How often a deadline is longer than what the measured rate says. A window of 372 frames takes up to twice as long for a
/// frame as the proof window, for attention sees all of it; the rest is for what else the machine does.
const DEADLINE_FACTOR: f64 = 4.0;
/// Part of a deadline that no rate shortens: connections lose packets and send them again, for seconds.
const DEADLINE_FLOOR: Duration = Duration::from_secs(3);
/// Upper limit of a deadline.
const LONGEST_DEADLINE: Duration = Duration::from_secs(600);
/// A worker is left out that takes this often as long as this machine, ...
const SLOW_FACTOR: f64 = 4.0;
/// ... and this long for a window: what is quicker does not hold up a song.
const SLOW_SECONDS: f64 = 5.0;
/// Weight of the newest measurement in a worker's rate.
const NEWEST: f64 = 0.3;
/// Stages of a song that send windows, at most; as many as flow workers of one machine.
const MOST_STAGES: usize = 64;

/// Sends a window to a worker, and waits for its answer.
pub type Ask = Arc<dyn Fn(FlowOrder, Duration) -> Asked + Send + Sync>;
/// An answer that is waited for.
pub type Asked = Pin<Box<dyn Future<Output = Result<FlowAnswer, Fault>> + Send>>;

/// Why a worker is left out; the worker's name stands before the sentence.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// It did not answer in time.
    #[error("it did not answer in time")]
    Late,
    /// It cannot be reached.
    #[error("it is gone ({0})")]
    Gone(String),
    /// It takes much longer than this machine.
    #[error("it takes {0:.0} times as long as this machine")]
    Slow(f64),
    /// It refused the window.
    #[error("{0}")]
    Refused(FlowRefusal),
    /// Its answer is none.
    #[error("{0}")]
    Wrong(#[from] WrongAnswer),
    /// It refused the song.
    #[error("{0}")]
    SongRefused(SongRefusal),
    /// A part of its song is none.
    #[error("{0}")]
    WrongPart(#[from] WrongPart),
    /// It makes a song much more slowly than it was measured.
    #[error("it makes the song much more slowly than it was measured")]
    Behind,
}

impl Fault {
    /// Whether the worker is never asked again: it would be wrong again.
    pub fn is_for_good(&self) -> bool {
        let other_kind =
            matches!(self, Self::Refused(FlowRefusal::OtherKind(_)) | Self::SongRefused(SongRefusal::OtherKind(_)));
        other_kind || matches!(self, Self::Wrong(_) | Self::WrongPart(_))
    }
}

/// What became of a worker that is left out.
#[derive(Debug)]
pub struct LeftOut {
    /// The worker.
    pub key: u64,
    /// Why.
    pub fault: Fault,
}

/// The workers that an engine has on other machines. Clones share them.
#[derive(Clone)]
pub struct RemoteWorkers(Arc<Inner>);

struct Inner {
    kind: FlowKind,
    /// Codes of a frame and numbers of a latent.
    sizes: (usize, usize),
    stages: usize,
    /// Seconds that this machine takes for a unit of work, once it was measured.
    local_seconds: Option<f64>,
    workers: Mutex<Workers>,
    /// How many are free.
    free: watch::Sender<usize>,
    left_out: mpsc::UnboundedSender<LeftOut>,
}

#[derive(Default)]
struct Workers {
    last_key: u64,
    all: Vec<Worker>,
}

#[derive(Clone)]
struct Worker {
    key: u64,
    name: Arc<str>,
    ask: Ask,
    /// Seconds for a unit of work, with the way there and back.
    rate: f64,
    busy: bool,
}

impl fmt::Debug for RemoteWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteWorkers").field("kind", &self.0.kind).field("count", &self.count()).finish()
    }
}

/// Work of a window: its frames times the steps, twice with guidance.
pub fn work(order: &FlowOrder, codebooks: usize) -> f64 {
    let rows = if order.flow.guidance > 1.0 { 2 } else { 1 };
    (order.codes.len() / codebooks.max(1) * order.flow.steps * rows) as f64
}

impl RemoteWorkers {
    /// No workers yet, of those whose latents have `kind`, with `sizes` codes in a frame and numbers in a latent. A song
    /// sends them up to `stages` windows at once. This machine takes `local_seconds` for a unit of work. Excluded
    /// workers are sent to the receiver.
    pub fn new(
        kind: FlowKind,
        sizes: (usize, usize),
        stages: usize,
        local_seconds: Option<f64>,
    ) -> (Self, mpsc::UnboundedReceiver<LeftOut>) {
        let (left_out, said) = mpsc::unbounded_channel();
        let (workers, free) = (Mutex::default(), watch::Sender::new(0));
        let stages = stages.clamp(1, MOST_STAGES);
        (Self(Arc::new(Inner { kind, sizes, stages, local_seconds, workers, free, left_out })), said)
    }

    /// What a worker must be.
    pub fn kind(&self) -> &FlowKind {
        &self.0.kind
    }

    /// Codes of a frame, and numbers of a latent.
    pub fn sizes(&self) -> (usize, usize) {
        self.0.sizes
    }

    /// How many windows a song sends at once.
    pub fn stages(&self) -> usize {
        self.0.stages
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.0.lock().all.len()
    }

    /// Adds a worker, whose seconds for a unit of work were measured; its key.
    pub fn join(&self, name: &str, ask: Ask, rate: f64) -> u64 {
        let mut workers = self.0.lock();
        workers.last_key += 1;
        let key = workers.last_key;
        workers.all.push(Worker { key, name: name.into(), ask, rate, busy: false });
        self.0.count_free(&workers);
        key
    }

    /// Removes a worker, such as one whose connection is gone.
    pub fn leave(&self, key: u64) {
        let mut workers = self.0.lock();
        workers.all.retain(|worker| worker.key != key);
        self.0.count_free(&workers);
    }

    /// Waits until a worker is free.
    pub async fn free(&self) {
        let mut free = self.0.free.subscribe();
        if free.wait_for(|free| *free > 0).await.is_err() {
            std::future::pending().await // the sender lives as long as this
        }
    }

    /// Whether a worker is free.
    pub fn any_free(&self) -> bool {
        *self.0.free.borrow() > 0
    }

    /// The fastest worker that is free, which then is not.
    pub fn lease(&self) -> Option<Lease> {
        let mut workers = self.0.lock();
        let free = workers.all.iter_mut().filter(|worker| !worker.busy);
        let worker = free.min_by(|one, other| one.rate.total_cmp(&other.rate))?;
        worker.busy = true;
        let worker = worker.clone();
        self.0.count_free(&workers);
        Some(Lease { worker, inner: Arc::clone(&self.0), fault: None })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_free(&self, workers: &Workers) {
        self.free.send_replace(workers.all.iter().filter(|worker| !worker.busy).count());
    }
}

/// A worker for one window; it is free again when this is dropped.
pub struct Lease {
    worker: Worker,
    inner: Arc<Inner>,
    fault: Option<Fault>,
}

impl Lease {
    /// The worker's name.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.worker.name)
    }

    /// Sends a window, and gives the latents that came back, checked. A worker with a fault is left out from here on.
    ///
    /// # Errors
    /// The fault.
    pub async fn decode(mut self, order: FlowOrder) -> Result<Vec<f32>, Fault> {
        let (since, work) = (Instant::now(), work(&order, self.inner.sizes.0));
        let deadline = deadline(self.worker.rate, work);
        let asked = tokio::time::timeout(deadline, (self.worker.ask)(order.clone(), deadline)).await;
        let answer = asked.unwrap_or(Err(Fault::Late));
        let latents = answer.and_then(|answer| Ok(checked(&order, answer, self.inner.sizes)?));
        match &latents {
            Ok(_) => self.fault = self.measured(since.elapsed().as_secs_f64(), work),
            Err(fault) => self.fault = Some(fault.clone()),
        }
        latents
    }

    /// Takes a measurement into the rate; a fault when the worker turns out to be slow.
    fn measured(&mut self, seconds: f64, work: f64) -> Option<Fault> {
        self.worker.rate += NEWEST * (seconds / work.max(1.0) - self.worker.rate);
        let times = self.worker.rate / self.inner.local_seconds?;
        (times > SLOW_FACTOR && seconds > SLOW_SECONDS).then_some(Fault::Slow(times))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut workers = self.inner.lock();
        let key = self.worker.key;
        if let Some(fault) = self.fault.take() {
            workers.all.retain(|worker| worker.key != key);
            let _ = self.inner.left_out.send(LeftOut { key, fault }); // the engine may be gone
        } else if let Some(worker) = workers.all.iter_mut().find(|worker| worker.key == key) {
            (worker.rate, worker.busy) = (self.worker.rate, false);
        }
        self.inner.count_free(&workers);
    }
}

/// Time that a worker has for `work`, at `rate` seconds for a unit.
fn deadline(rate: f64, work: f64) -> Duration {
    let seconds = (DEADLINE_FACTOR * rate.max(0.0) * work).min(LONGEST_DEADLINE.as_secs_f64());
    (DEADLINE_FLOOR + Duration::try_from_secs_f64(seconds).unwrap_or_default()).min(LONGEST_DEADLINE)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::remote::answer::checksum;
    use heartstream_messages::{Flow, Numbers};

    pub(crate) fn kind() -> FlowKind {
        FlowKind { engine: "0".to_owned(), codec: "c".to_owned(), kernels: "k".to_owned() }
    }

    fn order() -> FlowOrder {
        let flow = Flow { steps: 2, guidance: 1.25 };
        FlowOrder { kind: kind(), codes: vec![1; 4], noise_key: 1, first_latent: 0, flow, known: Numbers::default() }
    }

    /// A worker that says `latents`.
    fn saying(latents: Vec<f32>) -> Ask {
        Arc::new(move |order: FlowOrder, _| {
            let latents = Numbers(latents.clone());
            Box::pin(std::future::ready(Ok(FlowAnswer { checksum: checksum(&order, &latents), latents })))
        })
    }

    fn workers(local_seconds: f64) -> (RemoteWorkers, mpsc::UnboundedReceiver<LeftOut>) {
        RemoteWorkers::new(kind(), (1, 2), 2, Some(local_seconds))
    }

    #[tokio::test]
    async fn the_fastest_free_worker_is_leased_and_is_free_again_afterwards() {
        let (workers, _left_out) = workers(1.0);
        assert!(workers.lease().is_none() && !workers.any_free());
        workers.join("slow", saying(vec![0.0; 16]), 2.0);
        workers.join("fast", saying(vec![0.0; 16]), 1.0);
        let fast = workers.lease().expect("a worker");
        let slow = workers.lease().expect("another one");
        assert_eq!((&*fast.name(), &*slow.name()), ("fast", "slow"));
        assert!(workers.lease().is_none());
        assert_eq!(fast.decode(order()).await, Ok(vec![0.0; 16]));
        workers.free().await;
        assert_eq!(&*workers.lease().expect("it is free").name(), "fast");
    }

    #[tokio::test]
    async fn a_worker_that_is_late_or_gone_is_left_out_for_a_while() {
        let (workers, mut left_out) = workers(1.0);
        for fault in [Fault::Late, Fault::Gone("the connection was closed".to_owned())] {
            let given = fault.clone();
            let ask: Ask = Arc::new(move |_, _| Box::pin(std::future::ready(Err(given.clone()))));
            let key = workers.join("worker", ask, 1.0);
            assert_eq!(workers.lease().expect("a worker").decode(order()).await, Err(fault.clone()));
            let said = left_out.recv().await.expect("a fault");
            assert_eq!((said.key, said.fault.is_for_good(), workers.count()), (key, false, 0));
            assert_eq!(said.fault, fault);
        }
    }

    #[tokio::test]
    async fn a_worker_that_answers_garbage_is_left_out_for_good() {
        let (workers, mut left_out) = workers(1.0);
        for garbage in [vec![], vec![0.0; 17], vec![f32::NAN; 16]] {
            workers.join("liar", saying(garbage), 1.0);
            assert!(workers.lease().expect("a worker").decode(order()).await.is_err());
            assert!(left_out.recv().await.expect("a fault").fault.is_for_good());
            assert_eq!(workers.count(), 0);
        }
    }

    #[test]
    fn a_worker_is_slow_that_takes_long_and_much_longer_than_this_machine() {
        let (workers, _left_out) = workers(1.0);
        workers.join("worker", saying(vec![]), 1.0);
        let mut lease = workers.lease().expect("a worker");
        assert_eq!(lease.measured(4.0, 0.5), None, "four seconds hold up no song");
        assert!(matches!(lease.measured(600.0, 20.0), Some(Fault::Slow(_))));
        let mut lease =
            Lease { worker: Worker { rate: 1.0, ..lease.worker.clone() }, inner: Arc::clone(&workers.0), fault: None };
        assert_eq!(lease.measured(60.0, 20.0), None, "three times as long is not slow");
    }

    #[test]
    fn a_deadline_follows_the_rate_within_its_limits() {
        assert_eq!(deadline(0.0, 1e9), DEADLINE_FLOOR);
        assert_eq!(deadline(0.01, 100.0), DEADLINE_FLOOR + Duration::from_secs(4));
        for rate in [1e30, f64::INFINITY] {
            assert_eq!(deadline(rate, 100.0), LONGEST_DEADLINE);
        }
        assert_eq!(deadline(f64::NAN, 100.0), DEADLINE_FLOOR);
    }
}
