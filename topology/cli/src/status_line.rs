//! The status line of a song, and what is said once when it happens.

use heartstream::{
    Progress,
    report::{SpeakerProgress, SpeakerState},
    units::Seconds,
};
use serde_json::{Value, json};

/// A song as its status line shows it.
pub(super) struct SongLine {
    pub seed: u64,
    /// `played` or `written`.
    pub verb: &'static str,
    /// Whether keys are listened to.
    pub keys: bool,
    /// Whether the line shows what goes on inside.
    pub verbose: bool,
}

/// Between the parts of a line.
const DOT: &str = " · ";

impl SongLine {
    /// How far the song is, in at most `columns`: what matters least is left out first.
    pub fn fitted(&self, progress: &Progress, columns: usize) -> String {
        let mut parts = self.parts(progress);
        let line = |parts: &[(u8, String)]| parts.iter().map(|(_, part)| part.as_str()).collect::<Vec<_>>().join(DOT);
        while parts.len() > 1 && line(&parts).chars().count() > columns {
            let least =
                parts.iter().enumerate().max_by_key(|(place, (rank, _))| (*rank, *place)).map(|(place, _)| place);
            parts.remove(least.unwrap_or(0));
        }
        line(&parts).chars().take(columns).collect()
    }

    /// The parts of the line in their order, each with its rank: the higher, the sooner it is left out.
    fn parts(&self, progress: &Progress) -> Vec<(u8, String)> {
        let mut parts = vec![(0, self.place(progress))];
        if let Some(SpeakerProgress { buffered, .. }) = &progress.speaker {
            parts.push((1, format!("{:.0} s ahead", buffered.0)));
        }
        parts.push((3, format!("seed {}", self.seed)));
        if self.keys {
            parts.push((2, format!("space {}, q stops", if progress.paused { "goes on" } else { "pauses" })));
        }
        if self.verbose {
            parts.extend(inside(progress).into_iter().map(|part| (4, part)));
        }
        parts
    }

    /// Where the song is, of how much.
    fn place(&self, progress: &Progress) -> String {
        let so_far = if progress.all_written { "" } else { " so far" };
        let of = format!("of {}{so_far}", clock(progress.frames_written.seconds()));
        match &progress.speaker {
            None if progress.delivered.0 == 0 => {
                format!("writing: {}{so_far}", clock(progress.frames_written.seconds()))
            }
            None if progress.paused => format!("paused at {} {of}", clock(progress.delivered.seconds())),
            None => format!("{} {} {of}", clock(progress.delivered.seconds()), self.verb),
            Some(speaker) => match state(progress, speaker) {
                "waits" => {
                    format!("waiting to play without a gap: {}{so_far}", clock(progress.frames_written.seconds()))
                }
                "device_lost" => format!("device lost at {} {of}", clock(speaker.played)),
                "paused" => format!("paused at {} {of}", clock(speaker.played)),
                _ => format!("{} {of}", clock(speaker.played)),
            },
        }
    }

    /// The same for programs; docs/progress.md says what each is.
    pub fn facts(&self, progress: &Progress) -> Value {
        let speaker = progress.speaker.as_ref();
        let state = match speaker {
            Some(speaker) => state(progress, speaker),
            None if progress.paused => "paused",
            None => "writes",
        };
        json!({
            "state": state,
            "position_s": speaker.map_or(progress.delivered.seconds(), |speaker| speaker.played).0,
            "length_s": progress.frames_written.seconds().0,
            "length_is_final": progress.all_written,
            "buffered_s": speaker.map(|speaker| speaker.buffered.0),
            "silence_s": silence(progress).0,
            "seed": self.seed,
            "elapsed_s": progress.elapsed.0,
            "first_audio_s": progress.first_audio.map(|first| first.0),
            "real_time_factor": progress.real_time_factor(),
            "frames": progress.frames_written.0,
            "segments": progress.segments_decoded,
            "frames_per_verify": progress.frames_per_verify,
        })
    }
}

/// What goes on inside.
fn inside(progress: &Progress) -> Vec<String> {
    let mut parts = vec![
        progress.elapsed.to_string(),
        format!("{} frames", progress.frames_written.0),
        format!("{} segments", progress.segments_decoded),
    ];
    parts.extend(progress.frames_per_verify.map(|frames| format!("{frames:.2} frames per verify")));
    parts.extend(progress.real_time_factor().map(|factor| format!("RTF {factor:.2}")));
    parts.extend(progress.first_audio.map(|first| format!("first audio after {first}")));
    parts
}

fn state(progress: &Progress, speaker: &SpeakerProgress) -> &'static str {
    match speaker.state {
        SpeakerState::DeviceLost => "device_lost",
        _ if progress.paused => "paused",
        SpeakerState::Waits => "waits",
        _ => "plays",
    }
}

/// Silence that was played for want of music.
pub(super) fn silence(progress: &Progress) -> Seconds {
    Seconds(progress.underrun_samples as f64 / f64::from(heartstream::units::SAMPLE_RATE))
}

/// A place in a song as players show it: minutes and seconds.
fn clock(place: Seconds) -> String {
    let seconds = place.0.max(0.0) as u64;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// What is said once, in a line of its own, when it becomes so.
#[derive(Default)]
pub(super) struct Announced {
    /// The wait before the start, as it was last said.
    start: Option<f64>,
    lost: bool,
    paused: bool,
    /// Samples of silence at the last look, and what they were when the silence of the moment began.
    silence: u64,
    silent_since: Option<u64>,
}

impl Announced {
    /// What has become so since this was last asked.
    pub fn news(&mut self, progress: &Progress) -> Vec<String> {
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
            news.extend(self.silence(progress, *played));
        }
        if progress.paused != self.paused {
            self.paused = progress.paused;
            news.push(if self.paused { "paused" } else { "resumed" }.to_owned());
        }
        news
    }

    /// Silence for want of music is said when it begins, and how long it was when it is over.
    fn silence(&mut self, progress: &Progress, played: Seconds) -> Option<String> {
        let now = progress.underrun_samples;
        let before = std::mem::replace(&mut self.silence, now);
        match self.silent_since {
            None if now > before => {
                self.silent_since = Some(before);
                Some(format!(
                    "silence after {played}: the machine is slower than the music, which goes on when there is more"
                ))
            }
            Some(since) if now == before => {
                self.silent_since = None;
                let length = Seconds((now - since) as f64 / f64::from(heartstream::units::SAMPLE_RATE));
                Some(format!("playing goes on after {length} of silence"))
            }
            _ => None,
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use heartstream::units::{Frames, SampleIndex};

    fn playing(state: SpeakerState, wait: f64) -> Progress {
        let speaker = SpeakerProgress {
            state,
            played: Seconds(63.0),
            buffered: Seconds(22.5),
            real_time_factor: 1.625,
            wait: Seconds(wait),
        };
        with(Progress::default(), |progress| {
            progress.speaker = Some(speaker);
            progress.delivered = SampleIndex(48_000 * 80);
            (progress.elapsed, progress.working) = (Seconds(70.0), Seconds(40.0));
            progress.frames_written = Frames(1500);
        })
    }

    fn with(mut progress: Progress, change: impl FnOnce(&mut Progress)) -> Progress {
        change(&mut progress);
        progress
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
        assert!(news(playing(SpeakerState::DeviceLost, 0.0)).contains("lost after 63.00 s"));
        assert_eq!(news(playing(SpeakerState::DeviceLost, 0.0)), "");
        assert!(news(playing(SpeakerState::Plays, 0.0)).contains("back"));
        let paused = with(playing(SpeakerState::Plays, 0.0), |progress| progress.paused = true);
        assert_eq!([news(paused), news(paused), news(playing(SpeakerState::Plays, 0.0))], ["paused", "", "resumed"]);
    }

    #[test]
    fn silence_is_said_at_once_and_its_length_when_it_is_over() {
        let mut announced = Announced::default();
        let silent = |samples| with(playing(SpeakerState::Plays, 0.0), |progress| progress.underrun_samples = samples);
        let mut news = |samples| announced.news(&silent(samples));
        assert_eq!(news(0).len(), 1);
        assert!(news(4_800)[0].starts_with("silence after 63.00 s"));
        assert!(news(48_000).is_empty());
        assert_eq!(news(48_000), ["playing goes on after 1.00 s of silence"]);
        assert!(news(48_000).is_empty());
        assert!(news(48_001)[0].starts_with("silence"), "the next one is said, too");
    }

    fn line(verbose: bool) -> SongLine {
        SongLine { seed: 7, verb: "played", keys: true, verbose }
    }

    #[test]
    fn a_listener_sees_place_length_what_is_ahead_seed_and_keys_and_nothing_from_inside() {
        let progress = playing(SpeakerState::Plays, 0.0);
        let shown = line(false).fitted(&progress, 200);
        assert_eq!(shown, "1:03 of 2:00 so far · 22 s ahead · seed 7 · space pauses, q stops");
        let complete = with(progress, |progress| (progress.all_written, progress.paused) = (true, true));
        let shown = line(false).fitted(&complete, 200);
        assert_eq!(shown, "paused at 1:03 of 2:00 · 22 s ahead · seed 7 · space goes on, q stops");
        let shown = line(true).fitted(&progress, 200);
        assert!(shown.contains("1500 frames") && shown.contains("RTF 0.50"), "{shown}");
        let written = SongLine { verb: "written", keys: false, ..line(false) };
        let progress = with(progress, |progress| progress.speaker = None);
        assert_eq!(written.fitted(&progress, 200), "1:20 written of 2:00 so far · seed 7");
    }

    #[test]
    fn the_line_fits_every_terminal_and_keeps_what_matters_most() {
        for state in [SpeakerState::Plays, SpeakerState::Waits, SpeakerState::DeviceLost] {
            let progress = playing(state, 12.0);
            for columns in 0..150 {
                assert!(line(true).fitted(&progress, columns).chars().count() <= columns, "{columns}");
            }
        }
        let progress = playing(SpeakerState::Plays, 0.0);
        assert_eq!(line(true).fitted(&progress, 58), "1:03 of 2:00 so far · 22 s ahead · space pauses, q stops");
        assert_eq!(line(true).fitted(&progress, 20), "1:03 of 2:00 so far");
    }

    #[test]
    fn programs_get_the_same_facts() {
        let facts = line(false).facts(&playing(SpeakerState::Plays, 0.0));
        assert_eq!(facts["state"], "plays");
        assert_eq!(facts["position_s"], 63.0);
        assert_eq!(facts["length_s"], 120.0);
        assert_eq!(facts["length_is_final"], false);
        assert_eq!(facts["buffered_s"], 22.5);
        assert_eq!(facts["seed"], 7);
        assert_eq!(facts["real_time_factor"], 0.5);
    }
}
