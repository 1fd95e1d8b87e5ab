//! Ctrl-C: the first ends the songs, the second the program.

use std::{
    future::poll_fn,
    process,
    task::Poll,
    time::{Duration, Instant},
};

#[cfg(unix)]
use tokio::signal::unix::Signal;
#[cfg(windows)]
use tokio::signal::windows::CtrlC as Signal;

use super::keys::Keys;

/// A second Ctrl-C within this time is the same one: `timeout` and shells send it to a program and to its group.
const ONE_KEY: Duration = Duration::from_millis(300);
/// The exit code of a second Ctrl-C, which does not wait for anything: 128 and the signal's number, as shells have it.
const INTERRUPTED: i32 = 130;

/// What asks the program to end.
pub(super) struct Interrupts {
    signals: Vec<Signal>,
    first: Option<Instant>,
}

impl Interrupts {
    /// Listens from now on. To be called in a runtime.
    pub fn listen() -> Self {
        Self { signals: signals(), first: None }
    }

    /// Waits for the next one. May be dropped while it waits.
    pub async fn next(&mut self) {
        poll_fn(|context| {
            let came = self.signals.iter_mut().any(|signal| matches!(signal.poll_recv(context), Poll::Ready(Some(()))));
            if came { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
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

/// Ctrl-C, what asks a program to end, and the end of its terminal.
#[cfg(unix)]
fn signals() -> Vec<Signal> {
    use tokio::signal::unix::{SignalKind, signal};
    // Where the system refuses one, it does what it does to every program.
    [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .filter_map(|kind| signal(kind).ok())
        .collect()
}

#[cfg(windows)]
fn signals() -> Vec<Signal> {
    tokio::signal::windows::ctrl_c().into_iter().collect()
}
