//! Song workers: machines that make whole songs, how many each makes, how fast, and which are left out.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use heartstream_messages::{SongAnswer, SongCall, SongKind, SongRefusal};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::workers::{Fault, LeftOut};

/// Weight of the newest song in a worker's rate.
const NEWEST: f64 = 0.3;
/// For how long a worker gets no song that others keep busy.
const FULL_PAUSE: Duration = Duration::from_secs(2);

/// Says something to a worker, and waits for its answer.
pub type AskForSong = Arc<dyn Fn(SongCall, Duration) -> SongAsked + Send + Sync>;
/// An answer that is waited for.
pub type SongAsked = Pin<Box<dyn Future<Output = Result<SongAnswer, Fault>> + Send>>;

/// The machines that make songs for an engine. Clones share them.
#[derive(Clone)]
pub struct SongWorkers(Arc<Inner>);

struct Inner {
    kind: SongKind,
    /// Seconds that this machine takes for a frame, once it was measured.
    local_seconds: OnceLock<f64>,
    workers: Mutex<Workers>,
    /// Changes where a place may have become free.
    changes: watch::Sender<()>,
    left_out: mpsc::UnboundedSender<LeftOut>,
    runtime: Option<Handle>,
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
    ask: AskForSong,
    /// Seconds for a frame of a song that is alone there, with the way there and back.
    rate: f64,
    /// Songs that it makes at once.
    places: usize,
    /// Songs that it makes for this engine.
    under_way: usize,
    /// Others have its places.
    is_full: bool,
}

impl fmt::Debug for SongWorkers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SongWorkers").field("kind", &self.0.kind).field("count", &self.count()).finish()
    }
}

impl SongWorkers {
    /// No workers yet, of those whose songs have `kind`; to be called in a runtime. Excluded workers are sent
    /// to the receiver.
    pub fn new(kind: SongKind) -> (Self, mpsc::UnboundedReceiver<LeftOut>) {
        let (left_out, said) = mpsc::unbounded_channel();
        let (local_seconds, workers, changes) = (OnceLock::new(), Mutex::default(), watch::Sender::new(()));
        let runtime = Handle::try_current().ok();
        (Self(Arc::new(Inner { kind, local_seconds, workers, changes, left_out, runtime })), said)
    }

    /// What a worker must be.
    pub fn kind(&self) -> &SongKind {
        &self.0.kind
    }

    /// This machine takes `seconds` for a frame.
    pub fn measured_here(&self, seconds: f64) {
        let _ = self.0.local_seconds.set(seconds); // the first measurement counts
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.0.lock().all.len()
    }

    /// How many songs they make at once.
    pub fn places(&self) -> usize {
        self.0.lock().all.iter().map(|worker| worker.places).sum()
    }

    /// Changes where a place may have become free.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    /// Adds a worker that makes `places` songs at once, whose seconds for a frame were measured; its key.
    pub fn join(&self, name: &str, ask: AskForSong, rate: f64, places: usize) -> u64 {
        let mut workers = self.0.lock();
        workers.last_key += 1;
        let key = workers.last_key;
        workers.all.push(Worker { key, name: name.into(), ask, rate, places, under_way: 0, is_full: false });
        drop(workers);
        self.0.changes.send_replace(());
        key
    }

    /// Removes a worker, such as one whose connection is gone.
    pub fn leave(&self, key: u64) {
        self.0.lock().all.retain(|worker| worker.key != key);
        self.0.changes.send_replace(());
    }

    /// A place at the worker where a song would be made soonest by its rate and the songs that it makes. With `local`
    /// songs on this machine, which has a place for another one, only where that is sooner than here.
    pub fn lease(&self, local: Option<usize>) -> Option<SongLease> {
        let here = local.map(|songs| (songs + 1) as f64 * self.0.local_seconds.get().copied().unwrap_or(0.0));
        let time = |worker: &Worker| (worker.under_way + 1) as f64 * worker.rate;
        let mut workers = self.0.lock();
        let free = workers.all.iter_mut().filter(|worker| worker.under_way < worker.places && !worker.is_full);
        let worker = free.min_by(|one, other| time(one).total_cmp(&time(other)))?;
        if here.is_some_and(|here| here <= time(worker)) {
            return None;
        }
        worker.under_way += 1;
        Some(SongLease { worker: worker.clone(), inner: Arc::clone(&self.0), fault: None })
    }

    /// A place at a machine that has not joined, for its proof; `rate` says how long it may take.
    pub fn candidate(&self, name: &str, ask: AskForSong, rate: f64) -> SongLease {
        let worker = Worker { key: 0, name: name.into(), ask, rate, places: 1, under_way: 1, is_full: false };
        SongLease { worker, inner: Arc::clone(&self.0), fault: None }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_full(&self, key: u64, is_full: bool) {
        if let Some(worker) = self.lock().all.iter_mut().find(|worker| worker.key == key) {
            worker.is_full = is_full;
        }
    }
}

/// A place for one song at a worker; it is free again when this is dropped.
pub struct SongLease {
    worker: Worker,
    inner: Arc<Inner>,
    fault: Option<Fault>,
}

impl fmt::Debug for SongLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SongLease").field("worker", &self.worker.name).finish_non_exhaustive()
    }
}

impl SongLease {
    /// The worker's name.
    pub fn name(&self) -> Arc<str> {
        Arc::clone(&self.worker.name)
    }

    /// What a worker must be.
    pub fn kind(&self) -> &SongKind {
        &self.inner.kind
    }

    /// Seconds that a frame takes there, where all places are taken.
    pub fn frame_seconds(&self) -> f64 {
        self.worker.rate * self.worker.places as f64
    }

    /// Says something to the worker. Without an answer in `time` it is late.
    pub fn ask(&self, call: SongCall, time: Duration) -> SongAsked {
        let asked = (self.worker.ask)(call, time);
        Box::pin(async move { tokio::time::timeout(time, asked).await.unwrap_or(Err(Fault::Late)) })
    }

    /// The song was made: a frame of it took `seconds`.
    pub fn measured(&mut self, seconds: f64) {
        self.worker.rate += NEWEST * (seconds / self.worker.under_way.max(1) as f64 - self.worker.rate);
    }

    /// The worker has a fault: it is left out from here on.
    pub fn fault(&mut self, fault: Fault) {
        self.fault = Some(fault);
    }
}

impl Drop for SongLease {
    fn drop(&mut self) {
        let (key, mut workers) = (self.worker.key, self.inner.lock());
        if let Some(worker) = workers.all.iter_mut().find(|worker| worker.key == key) {
            (worker.under_way, worker.rate) = (worker.under_way.saturating_sub(1), self.worker.rate);
        }
        match self.fault.take() {
            None => (),
            // Nothing is wrong with it.
            Some(Fault::SongRefused(SongRefusal::Full)) => {
                drop(workers);
                self.inner.set_full(key, true);
                let inner = Arc::clone(&self.inner);
                let later = async move {
                    tokio::time::sleep(FULL_PAUSE).await;
                    inner.set_full(key, false);
                    inner.changes.send_replace(());
                };
                match &self.inner.runtime {
                    Some(runtime) => drop(runtime.spawn(later)),
                    None => self.inner.set_full(key, false),
                }
            }
            Some(fault) => {
                workers.all.retain(|worker| worker.key != key);
                let _ = self.inner.left_out.send(LeftOut { key, fault }); // the engine may be gone
            }
        }
        self.inner.changes.send_replace(());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn kind() -> SongKind {
        SongKind { engine: "0".to_owned(), model: "m".to_owned(), kernels: "k".to_owned() }
    }

    fn silent() -> AskForSong {
        Arc::new(|_, _| Box::pin(std::future::pending()))
    }

    fn name(lease: Option<SongLease>) -> Option<(Arc<str>, SongLease)> {
        lease.map(|lease| (lease.name(), lease))
    }

    #[tokio::test]
    async fn songs_go_where_they_are_made_soonest_and_no_worker_has_more_than_its_places() {
        let (workers, _left_out) = SongWorkers::new(kind());
        workers.measured_here(1.0);
        assert!(workers.lease(None).is_none());
        workers.join("fast", silent(), 0.4, 2);
        workers.join("slow", silent(), 3.0, 1);
        assert_eq!((workers.count(), workers.places()), (2, 3));
        let (first, fast) = name(workers.lease(Some(0))).expect("a place");
        let (second, _fast) = name(workers.lease(Some(0))).expect("a place");
        assert_eq!((&*first, &*second), ("fast", "fast"));
        assert!(workers.lease(Some(0)).is_none(), "this machine is sooner than the slow one");
        let (third, _slow) = name(workers.lease(Some(3))).expect("a place");
        assert_eq!(&*third, "slow");
        assert!(workers.lease(None).is_none(), "all places are taken");
        let mut changes = workers.changes();
        drop(fast);
        changes.changed().await.expect("it is said");
        assert!(workers.lease(None).is_some());
    }

    #[tokio::test]
    async fn a_worker_that_others_keep_busy_gets_no_song_for_a_while_and_stays() {
        let (workers, mut left_out) = SongWorkers::new(kind());
        workers.join("worker", silent(), 1.0, 2);
        let mut lease = workers.lease(None).expect("a place");
        lease.fault(Fault::SongRefused(SongRefusal::Full));
        drop(lease);
        assert!(workers.lease(None).is_none() && left_out.try_recv().is_err());
        let mut changes = workers.changes();
        while workers.lease(None).is_none() {
            changes.changed().await.expect("it is said when it may have a place again");
        }
    }

    #[tokio::test]
    async fn a_worker_with_a_fault_is_left_out() {
        let (workers, mut left_out) = SongWorkers::new(kind());
        let key = workers.join("worker", silent(), 1.0, 2);
        let (mut lease, other) = (workers.lease(None).expect("a place"), workers.lease(None).expect("a place"));
        lease.fault(Fault::Late);
        drop(lease);
        let LeftOut { key: left, fault } = left_out.recv().await.expect("it is said");
        assert_eq!((left, fault, workers.count()), (key, Fault::Late, 0));
        drop(other); // its worker is gone already
    }
}
