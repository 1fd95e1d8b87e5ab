//! Compute sites: the threads and cores of a stage.

use std::sync::Arc;

use core_affinity::CoreId;

use crate::awake::kept_awake;

/// Threads of a stage and the cores they are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeSite {
    /// Threads, at least 1.
    pub threads: usize,
    /// Thread i is bound to the i-th of these cores, in turn; with none, the operating system chooses.
    pub cores: Vec<usize>,
}

impl ComputeSite {
    /// Whether some core may run threads of both; always so where the operating system chooses.
    pub fn shares_cores_with(&self, other: &Self) -> bool {
        let anywhere = self.cores.is_empty() || other.cores.is_empty();
        anywhere || self.cores.iter().any(|core| other.cores.contains(core))
    }
}

/// The cores that this process may use, by the operating system's numbers; empty where it is not known.
pub fn available_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// The threads that one stage of a song computes on: the one that made this value, and others that help it. Clones are
/// the same threads.
///
/// That the first of them is the stage's own matters for memory. Buffers are then allocated and freed on the same
/// thread. An allocator has a heap for each thread, and one thread cannot use the free memory of another's.
#[derive(Debug, Clone)]
pub struct ComputePool {
    /// `None` for a stage that does not compute.
    threads: Option<Arc<rayon::ThreadPool>>,
    /// Whether they are bound to cores.
    bound: bool,
}

impl ComputePool {
    /// Makes this thread the first of those of `site`, and starts the others, named after the stage; none for a stage
    /// without a site. A thread can be in one pool only, and what is started here serves no other thread than this.
    ///
    /// # Errors
    /// When the operating system gives no more threads, or this one is in a pool already.
    pub fn around_this_thread(
        site: Option<&ComputeSite>,
        name: &'static str,
    ) -> Result<Self, rayon::ThreadPoolBuildError> {
        let Some(site) = site else { return Ok(Self { threads: None, bound: false }) };
        let (bound, bind) = (!site.cores.is_empty(), binding(site, name));
        // First, so that helpers without cores of their own do not inherit that of this one.
        let builder = rayon::ThreadPoolBuilder::new().num_threads(site.threads.max(1)).use_current_thread();
        let threads = builder.start_handler(bind.clone()).thread_name(move |_| name.to_owned()).build()?;
        bind(0); // the handler runs for those that were started, not for this one
        Ok(Self { threads: Some(Arc::new(threads)), bound })
    }

    /// Runs `work` here, with the other threads to help; a panic in it goes on.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.run_awake(None, work)
    }

    /// As [`ComputePool::run`]. Where the threads have cores of their own and `yields` is given, they are awake until the
    /// work ends, but for when `yields` says that other stages compute on these cores.
    pub fn run_awake<R: Send>(&self, yields: Option<&(dyn Fn() -> bool + Sync)>, work: impl FnOnce() -> R + Send) -> R {
        match (&self.threads, yields.filter(|_| self.bound)) {
            (Some(threads), Some(yields)) => threads.install(|| kept_awake(yields, work)),
            (Some(threads), None) => threads.install(work),
            (None, _) => work(),
        }
    }
}

/// What binds thread number i of a site to its core, on that thread.
fn binding(site: &ComputeSite, name: &'static str) -> impl Fn(usize) + Clone + Send + Sync + 'static {
    let cores = site.cores.clone();
    move |thread| {
        if let Some(id) = cores.get(thread % cores.len().max(1)) {
            // A core that is missing (or was removed) is no reason to fail.
            let bound = core_affinity::set_for_current(CoreId { id: *id });
            tracing::debug!(stage = name, thread, core = id, bound, "compute thread starts");
        }
    }
}

/// Starts all threads of `site`, none of which is the calling one.
///
/// # Errors
/// When the operating system gives no more threads.
pub(crate) fn start_pool(
    site: &ComputeSite,
    name: &'static str,
) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(site.threads.max(1));
    builder.start_handler(binding(site, name)).thread_name(move |_| name.to_owned()).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_the_threads_it_names_and_work_is_begun_on_the_one_that_has_it() {
        let pool = ComputePool::around_this_thread(Some(&ComputeSite { threads: 2, cores: vec![0] }), "test");
        let pool = pool.expect("one more thread");
        let here = std::thread::current().id();
        for _ in 0..100 {
            let (threads, on) = pool.run(|| (rayon::current_num_threads(), std::thread::current().id()));
            assert_eq!((threads, on), (2, here));
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn every_thread_is_bound_to_its_core_this_one_too() {
        let cores = available_cores();
        let site = ComputeSite { threads: cores.len(), cores: cores.clone() };
        let pool = ComputePool::around_this_thread(Some(&site), "test").expect("as many threads as cores");
        let bound = pool.run(|| rayon::broadcast(|thread| (thread.index(), available_cores())));
        let expected: Vec<(usize, Vec<usize>)> = cores.iter().map(|core| vec![*core]).enumerate().collect();
        assert_eq!(bound, expected);
    }

    #[test]
    fn a_panic_of_the_work_reaches_the_caller() {
        let pool = ComputePool::around_this_thread(Some(&ComputeSite { threads: 1, cores: vec![0] }), "test");
        let pool = pool.expect("no more thread is needed");
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.run(|| panic!("on purpose"))));
        assert!(result.is_err());
        assert_eq!(pool.run(|| 5), 5);
    }
}
