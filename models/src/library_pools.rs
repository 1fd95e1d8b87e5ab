//! Thread pools of the libraries that compute, started before they are needed.
//!
//! rayon and candle start their pools when they first compute, and panic where the system has no threads for them.

use std::{error::Error, io, sync::OnceLock};

use crate::contained;

/// Starts the pools of rayon and candle, once in a process; what is wrong the first time stays so.
///
/// # Errors
/// When the operating system gives no threads, with its reason.
pub fn start_library_pools() -> Result<(), String> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || {
        match rayon::ThreadPoolBuilder::new().build_global() {
            // A pool that the program had before is as good.
            Err(error) if error.source().is_some_and(|cause| cause.is::<io::Error>()) => return Err(error.to_string()),
            _ => (),
        }
        contained(candle_core::utils::barrier_pool).map(|_| ())
    };
    STARTED.get_or_init(start).clone()
}
