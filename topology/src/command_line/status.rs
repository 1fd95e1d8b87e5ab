//! What does someone who waits see? A line on standard error that is written anew, or, where that is no terminal, a
//! line now and then.

use std::{
    io::{IsTerminal, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{Progress, SpeakerProgress, SpeakerState};

/// Between two lines when standard error is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Shows progress.
pub(super) struct Status {
    line: Line,
    /// What was last said of the speaker.
    announced: Announced,
}

/// What is said once, in a line of its own, when it becomes so.
#[derive(Default)]
struct Announced {
    /// The wait before the start, as it was last said.
    start: Option<f64>,
    lost: bool,
    paused: bool,
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
        Self { line, announced: Announced::default() }
    }

    /// Shows a sentence about what is being done before the song begins.
    pub(super) fn say(&self, sentence: &str) {
        match &self.line {
            Line::Nothing => (),
            Line::Rewritten(bar) => bar.set_message(sentence.to_owned()),
            Line::Now(_) => note!("{sentence}"),
        }
    }

    /// Shows how far the song is.
    pub(super) fn show(&mut self, progress: &Progress, verb: &str) {
        for sentence in self.announced.news(progress) {
            self.line(&sentence);
        }
        match &mut self.line {
            Line::Nothing => (),
            Line::Rewritten(bar) => {
                bar.set_message(sentence(progress, verb));
                bar.tick();
            }
            Line::Now(last) if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                note!("{}", sentence(progress, verb));
            }
            Line::Now(_) => (),
        }
    }

    /// Leaves a sentence above the line.
    pub(super) fn line(&self, sentence: &str) {
        match &self.line {
            Line::Nothing => (),
            Line::Rewritten(bar) => bar.suspend(|| note!("{sentence}")),
            Line::Now(_) => note!("{sentence}"),
        }
    }

    /// Takes the line away and leaves a last sentence.
    pub(super) fn end(&self, sentence: &str) {
        match &self.line {
            Line::Nothing => (),
            Line::Rewritten(bar) => {
                bar.finish_and_clear();
                note!("{sentence}");
            }
            Line::Now(_) => note!("{sentence}"),
        }
    }
}

impl Announced {
    /// What has become so since this was last asked.
    fn news(&mut self, progress: &Progress) -> Vec<String> {
        let mut news = Vec::new();
        if let Some(speaker) = &progress.speaker {
            let SpeakerProgress { state, played, real_time_factor, wait, .. } = speaker;
            let decided = self.start.is_none() || *state == SpeakerState::Waits && self.start != Some(wait.0);
            if decided {
                self.start = Some(wait.0);
                news.push(start(*real_time_factor, wait.0));
            }
            let lost = *state == SpeakerState::DeviceLost;
            if lost != self.lost {
                self.lost = lost;
                news.push(match lost {
                    true => format!("the audio device was lost after {played}; the song waits until it is back"),
                    false => format!("the audio device is back; playing goes on after {played}"),
                });
            }
        }
        if progress.paused != self.paused {
            self.paused = progress.paused;
            news.push(if self.paused { "paused" } else { "resumed" }.to_owned());
        }
        news
    }
}

/// What there is to know before playing starts.
fn start(real_time_factor: f64, wait: f64) -> String {
    let factor = format!("real-time factor {real_time_factor:.2}");
    if wait <= 0.0 {
        format!("{factor}: playing starts now")
    } else if wait.is_finite() {
        format!("{factor}: playing starts in {wait:.0} s, so that it need not stop again (--start now does not wait)")
    } else {
        format!("{factor}: playing starts when the song is complete (--start now does not wait)")
    }
}

/// How far the song is. Parts are joined by dots; what a later stage has to say of itself is one more part.
fn sentence(progress: &Progress, verb: &str) -> String {
    let Progress { elapsed, frames_written, segments_decoded, delivered, first_audio, speaker, .. } = progress;
    let mut parts = vec![
        elapsed.to_string(),
        format!("{} frames ({})", frames_written.0, frames_written.seconds()),
        format!("{segments_decoded} segments"),
    ];
    match speaker {
        None => parts.push(format!("{} {verb}", delivered.seconds())),
        Some(SpeakerProgress { state, played, buffered, .. }) => {
            parts.push(format!("{played} played"));
            parts.push(format!("{buffered} buffered"));
            match state {
                SpeakerState::Waits => parts.push("waits".to_owned()),
                SpeakerState::DeviceLost => parts.push("device lost".to_owned()),
                SpeakerState::Plays => (),
            }
        }
    }
    if progress.paused {
        parts.push("paused".to_owned());
    }
    if let Some(frames) = progress.frames_per_verify {
        parts.push(format!("{frames:.2} frames per verify"));
    }
    if let Some(factor) = progress.real_time_factor() {
        parts.push(format!("RTF {factor:.2}"));
    }
    if let Some(first) = first_audio {
        parts.push(format!("first audio after {first}"));
    }
    parts.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{SampleIndex, Seconds};

    fn playing(state: SpeakerState, wait: f64) -> Progress {
        let speaker = SpeakerProgress {
            state,
            played: Seconds(3.0),
            buffered: Seconds(22.5),
            real_time_factor: 1.625,
            wait: Seconds(wait),
        };
        Progress {
            speaker: Some(speaker),
            delivered: SampleIndex(48_000 * 8),
            elapsed: Seconds(4.0),
            ..Progress::default()
        }
    }

    #[test]
    fn the_start_is_announced_once_with_factor_and_wait_and_again_when_the_wait_is_another() {
        let mut announced = Announced::default();
        assert!(announced.news(&Progress::default()).is_empty());
        let waits = playing(SpeakerState::Waits, 41.6);
        assert_eq!(
            announced.news(&waits),
            [
                "real-time factor 1.62: playing starts in 42 s, so that it need not stop again (--start now does not wait)"
            ]
        );
        assert!(announced.news(&waits).is_empty());
        assert_eq!(announced.news(&playing(SpeakerState::Waits, 20.0)).len(), 1);
        assert!(announced.news(&playing(SpeakerState::Plays, 20.0)).is_empty());
        assert_eq!(
            Announced::default().news(&playing(SpeakerState::Plays, 0.0)),
            ["real-time factor 1.62: playing starts now"]
        );
    }

    #[test]
    fn a_lost_device_and_a_pause_are_announced_when_they_begin_and_when_they_end() {
        let mut announced = Announced::default();
        announced.news(&playing(SpeakerState::Plays, 0.0));
        let mut news = |progress| announced.news(&progress).join("|");
        assert!(news(playing(SpeakerState::DeviceLost, 0.0)).contains("lost after 3.00 s"));
        assert_eq!(news(playing(SpeakerState::DeviceLost, 0.0)), "");
        assert!(news(playing(SpeakerState::Plays, 0.0)).contains("back"));
        let paused = Progress { paused: true, ..playing(SpeakerState::Plays, 0.0) };
        assert_eq!([news(paused), news(paused), news(playing(SpeakerState::Plays, 0.0))], ["paused", "", "resumed"]);
    }

    #[test]
    fn a_song_that_is_played_shows_what_is_played_and_buffered_and_the_factor() {
        let sentence = sentence(&playing(SpeakerState::Waits, 1.0), "played");
        assert!(sentence.contains("3.00 s played · 22.50 s buffered · waits · RTF 0.50"), "{sentence}");
    }
}
