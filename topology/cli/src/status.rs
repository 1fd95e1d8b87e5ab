//! Progress on standard error: a line that is written anew on a terminal, a line now and then elsewhere, or JSON for
//! programs.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use heartstream::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use terminal_size::{Width, terminal_size_of};

use super::{
    output_macros,
    status_line::{Announced, SongLine},
};

/// Between two lines when standard error is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// Between two progress events for programs.
const BETWEEN_EVENTS: Duration = Duration::from_millis(500);
/// Columns that the spinner takes, with the blank behind it and the one that no line should touch.
const SPINNER: usize = 3;
/// Columns of a terminal that does not say how many it has.
const USUAL_COLUMNS: usize = 80;

/// How much is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verbosity {
    /// Nothing but errors.
    pub quiet: bool,
    /// What goes on inside, too.
    pub verbose: bool,
}

/// Shows progress.
pub(super) struct Status {
    form: Form,
    /// What was last said of the song.
    announced: Announced,
    /// Whether more songs come after the present one.
    more: bool,
}

enum Form {
    Nothing,
    Rewritten(ProgressBar),
    Now(Instant),
    Json(Instant),
}

impl Status {
    pub(super) fn new(quiet: bool) -> Self {
        let form = if quiet {
            Form::Nothing
        } else if output_macros::is_json() {
            Form::Json(Instant::now())
        } else if stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            bar.set_style(
                ProgressStyle::with_template("{spinner} {wide_msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            Form::Rewritten(bar)
        } else {
            Form::Now(Instant::now())
        };
        Self { form, announced: Announced::default(), more: false }
    }

    /// Shows a sentence about what is being done before the song begins.
    pub(super) fn say(&self, sentence: &str) {
        match &self.form {
            Form::Nothing => (),
            Form::Rewritten(bar) => bar.set_message(sentence.to_owned()),
            Form::Now(_) | Form::Json(_) => note!("{sentence}"),
        }
    }

    /// Shows how far the song is.
    pub(super) fn show(&mut self, progress: &Progress, song: &SongLine) {
        for sentence in self.announced.news(progress) {
            self.line(&sentence);
        }
        match &mut self.form {
            Form::Nothing => (),
            Form::Rewritten(bar) => {
                let columns = terminal_size_of(stderr()).map_or(USUAL_COLUMNS, |(Width(columns), _)| columns.into());
                bar.set_message(song.fitted(progress, columns.saturating_sub(SPINNER)));
                bar.tick();
            }
            Form::Now(last) if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                note!("{}", song.fitted(progress, usize::MAX));
            }
            Form::Json(last) if last.elapsed() >= BETWEEN_EVENTS => {
                *last = Instant::now();
                output_macros::event("progress", song.facts(progress));
            }
            Form::Now(_) | Form::Json(_) => (),
        }
    }

    /// Leaves a sentence above the line.
    pub(super) fn line(&self, sentence: &str) {
        match &self.form {
            Form::Nothing => (),
            Form::Rewritten(bar) => bar.suspend(|| note!("{sentence}")),
            Form::Now(_) | Form::Json(_) => note!("{sentence}"),
        }
    }

    /// Takes the line away and leaves a last sentence.
    pub(super) fn end(&self, sentence: &str) {
        if let Form::Rewritten(bar) = &self.form {
            bar.finish_and_clear();
        }
        if !matches!(self.form, Form::Nothing) {
            note!("{sentence}");
        }
    }

    /// As [`Status::end`]; programs get `facts` instead of a sentence. Where more songs come, the line stays.
    pub(super) fn end_song(&self, sentence: &str, facts: impl FnOnce() -> Value) {
        match &self.form {
            Form::Json(_) => output_macros::event("end", facts()),
            _ if self.more => self.line(sentence),
            _ => self.end(sentence),
        }
    }

    /// Takes the line away and leaves what came of several songs; programs get `facts`.
    pub(super) fn end_songs(&self, table: &str, facts: impl FnOnce() -> Value) {
        match &self.form {
            Form::Json(_) => output_macros::event("takes", facts()),
            _ => self.end(table),
        }
    }

    /// Shows one song of several, from its beginning.
    pub(super) fn next_song(&mut self) {
        (self.announced, self.more) = (Announced::default(), true);
    }
}
