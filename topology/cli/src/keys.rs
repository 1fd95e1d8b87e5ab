//! Keys while a song runs: space pauses and resumes, q stops; when standard input is a terminal.
//!
//! The terminal hands keys over one by one and does not show them; everything else stays as it is, Ctrl-C included. It
//! is set back when [`Keys`] is dropped, so also when something fails or panics.

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// Pause, or go on.
    Pause,
    /// Stop.
    Stop,
}

impl Key {
    #[cfg_attr(not(unix), allow(dead_code))]
    fn of(byte: u8) -> Option<Self> {
        match byte {
            b' ' => Some(Self::Pause),
            b'q' | b'Q' => Some(Self::Stop),
            _ => None,
        }
    }
}

#[cfg(unix)]
pub(super) use unix::Keys;

#[cfg(not(unix))]
pub(super) use elsewhere::Keys;

#[cfg(unix)]
mod unix {
    use std::{
        io::{self, IsTerminal},
        os::fd::AsFd,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread::{JoinHandle, spawn},
    };

    use nix::{
        poll::{PollFd, PollFlags, poll},
        sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
        unistd::{getpgrp, read, tcgetpgrp},
    };
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::Key;

    /// Poll interval in milliseconds of whether keys are still wanted.
    const BETWEEN_LOOKS: u16 = 100;

    /// Keys of the terminal, until it is dropped.
    pub(in super::super) struct Keys {
        /// What the terminal was set to.
        before: Termios,
        wanted: Arc<AtomicBool>,
        reader: Option<JoinHandle<()>>,
        pressed: UnboundedReceiver<Key>,
    }

    impl Keys {
        /// Listens to the terminal; `None` where standard input is none, or belongs to another program for now.
        pub(in super::super) fn listen() -> Option<Self> {
            let stdin = io::stdin();
            // A program in the background that touches the terminal would be stopped.
            if !stdin.is_terminal() || tcgetpgrp(stdin.as_fd()).is_ok_and(|front| front != getpgrp()) {
                return None;
            }
            let before = tcgetattr(stdin.as_fd()).ok()?;
            let mut one_by_one = before.clone();
            one_by_one.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &one_by_one).ok()?;
            let wanted = Arc::new(AtomicBool::new(true));
            let (press, pressed) = unbounded_channel();
            let still_wanted = Arc::clone(&wanted);
            let reader = spawn(move || {
                while still_wanted.load(Ordering::Relaxed) {
                    let mut terminal = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
                    match poll(&mut terminal, BETWEEN_LOOKS) {
                        Ok(0) => continue,
                        Err(nix::Error::EINTR) => continue,
                        Ok(_) => (),
                        Err(_) => return,
                    }
                    let mut byte = [0];
                    // The end of the input, or an error: there is no terminal any more.
                    if read(stdin.as_fd(), &mut byte).unwrap_or(0) == 0 {
                        return;
                    }
                    if Key::of(byte[0]).is_some_and(|key| press.send(key).is_err()) {
                        return;
                    }
                }
            });
            Some(Self { before, wanted, reader: Some(reader), pressed })
        }

        /// The next key that means something; waits for ever when there will be none.
        pub(in super::super) async fn next(&mut self) -> Key {
            match self.pressed.recv().await {
                Some(key) => key,
                None => std::future::pending().await,
            }
        }
    }

    impl Drop for Keys {
        fn drop(&mut self) {
            self.wanted.store(false, Ordering::Relaxed);
            if let Some(reader) = self.reader.take() {
                let _ = reader.join(); // it does not panic, and what it would say is of no use here
            }
            if let Err(error) = tcsetattr(io::stdin().as_fd(), SetArg::TCSANOW, &self.before) {
                tracing::debug!(%error, "the terminal cannot be set back");
            }
        }
    }
}

#[cfg(not(unix))]
mod elsewhere {
    use super::Key;

    /// No keys: only Ctrl-C is understood here.
    pub(in super::super) struct Keys(std::convert::Infallible);

    impl Keys {
        pub(in super::super) fn listen() -> Option<Self> {
            None
        }

        pub(in super::super) async fn next(&mut self) -> Key {
            match self.0 {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_pauses_and_q_stops_and_nothing_else_does() {
        let meaning: Vec<(u8, Key)> = (0..=255).filter_map(|byte| Some((byte, Key::of(byte)?))).collect();
        assert_eq!(meaning, [(b' ', Key::Pause), (b'Q', Key::Stop), (b'q', Key::Stop)]);
    }
}
