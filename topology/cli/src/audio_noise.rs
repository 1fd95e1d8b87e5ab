//! Messages of the system's sound libraries: ALSA and JACK write lines to standard error while they look for devices,
//! for every caller. They are shown with `-v` alone.

use heartstream::speaker::{DeviceNews, OpenStream, OutputDevice, Playback, SpeakerError};

/// A device whose library is not heard on standard error.
pub(super) struct Hushed<D> {
    device: D,
    verbose: bool,
}

impl<D> Hushed<D> {
    pub(super) fn new(device: D, verbose: bool) -> Self {
        Self { device, verbose }
    }
}

impl<D: OutputDevice> OutputDevice for Hushed<D> {
    fn name(&self) -> String {
        hushed(self.verbose, || self.device.name())
    }

    fn connect(&mut self) -> Result<u32, SpeakerError> {
        hushed(self.verbose, || self.device.connect())
    }

    fn open(&mut self, playback: Playback, news: DeviceNews) -> Result<OpenStream, SpeakerError> {
        hushed(self.verbose, || self.device.open(playback, news))
    }
}

/// Does `work` while standard error leads to nowhere, unless `verbose`. What other threads write meanwhile is kept.
pub(super) fn hushed<T>(verbose: bool, work: impl FnOnce() -> T) -> T {
    let _quiet = if verbose { None } else { quiet::Quiet::begin() };
    work()
}

#[cfg(unix)]
mod quiet {
    use std::{
        fs::OpenOptions,
        io,
        os::fd::{AsFd, OwnedFd},
        sync::MutexGuard,
    };

    use nix::unistd::dup2_stderr;

    use super::super::output_macros::OWN_LINES;

    /// While it lives, standard error leads to nowhere.
    pub(super) struct Quiet {
        real: OwnedFd,
        /// Lines of this program's wait meanwhile; and of two that would be quiet at once, one does.
        _own: MutexGuard<'static, ()>,
    }

    impl Quiet {
        /// `None` where that cannot be had: then everything is shown.
        pub(super) fn begin() -> Option<Self> {
            let own = OWN_LINES.lock().ok()?;
            let real = io::stderr().as_fd().try_clone_to_owned().ok()?;
            let nowhere = OpenOptions::new().write(true).open("/dev/null").ok()?;
            dup2_stderr(nowhere).ok()?;
            Some(Self { real, _own: own })
        }
    }

    impl Drop for Quiet {
        fn drop(&mut self) {
            // A file descriptor that was there a moment ago can be had again; if not, the loss has no remedy here.
            let _ = dup2_stderr(&self.real);
        }
    }
}

#[cfg(not(unix))]
mod quiet {
    /// Sound libraries of other systems print nothing.
    pub(super) enum Quiet {}

    impl Quiet {
        pub(super) fn begin() -> Option<Self> {
            None
        }
    }
}
