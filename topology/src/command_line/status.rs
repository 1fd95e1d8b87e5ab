//! What does someone who waits see? A line on standard error that is written anew, or, where that is no terminal, a
//! line now and then.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Progress;

/// Between two lines when standard error is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows progress.
pub(super) struct Status {
    line: Line,
}

enum Line {
    Nothing,
    Rewritten(ProgressBar),
    Now(Instant),
}

impl Status {
    pub(super) fn new(quiet: bool) -> Self {
        let line = if quiet {
            Line::Nothing
        } else if stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            Line::Rewritten(bar)
        } else {
            Line::Now(Instant::now())
        };
        Self { line }
    }

    /// Shows a sentence about what is being done before the song begins.
    pub(super) fn say(&self, sentence: &str) {
        match &self.line {
            Line::Nothing => (),
            Line::Rewritten(bar) => bar.set_message(sentence.to_owned()),
            Line::Now(_) => eprintln!("{sentence}"),
        }
    }

    /// Shows how far the song is.
    pub(super) fn show(&mut self, progress: &Progress, verb: &str) {
        match &mut self.line {
            Line::Nothing => (),
            Line::Rewritten(bar) => {
                bar.set_message(sentence(progress, verb));
                bar.tick();
            }
            Line::Now(last) if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                eprintln!("{}", sentence(progress, verb));
            }
            Line::Now(_) => (),
        }
    }

    /// Takes the line away and leaves a last sentence.
    pub(super) fn end(&self, sentence: &str) {
        match &self.line {
            Line::Nothing => (),
            Line::Rewritten(bar) => {
                bar.finish_and_clear();
                eprintln!("{sentence}");
            }
            Line::Now(_) => eprintln!("{sentence}"),
        }
    }
}

fn sentence(progress: &Progress, verb: &str) -> String {
    let Progress { elapsed, frames_written, segments_decoded, delivered, first_audio, .. } = progress;
    let mut sentence = format!(
        "{} · {} frames ({}) · {segments_decoded} segments · {} {verb}",
        elapsed,
        frames_written.0,
        frames_written.seconds(),
        delivered.seconds()
    );
    if let Some(factor) = progress.real_time_factor() {
        sentence += &format!(" · RTF {factor:.2}");
    }
    if let Some(first) = first_audio {
        sentence += &format!(" · first audio after {first}");
    }
    sentence
}
