//! Thread pool of an engine, which lends its threads to one song after the other.
//!
//! A thread costs memory after its end: the allocator keeps a heap for each, and heaps of ended threads add up over
//! songs. So a thread is started when none of its kind is idle, and outlives the song. It ends with the engine, or when
//! no song has had it for a minute.
//!
//! The threads of a song go back together, at its end. So how many an engine has is what its songs at once need, however
//! they overlap.

use std::{
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use heartstream_messages::Stage;

use crate::compute_site::{ComputePool, ComputeSite};

/// Idle timeout of a thread, so that a peak of concurrent songs does not hold threads for good.
const LINGER: Duration = Duration::from_secs(60);

/// The threads of an engine. Clones lend from the same ones.
#[derive(Clone)]
pub struct StageThreads(Arc<Idle>);

impl Default for StageThreads {
    fn default() -> Self {
        Self::lingering(LINGER)
    }
}

/// Idle threads, which no song has.
struct Idle {
    places: Mutex<ThreadPlaces>,
    linger: Duration,
}

#[derive(Default)]
struct ThreadPlaces {
    /// Each with the moment since which it is idle.
    idle: Vec<(StageThread, Instant)>,
    /// Threads that a song has.
    lent: usize,
    /// The id of the last loan.
    last_id: u64,
}

impl Idle {
    fn places(&self) -> MutexGuard<'_, ThreadPlaces> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner) // a list that is pushed to and taken from is never half done
    }

    fn take_back(&self, threads: Vec<StageThread>) {
        let (mut places, now) = (self.places(), Instant::now());
        places.lent -= threads.len();
        places.idle.extend(threads.into_iter().map(|thread| (thread, now)));
    }

    /// Lets the thread `id` go if it has been idle for long enough; a song that has just been lent it keeps it.
    fn let_go(&self, id: u64) -> bool {
        let mut places = self.places();
        let over = |(thread, since): &(StageThread, Instant)| thread.id == id && since.elapsed() >= self.linger;
        let place = places.idle.iter().position(over);
        let thread = place.map(|place| places.idle.swap_remove(place));
        drop(places);
        thread.is_some()
    }
}

/// A thread that waits for jobs, and ends when this, the only sender, is dropped.
struct StageThread {
    id: u64,
    stage: Stage,
    site: Option<ComputeSite>,
    jobs: Sender<Job>,
}

/// What a stage does on its thread, with the threads of its site.
pub type StageRun = Box<dyn FnOnce(ComputePool) + Send>;

/// What a thread does for a song.
struct Job {
    work: StageRun,
    lease: Arc<Lease>,
}

/// The threads of a song that works on them.
struct Lease {
    lent: LentThreads,
    /// Dropped after the threads are idle again.
    _returned: flume::Sender<Infallible>,
}

impl StageThreads {
    /// Threads that end when no song has had them for `linger`.
    pub fn lingering(linger: Duration) -> Self {
        Self(Arc::new(Idle { places: Mutex::default(), linger }))
    }

    /// Lends a song its threads: for each of `needs` one that is named after the stage, with threads of its own at the
    /// site if it has one. Each is an idle one, or else a new one.
    ///
    /// # Errors
    /// When the operating system gives no more threads; then none is lent.
    pub fn lend<'a>(
        &self,
        needs: impl IntoIterator<Item = (Stage, Option<&'a ComputeSite>)>,
    ) -> io::Result<LentThreads> {
        let mut lent = LentThreads { threads: Vec::new(), idle: Arc::downgrade(&self.0) };
        for (stage, site) in needs {
            lent.threads.push(self.lend_one(stage, site)?);
        }
        Ok(lent)
    }

    fn lend_one(&self, stage: Stage, site: Option<&ComputeSite>) -> io::Result<StageThread> {
        let mut places = self.0.places();
        let fits = |(idle, _): &(StageThread, Instant)| idle.stage == stage && idle.site.as_ref() == site;
        // The one returned last: its caches are still warm.
        let idle = places.idle.iter().rposition(fits).map(|place| places.idle.swap_remove(place).0);
        places.lent += 1;
        places.last_id += 1;
        let id = places.last_id;
        drop(places);
        match idle {
            Some(thread) => Ok(thread),
            None => start(id, stage, site, &self.0).inspect_err(|_| self.0.places().lent -= 1),
        }
    }

    /// Threads that songs have.
    pub fn lent(&self) -> usize {
        self.0.places().lent
    }
}

/// Threads for one song. Given back when the work of all is done, or when this is dropped without any.
pub struct LentThreads {
    threads: Vec<StageThread>,
    idle: Weak<Idle>,
}

impl LentThreads {
    /// Has each thread do its work, in the order of the needs. When all of that is gone and the threads can be lent
    /// again, the channel closes.
    pub fn run(self, works: impl IntoIterator<Item = StageRun>) -> flume::Receiver<Infallible> {
        let (returned, all_returned) = flume::bounded(1);
        let lease = Arc::new(Lease { lent: self, _returned: returned });
        for (thread, work) in lease.lent.threads.iter().zip(works) {
            // It receives as long as a sender exists, and the lease holds one.
            let _ = thread.jobs.send(Job { work, lease: Arc::clone(&lease) });
        }
        all_returned
    }
}

impl Drop for LentThreads {
    fn drop(&mut self) {
        if let Some(idle) = self.idle.upgrade() {
            idle.take_back(std::mem::take(&mut self.threads));
        }
    }
}

/// Starts a thread and waits until it has its pool.
fn start(id: u64, stage: Stage, site: Option<&ComputeSite>, idle: &Arc<Idle>) -> io::Result<StageThread> {
    let (jobs, given) = channel();
    let (tell, ready) = channel();
    let (own_site, linger, idle) = (site.cloned(), idle.linger, Arc::downgrade(idle));
    let life = move || {
        match ComputePool::around_this_thread(own_site.as_ref(), stage.name()) {
            Ok(pool) => {
                let _ = tell.send(Ok(())); // it is waited for
                let let_go = || idle.upgrade().is_some_and(|idle| idle.let_go(id));
                worker_loop(stage, &given, &pool, linger, &let_go);
            }
            Err(error) => drop(tell.send(Err(io::Error::other(error)))),
        }
    };
    thread::Builder::new().name(stage.name().to_owned()).spawn(life)?;
    ready.recv().map_err(io::Error::other)??; // the outer error: it panicked, and its sender is gone
    Ok(StageThread { id, stage, site: site.cloned(), jobs })
}

/// Does one job after the other, until the senders are gone, or none came for `linger` and `let_go` agrees to an end.
fn worker_loop(stage: Stage, jobs: &Receiver<Job>, pool: &ComputePool, linger: Duration, let_go: &dyn Fn() -> bool) {
    loop {
        let Job { work, lease } = match jobs.recv_timeout(linger) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) if !let_go() => continue,
            Err(_) => return,
        };
        // A stage catches panics of its work; a panic around it must not cost the engine a thread either.
        if catch_unwind(AssertUnwindSafe(|| work(pool.clone()))).is_err() {
            tracing::warn!(%stage, "panicked outside of its work");
        }
        drop(lease);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, thread::ThreadId};

    use super::*;

    /// One thread of the vocoder.
    fn lend(threads: &StageThreads, site: Option<ComputeSite>) -> LentThreads {
        threads.lend([(Stage::Vocoder, site.as_ref())]).expect("a thread")
    }

    /// Has the thread do `work` and waits until it is back.
    fn run(thread: LentThreads, work: impl FnOnce(ComputePool) + Send + 'static) {
        assert!(thread.run([Box::new(work) as StageRun]).recv().is_err(), "nothing is sent, only dropped");
    }

    /// The thread of the system that `thread` is, and those that compute for it.
    fn identity(thread: LentThreads) -> (ThreadId, Vec<ThreadId>) {
        let (tell, told) = channel();
        run(thread, move |pool| {
            let own = thread::current();
            assert_eq!(own.name(), Some("vocoder"));
            // Without a site it is the thread itself that computes, and it is in no pool.
            let computing = pool.run(|| match rayon::current_thread_index() {
                Some(_) => rayon::broadcast(|_| thread::current().id()),
                None => Vec::new(),
            });
            tell.send((own.id(), computing)).expect("the test waits for it");
        });
        told.recv().expect("it said so")
    }

    fn site(threads: usize) -> Option<ComputeSite> {
        Some(ComputeSite { threads, cores: Vec::new() })
    }

    #[test]
    fn a_thread_that_came_back_is_lent_again_with_its_pool() {
        let threads = StageThreads::default();
        let first = identity(lend(&threads, site(2)));
        assert_eq!(first.1.len(), 2);
        for _ in 0..5 {
            let again = identity(lend(&threads, site(2)));
            assert_eq!(again, first);
        }
        assert_eq!(threads.lent(), 0);
    }

    #[test]
    fn a_thread_is_only_lent_for_its_own_stage_and_site_and_to_one_song_at_a_time() {
        let threads = StageThreads::default();
        let all = [site(2), site(2), site(1), None].map(|site| lend(&threads, site));
        assert_eq!(threads.lent(), 4);
        let mut ids: Vec<ThreadId> = all.into_iter().map(|thread| identity(thread).0).collect();
        drop(threads.lend([(Stage::Stitcher, None)]).expect("a thread"));
        assert_eq!(threads.0.places().idle.len(), 5, "none of the vocoder's was taken for the stitcher");
        ids.sort_by_key(|id| format!("{id:?}"));
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn the_threads_of_a_song_go_back_together_however_early_one_of_them_is_done() {
        let threads = StageThreads::default();
        let song = |work: StageRun| {
            let needs = [(Stage::PromptTokenizer, None), (Stage::Vocoder, None)];
            let early: StageRun = Box::new(|_| ());
            threads.lend(needs).expect("threads").run([early, work])
        };
        let all_of_one = song(Box::new(|_| ()));
        assert!(all_of_one.recv().is_err());
        assert_eq!((threads.lent(), threads.0.places().idle.len()), (0, 2));
        // The first thread of the second song is done at once; the third song needs one of its own all the same.
        let (finish, finished) = flume::bounded::<Infallible>(1);
        let wait = move || Box::new(move |_| assert!(finished.recv().is_err())) as StageRun;
        let (second, third) = (song(wait.clone()()), song(wait()));
        assert_eq!((threads.lent(), threads.0.places().idle.len()), (4, 0));
        assert!(second.is_empty() && !second.is_disconnected());
        drop(finish);
        assert!(second.recv().is_err() && third.recv().is_err());
        assert_eq!((threads.lent(), threads.0.places().idle.len()), (0, 4));
    }

    #[test]
    fn a_thread_that_no_song_wants_ends_after_a_while() {
        thread_local!(static KEPT: RefCell<Option<flume::Sender<Infallible>>> = const { RefCell::new(None) });
        let (kept, ended) = flume::bounded(1);
        let threads = StageThreads::lingering(Duration::from_millis(1));
        run(lend(&threads, site(2)), move |_| KEPT.set(Some(kept)));
        assert!(ended.recv().is_err(), "what the thread keeps for itself goes with it");
        assert_eq!(threads.0.places().idle.len(), 0);
        assert_eq!(threads.lent(), 0);
        // The next song has a new one.
        run(lend(&threads, None), |_| ());
    }

    #[test]
    fn a_panic_costs_no_thread_and_one_that_was_not_needed_goes_back() {
        let threads = StageThreads::default();
        let lend = || lend(&threads, site(1));
        let first = identity(lend());
        run(lend(), |_| panic!("on purpose"));
        run(lend(), |pool| pool.run(|| panic!("on purpose, where it computes")));
        drop(lend());
        assert_eq!(threads.lent(), 0);
        assert_eq!(identity(lend()), first);
    }

    #[test]
    fn threads_end_with_their_engine_idle_or_at_work() {
        thread_local!(static KEPT: RefCell<Option<flume::Sender<Infallible>>> = const { RefCell::new(None) });
        let (kept, all_ended) = flume::bounded(1);
        let threads = StageThreads::default();
        let [idle, working] = [(); 2].map(|()| lend(&threads, None));
        let keep = kept.clone();
        run(idle, move |_| KEPT.set(Some(keep)));
        let (finish, finished) = flume::bounded::<Infallible>(1);
        let work = move |_| {
            KEPT.set(Some(kept));
            assert!(finished.recv().is_err(), "the test lets it end");
        };
        let _all_back = working.run([Box::new(work) as StageRun]);
        drop(threads);
        drop(finish);
        assert!(all_ended.recv().is_err(), "what each thread keeps for itself goes with it");
    }
}
