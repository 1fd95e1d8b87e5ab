//! Views: songs as answers show them.

use heartstream::SongRequest;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    library::Row,
    live_song::{State, Status},
};

/// A song.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct SongView {
    /// Its id.
    #[schema(example = "k3v9x0q2m8n4p7rt")]
    pub id: String,
    pub state: State,
    /// Songs before it, in the queue.
    pub place: Option<usize>,
    /// The first sung line.
    pub title: String,
    pub tags: String,
    pub lyrics: String,
    /// As text, since it may be larger than JavaScript's numbers.
    pub seed: String,
    /// The fingerprint of the model.
    pub model: String,
    pub format: String,
    /// Seconds since 1970.
    pub created: f64,
    /// The first of the songs that were ordered together, where it is another one.
    pub take_of: Option<String>,
    /// The longest that it can be.
    pub max_seconds: f64,
    /// How it was asked for, beside words, seed and length; none where its entry cannot be read.
    pub options: Option<Options>,
    /// Frames that are written, of 80 ms each.
    pub frames: u64,
    /// Seconds of sound that can be heard.
    pub seconds: f64,
    /// Seconds from the order to the first sound, while the song is written.
    pub first_sound: Option<f64>,
    /// Bytes of the audio file, once it is finished.
    pub bytes: u64,
    /// Integrated loudness in LUFS (EBU R128), once it is finished.
    pub loudness: Option<f64>,
    /// True peak in dBTP, once it is finished.
    pub true_peak: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
    /// The other machine that writes it, while it is written; none where it is this one.
    pub machine: Option<String>,
    /// The sections of its words, in order.
    pub sections: Vec<Section>,
}

/// Options of a song, by the names that an order has for them.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Options {
    pub temperature: f32,
    pub top_k: usize,
    pub cfg_scale: f64,
    pub flow_steps: usize,
    pub flow_guidance: f32,
    /// The longest first window, in frames.
    pub first_window: u64,
}

/// A section of the words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Section {
    /// Its mark, without brackets; empty before the first mark.
    pub name: String,
    /// Its lines.
    pub lines: usize,
}

/// Songs that were asked for together.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Ordered {
    /// The first song's id.
    pub id: String,
    /// The first song's place in the queue; none where it is written already.
    pub place: Option<usize>,
    /// All of them.
    pub songs: Vec<SongView>,
}

/// A page of the history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct History {
    /// Songs that the search finds.
    pub count: u64,
    /// Songs of the server that are written now.
    pub writing: usize,
    /// Songs of the server that wait for their turn.
    pub waiting: usize,
    /// Some of those that the search finds, the latest first.
    pub songs: Vec<SongView>,
}

impl SongView {
    /// What the index says, and what a live song says where it is one.
    pub fn new(row: Row, live: Option<&Status>) -> Self {
        let Row { id, created, request, format, title, tags, lyrics, seed, model, take_of, ending } = row;
        let request = serde_json::from_str::<SongRequest>(&request).ok();
        let status = live.cloned().unwrap_or_else(|| Status {
            state: ending.state,
            place: None,
            frames: ending.frames,
            buffered: ending.seconds,
            first_sound: None,
            error: ending.error.clone(),
            machine: None,
        });
        let sections = sections(&lyrics);
        Self {
            id: id.to_string(),
            state: status.state,
            place: status.place,
            title,
            tags,
            lyrics,
            seed,
            model,
            format,
            created,
            take_of: take_of.map(|id| id.to_string()),
            max_seconds: request.as_ref().map_or(0.0, |request| request.max_frames.seconds().0),
            options: request.as_ref().map(Options::of),
            frames: status.frames,
            seconds: status.buffered,
            first_sound: status.first_sound,
            bytes: ending.bytes,
            loudness: ending.loudness,
            true_peak: ending.true_peak,
            error: status.error,
            machine: status.machine,
            sections,
        }
    }
}

impl Options {
    pub fn of(request: &SongRequest) -> Self {
        let SongRequest { sampling, flow, first_window, .. } = request;
        Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            cfg_scale: sampling.cfg_scale,
            flow_steps: flow.steps,
            flow_guidance: flow.guidance,
            first_window: first_window.most.0,
        }
    }
}

/// Lines of the words that are sung: all but marks and empty ones.
pub(crate) fn sung_lines(lyrics: &str) -> usize {
    sections(lyrics).iter().map(|section| section.lines).sum()
}

fn sections(lyrics: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in lyrics.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(name) => sections.push(Section { name: name.to_owned(), lines: 0 }),
            None => match sections.last_mut() {
                Some(section) => section.lines += 1,
                None => sections.push(Section { name: String::new(), lines: 1 }),
            },
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_with_their_lines() {
        let found = sections("Hello\n\n[Verse]\none\ntwo\n[Chorus]\n");
        let section = |name: &str, lines| Section { name: name.to_owned(), lines };
        assert_eq!(found, [section("", 1), section("Verse", 2), section("Chorus", 0)]);
        assert_eq!(sung_lines("Hello\n\n[Verse]\none\ntwo\n[Chorus]\n"), 3);
    }
}
