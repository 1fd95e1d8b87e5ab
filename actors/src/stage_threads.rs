//! Thread pool of an engine, which lends its threads to one song after the other.
//!
//! A thread costs memory after its end: the allocator keeps a heap for each, and heaps of ended threads add up over
//! songs. So a thread is started when none of its kind is idle, and outlives the song. It ends with the engine, or when
//! no song has had it for a minute.

use std::{
    convert::Infallible,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
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
    places: Mutex<Places>,
    linger: Duration,
}

#[derive(Default)]
struct Places {
    idle: Vec<StageThread>,
    /// Threads that a song has.
    lent: usize,
    /// The id of the last loan.
    last_id: u64,
}

impl Idle {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner) // a list that is pushed to and taken from is never half done
    }

    fn take_back(&self, thread: StageThread) {
        let mut places = self.places();
        places.lent -= 1;
        places.idle.push(thread);
    }

    /// Lets the thread `id` go if it is idle; a song that has just been lent it keeps it.
    fn let_go(&self, id: u64) -> bool {
        let mut places = self.places();
        let place = places.idle.iter().position(|thread| thread.id == id);
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

/// What a thread does for a song.
struct Job {
    work: Box<dyn FnOnce(ComputePool) + Send>,
    /// The thread itself, to be returned.
    thread: StageThread,
    idle: Weak<Idle>,
    /// Dropped when the thread is idle again.
    returned: flume::Sender<Infallible>,
}

impl StageThreads {
    /// Threads that end when no song has had them for `linger`.
    pub fn lingering(linger: Duration) -> Self {
        Self(Arc::new(Idle { places: Mutex::default(), linger }))
    }

    /// Lends a thread that is named after `stage`, with threads of its own at `site` if it has one: an idle one, or
    /// else a new one.
    ///
    /// # Errors
    /// When the operating system gives no more threads.
    pub fn lend(&self, stage: Stage, site: Option<&ComputeSite>) -> io::Result<LentThread> {
        let mut places = self.0.places();
        let fits = |idle: &StageThread| idle.stage == stage && idle.site.as_ref() == site;
        // The one returned last: its caches are still warm.
        let idle = places.idle.iter().rposition(fits).map(|place| places.idle.swap_remove(place));
        places.lent += 1;
        places.last_id += 1;
        let id = places.last_id;
        drop(places);
        let thread = match idle {
            Some(thread) => thread,
            None => start(id, stage, site, &self.0).inspect_err(|_| self.0.places().lent -= 1)?,
        };
        Ok(LentThread { thread: Some(thread), idle: Arc::downgrade(&self.0) })
    }

    /// Threads that songs have.
    pub fn lent(&self) -> usize {
        self.0.places().lent
    }
}

/// A thread for one song. Given back when its work is done, or when it is dropped without any.
pub struct LentThread {
    /// There until it works.
    thread: Option<StageThread>,
    idle: Weak<Idle>,
}

impl LentThread {
    /// Has the thread do `work`, which is given the threads of its site. When all of it is gone and the thread can be
    /// lent again, `returned` is dropped.
    pub fn run(mut self, work: impl FnOnce(ComputePool) + Send + 'static, returned: flume::Sender<Infallible>) {
        let Some(thread) = self.thread.take() else { return };
        let jobs = thread.jobs.clone();
        let job = Job { work: Box::new(work), thread, idle: Weak::clone(&self.idle), returned };
        // It receives as long as a sender exists, and the job holds one.
        let _ = jobs.send(job);
    }
}

impl Drop for LentThread {
    fn drop(&mut self) {
        if let (Some(thread), Some(idle)) = (self.thread.take(), self.idle.upgrade()) {
            idle.take_back(thread);
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
                worker_loop(&given, &pool, linger, &|| idle.upgrade().is_some_and(|idle| idle.let_go(id)));
            }
            Err(error) => drop(tell.send(Err(io::Error::other(error)))),
        }
    };
    thread::Builder::new().name(stage.name().to_owned()).spawn(life)?;
    ready.recv().map_err(io::Error::other)??; // the outer error: it panicked, and its sender is gone
    Ok(StageThread { id, stage, site: site.cloned(), jobs })
}

/// Does one job after the other, until the senders are gone, or none came for `linger` and `let_go` agrees to an end.
fn worker_loop(jobs: &Receiver<Job>, pool: &ComputePool, linger: Duration, let_go: &dyn Fn() -> bool) {
    loop {
        let Job { work, thread, idle, returned } = match jobs.recv_timeout(linger) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) if !let_go() => continue,
            Err(_) => return,
        };
        // A stage catches panics of its work; a panic around it must not cost the engine a thread either.
        if catch_unwind(AssertUnwindSafe(|| work(pool.clone()))).is_err() {
            tracing::warn!(stage = %thread.stage, "panicked outside of its work");
        }
        if let Some(idle) = idle.upgrade() {
            idle.take_back(thread);
        }
        drop(returned);
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, thread::ThreadId};

    use super::*;

    /// Has `thread` do `work` and waits until it is back.
    fn run(thread: LentThread, work: impl FnOnce(ComputePool) + Send + 'static) {
        let (returned, all_returned) = flume::bounded(1);
        thread.run(work, returned);
        assert!(all_returned.recv().is_err(), "nothing is sent, only dropped");
    }

    /// The thread of the system that `thread` is, and those that compute for it.
    fn identity(thread: LentThread) -> (ThreadId, Vec<ThreadId>) {
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
        let first = identity(threads.lend(Stage::Vocoder, site(2).as_ref()).expect("a thread"));
        assert_eq!(first.1.len(), 2);
        for _ in 0..5 {
            let again = identity(threads.lend(Stage::Vocoder, site(2).as_ref()).expect("a thread"));
            assert_eq!(again, first);
        }
        assert_eq!(threads.lent(), 0);
    }

    #[test]
    fn a_thread_is_only_lent_for_its_own_stage_and_site_and_to_one_song_at_a_time() {
        let threads = StageThreads::default();
        let lend = |stage, site: Option<ComputeSite>| threads.lend(stage, site.as_ref()).expect("a thread");
        let all = [
            lend(Stage::Vocoder, site(2)),
            lend(Stage::Vocoder, site(2)),
            lend(Stage::Vocoder, site(1)),
            lend(Stage::Vocoder, None),
        ];
        assert_eq!(threads.lent(), 4);
        let mut ids: Vec<ThreadId> = all.into_iter().map(|thread| identity(thread).0).collect();
        drop(lend(Stage::Stitcher, None));
        assert_eq!(threads.0.places().idle.len(), 5, "none of the vocoder's was taken for the stitcher");
        ids.sort_by_key(|id| format!("{id:?}"));
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn a_thread_that_no_song_wants_ends_after_a_while() {
        thread_local!(static KEPT: RefCell<Option<flume::Sender<Infallible>>> = const { RefCell::new(None) });
        let (kept, ended) = flume::bounded(1);
        let threads = StageThreads::lingering(Duration::from_millis(1));
        run(threads.lend(Stage::Vocoder, site(2).as_ref()).expect("a thread"), move |_| KEPT.set(Some(kept)));
        assert!(ended.recv().is_err(), "what the thread keeps for itself goes with it");
        assert_eq!(threads.0.places().idle.len(), 0);
        assert_eq!(threads.lent(), 0);
        // The next song has a new one.
        run(threads.lend(Stage::Vocoder, None).expect("a thread"), |_| ());
    }

    #[test]
    fn a_panic_costs_no_thread_and_one_that_was_not_needed_goes_back() {
        let threads = StageThreads::default();
        let lend = || threads.lend(Stage::Vocoder, site(1).as_ref()).expect("a thread");
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
        let lend = || threads.lend(Stage::Vocoder, None).expect("a thread");
        let [idle, working] = [lend(), lend()];
        let keep = kept.clone();
        run(idle, move |_| KEPT.set(Some(keep)));
        let (finish, finished) = flume::bounded::<Infallible>(1);
        let (returned, _all_back) = flume::bounded(1);
        working.run(
            move |_| {
                KEPT.set(Some(kept));
                assert!(finished.recv().is_err(), "the test lets it end");
            },
            returned,
        );
        drop(threads);
        drop(finish);
        assert!(all_ended.recv().is_err(), "what each thread keeps for itself goes with it");
    }
}
