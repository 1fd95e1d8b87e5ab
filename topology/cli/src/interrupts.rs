//! Ctrl-C: the first ends the songs, the second the program.

use std::{
    future::Future,
    pin::Pin,
    process,
    time::{Duration, Instant},
};

use super::keys::Keys;

/// Ctrl-C within so much of the first is the same one: `timeout` and shells send it to a program and to its group.
const ONE_KEY: Duration = Duration::from_millis(300);
/// The exit code of a second Ctrl-C, which does not wait for anything: 128 and the signal's number, as shells have it.
const INTERRUPTED: i32 = 130;

/// What asks the program to end.
pub(super) struct Interrupts {
    signal: Pin<Box<dyn Future<Output = ()>>>,
    first: Option<Instant>,
}

impl Interrupts {
    /// Listens from now on.
    pub fn listen() -> Self {
        Self { signal: Box::pin(shutdown_signal()), first: None }
    }

    /// Waits for the next one. May be dropped while it waits.
    pub async fn next(&mut self) {
        (&mut self.signal).await;
        self.signal = Box::pin(shutdown_signal());
    }

    /// One has come: a second one ends the program, once `keys` have set the terminal back.
    pub fn came(&mut self, keys: &mut Option<Keys>) {
        if self.first.is_some_and(|at| at.elapsed() > ONE_KEY) {
            drop(keys.take());
            process::exit(INTERRUPTED);
        }
        self.first.get_or_insert_with(Instant::now);
    }

    /// Whether one has come.
    pub fn any(&self) -> bool {
        self.first.is_some()
    }
}

/// Ends with Ctrl-C, when the system asks the program to end, or when its terminal is gone.
async fn shutdown_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut hang_up)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return,
                _ = terminate.recv() => return,
                _ = hang_up.recv() => return,
            }
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
