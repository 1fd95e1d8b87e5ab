//! Writer to a pipe whose reader may have stopped: in small pieces, each only when there is room for it, so that a full
//! pipe does not hold up cancellation.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::song_context::StopFlag;

/// Bytes that a pipe takes at once if it takes any (`PIPE_BUF` of Linux, and a page of its buffer).
const PIECE: usize = 4096;
/// Poll interval of the stop flag, in milliseconds.
const LOOK: u16 = 50;
/// A reader that takes nothing for so long, once the song is cancelled, will not take the rest.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);

/// A pipe, a socket, a terminal or a device.
pub(super) struct Pipe(pub(super) File);

impl Pipe {
    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// As writing does; and with [`ErrorKind::TimedOut`] when the reader takes nothing and `stop` is set.
    pub(super) fn send(&mut self, mut bytes: &[u8], stop: &StopFlag) -> io::Result<()> {
        while !bytes.is_empty() {
            self.wait(stop)?;
            match self.0.write(&bytes[..bytes.len().min(PIECE)]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits for room.
    fn wait(&self, stop: &StopFlag) -> io::Result<()> {
        let mut cancelled: Option<Instant> = None;
        loop {
            // A reader that has left wakes this, too: writing then fails.
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)], PollTimeout::from(LOOK)) {
                Ok(0) | Err(Errno::EINTR) => (),
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if stop.is_set() && cancelled.get_or_insert_with(Instant::now).elapsed() >= DRAIN_LIMIT {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, thread};

    use super::*;

    fn pipe() -> (io::PipeReader, Pipe) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, Pipe(File::from(std::os::fd::OwnedFd::from(writer))))
    }

    #[test]
    fn all_bytes_come_through_a_pipe_that_is_smaller_than_they_are_in_a_cancelled_song_too() {
        for raised in [false, true] {
            let bytes: Vec<u8> = (0..1_000_003u32).map(|place| (place % 251) as u8).collect();
            let (mut reader, mut pipe) = pipe();
            let stop = StopFlag::default();
            if raised {
                stop.set();
            }
            let sent = bytes.clone();
            let sender = thread::spawn(move || pipe.send(&sent, &stop));
            let mut heard = Vec::new();
            reader.read_to_end(&mut heard).unwrap();
            sender.join().unwrap().unwrap();
            assert!(heard == bytes);
        }
    }

    #[test]
    fn a_full_pipe_that_nobody_reads_holds_up_a_song_only_until_it_is_cancelled() {
        let (reader, mut pipe) = pipe();
        let stop = StopFlag::default();
        let raised = stop.clone();
        let sender = thread::spawn(move || pipe.send(&vec![0; 1 << 22], &stop));
        raised.set();
        assert_eq!(sender.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
        drop(reader);
    }

    #[test]
    fn a_reader_that_leaves_is_told_from_one_that_waits() {
        let (reader, mut pipe) = pipe();
        drop(reader);
        assert_eq!(pipe.send(&[0; 100], &StopFlag::default()).unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}
