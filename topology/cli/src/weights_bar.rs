//! Progress bar of a written checkpoint, on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// The bar; nothing where standard error is no terminal.
pub(super) struct WeightsBar(ProgressBar);

impl WeightsBar {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::no_length() };
        let style = ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    /// `done` bytes of `all` are written.
    pub(super) fn show(&mut self, done: u64, all: u64) {
        self.0.set_length(all);
        self.0.set_position(done);
    }
}

impl Drop for WeightsBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
