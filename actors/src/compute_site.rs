//! On which threads, and on which cores, does a stage compute?

use core_affinity::CoreId;

/// Threads of a stage and the cores they are bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputeSite {
    /// Threads, at least 1.
    pub threads: usize,
    /// Thread i is bound to the i-th of these cores, in turn; with none, the operating system chooses.
    pub cores: Vec<usize>,
}

/// The cores that this process may use, by the operating system's numbers; empty when it does not say.
pub fn available_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// The threads of one stage of one song.
#[derive(Debug)]
pub struct ComputePool {
    /// `None` for a stage that does not compute: its actor's own thread is enough.
    threads: Option<rayon::ThreadPool>,
}

impl ComputePool {
    /// Starts the threads of `site`, named after the stage; none for a stage without a site.
    ///
    /// # Errors
    /// When the operating system gives no more threads.
    pub fn new(site: Option<&ComputeSite>, name: &'static str) -> Result<Self, rayon::ThreadPoolBuildError> {
        let Some(site) = site else { return Ok(Self { threads: None }) };
        let cores = site.cores.clone();
        let bind = move |thread: usize| {
            if let Some(id) = cores.get(thread % cores.len().max(1)) {
                // A core that is not there (any more) is no reason not to sing.
                let bound = core_affinity::set_for_current(CoreId { id: *id });
                tracing::debug!(stage = name, thread, core = id, bound, "compute thread starts");
            }
        };
        let builder = rayon::ThreadPoolBuilder::new().num_threads(site.threads.max(1)).start_handler(bind);
        Ok(Self { threads: Some(builder.thread_name(move |_| name.to_owned()).build()?) })
    }

    /// Runs `work` on the threads and waits for it; a panic in it goes on here.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.threads {
            Some(threads) => threads.install(work),
            None => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_the_threads_it_names() {
        let pool = ComputePool::new(Some(&ComputeSite { threads: 2, cores: vec![0] }), "test").expect("two threads");
        assert_eq!(pool.run(rayon::current_num_threads), 2);
    }

    #[test]
    fn a_panic_of_the_work_reaches_the_caller() {
        let pool = ComputePool::new(Some(&ComputeSite { threads: 1, cores: vec![0] }), "test").expect("a thread");
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.run(|| panic!("on purpose"))));
        assert!(result.is_err());
        assert_eq!(pool.run(|| 5), 5);
    }
}
