//! Forecast: how long a song will be, from its words and what sung lines took before.
//!
//! The model decides where a song ends, so this is what its songs were like and no promise. Words are counted by lines:
//! they are what a listener's song has most of, and what the demo model was taught lengths by.

use heartstream::SongRequest;
use serde::Serialize;
use utoipa::ToSchema;

use crate::views::sung_lines;

/// Songs below which nothing is foreseen from them: fewer say little about their spread.
const FEWEST: usize = 10;
/// The latest songs that are looked at.
pub(crate) const LATEST: u32 = 200;
/// What tells a song that reached its longest from one that ended a frame before, in seconds.
const HALF_A_FRAME: f64 = 0.04;

/// Seconds for each sung line: what one song in ten, half of the songs, and nine in ten stay below.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SecondsPerLine {
    /// The first tenth.
    pub low: f64,
    /// The median.
    pub median: f64,
    /// The last tenth.
    pub high: f64,
}

/// How long a song will probably be, in seconds: eight of ten are within `low` and `high`, if they are like those before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct Length {
    pub low: f64,
    pub likely: f64,
    pub high: f64,
}

/// A song that is over.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sung {
    pub lyrics: String,
    pub seconds: f64,
    /// The request, as JSON.
    pub request: String,
}

impl SecondsPerLine {
    /// Seconds for each sung line, as measured on songs of a model: `low` at most `median`, that at most `high`.
    pub fn new(low: f64, median: f64, high: f64) -> Self {
        Self { low, median, high }
    }

    /// What finished songs took. Those that were cut off at their longest say nothing about where the model ends one.
    /// `None` where there are too few.
    pub(crate) fn of(songs: &[Sung]) -> Option<Self> {
        let mut seconds: Vec<f64> = songs.iter().filter_map(Sung::seconds_per_line).collect();
        if seconds.len() < FEWEST {
            return None;
        }
        seconds.sort_by(f64::total_cmp);
        let at = |share: f64| seconds[((seconds.len() - 1) as f64 * share).round() as usize];
        Some(Self::new(at(0.1), at(0.5), at(0.9)))
    }

    /// The length of a song of these words. `None` where no line of them is sung.
    pub(crate) fn length(self, lyrics: &str, max_seconds: f64) -> Option<Length> {
        let lines = sung_lines(lyrics) as f64;
        let length = |seconds: f64| (seconds * lines).min(max_seconds);
        (lines > 0.0).then(|| Length { low: length(self.low), likely: length(self.median), high: length(self.high) })
    }
}

impl Sung {
    fn seconds_per_line(&self) -> Option<f64> {
        let request: SongRequest = serde_json::from_str(&self.request).ok()?;
        let (lines, most) = (sung_lines(&self.lyrics), request.max_frames.seconds().0);
        let ended = self.seconds + HALF_A_FRAME < most;
        (ended && lines > 0).then(|| self.seconds / lines as f64)
    }
}

#[cfg(test)]
mod tests {
    use heartstream::units::Seconds;

    use super::*;

    fn sung(lines: usize, seconds: f64, most: f64) -> Sung {
        let lyrics = format!("[Verse]\n{}", "la la\n".repeat(lines));
        let mut request = SongRequest::new("calm", lyrics.clone());
        request.max_frames = Seconds(most).frames();
        Sung { lyrics, seconds, request: serde_json::to_string(&request).unwrap() }
    }

    #[test]
    fn a_song_is_as_long_as_the_lines_of_those_before_were() {
        let songs: Vec<Sung> = (0..11).map(|song| sung(2, 4.0 + 0.4 * f64::from(song), 60.0)).collect();
        let seconds = SecondsPerLine::of(&songs).unwrap();
        for (found, expected) in [(seconds.low, 2.2), (seconds.median, 3.0), (seconds.high, 3.8)] {
            assert!((found - expected).abs() < 1e-9, "{seconds:?}");
        }
        let length = seconds.length("[Verse]\none\ntwo\n\n[Chorus]\nthree\n", 10.0).unwrap();
        assert!((length.likely - 9.0).abs() < 1e-9 && length.high == 10.0, "{length:?}");
    }

    #[test]
    fn too_few_songs_songs_cut_off_and_words_without_a_line_give_no_forecast() {
        let few: Vec<Sung> = (0..9).map(|_| sung(2, 6.0, 60.0)).collect();
        assert_eq!(SecondsPerLine::of(&few), None);
        let cut: Vec<Sung> = (0..50).map(|_| sung(2, 30.0, 30.0)).collect();
        assert_eq!(SecondsPerLine::of(&cut), None);
        let marks: Vec<Sung> = (0..50).map(|_| sung(0, 10.0, 30.0)).collect();
        assert_eq!(SecondsPerLine::of(&marks), None);
        assert_eq!(SecondsPerLine::new(1.0, 2.0, 3.0).length("[Intro]\n\n[Outro]", 60.0), None);
    }
}
