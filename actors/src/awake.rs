//! Threads of a pool that are kept awake while a stage computes.
//!
//! A layer is a row of short parallel regions (a product reads 40 MB of weights in 0.2 ms on a server). Between two of
//! them the helping threads find nothing to do and fall asleep. Waking one takes 50 µs and more, on a virtual machine
//! above all: as long as its share of the work. So while a stage computes on cores of its own, each helper looks for
//! work without sleeping.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

/// A helper that found no work for so long may sleep: its stage waits for a GPU, or computes on one thread.
const IDLE_LIMIT: Duration = Duration::from_millis(20);
/// How often a helper looks again whether its stage may go on.
const REST: Duration = Duration::from_micros(200);
/// Pauses of the processor (0.05 µs each) between two looks at the queues of the others.
const PAUSES: usize = 4;

/// Does `work` on this thread of a rayon pool, with the pool's other threads awake until it ends. They leave their cores
/// to others while `yields` says that the stage gives way.
pub fn kept_awake<R: Send>(yields: &(dyn Fn() -> bool + Sync), work: impl FnOnce() -> R + Send) -> R {
    let over = AtomicBool::new(false);
    let here = rayon::current_thread_index();
    rayon::in_place_scope(|scope| {
        let over = &over;
        if rayon::current_num_threads() > 1 {
            scope.spawn_broadcast(move |_, thread| {
                // The thread that does the work helps by itself where it waits.
                if Some(thread.index()) != here {
                    look_for_work(over, yields);
                }
            });
        }
        let _end = SetAtTheEnd(over);
        work()
    })
}

fn look_for_work(over: &AtomicBool, yields: &(dyn Fn() -> bool + Sync)) {
    let mut idle_since = Instant::now();
    while !over.load(Ordering::Acquire) {
        if yields() {
            sleep(REST);
            idle_since = Instant::now();
        } else if rayon::yield_now() == Some(rayon::Yield::Executed) {
            idle_since = Instant::now();
        } else if idle_since.elapsed() > IDLE_LIMIT {
            return;
        }
        (0..PAUSES).for_each(|_| spin_loop());
    }
}

/// Sets a flag at the end of its life, in a panic too.
struct SetAtTheEnd<'a>(&'a AtomicBool);

impl Drop for SetAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    fn pool() -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("threads")
    }

    #[test]
    fn work_is_done_once_whether_the_helpers_are_awake_rest_or_sleep() {
        for yields in [false, true] {
            let sum = pool().install(|| {
                let regions = || (0..200).map(|_| (0..64u32).into_par_iter().with_max_len(1).sum::<u32>()).sum::<u32>();
                kept_awake(&|| yields, regions)
            });
            assert_eq!(sum, 200 * 63 * 32);
        }
    }

    #[test]
    fn work_that_divides_itself_in_two_and_is_kept_awake_within_ends() {
        let halves = || rayon::join(|| (0..100).into_par_iter().sum::<i32>(), || kept_awake(&|| false, || 7));
        assert_eq!(pool().install(|| kept_awake(&|| false, halves)), (4950, 7));
    }

    #[test]
    fn a_panic_of_the_work_lets_the_helpers_go() {
        let pool = pool();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            pool.install(|| kept_awake(&|| false, || panic!("on purpose")))
        }));
        assert!(result.is_err());
        assert_eq!(pool.install(|| kept_awake(&|| false, || 5)), 5);
    }
}
