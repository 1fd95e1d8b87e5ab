//! Frames that are played again: where the same was played first.

use crate::feed::Song;

/// The source of a frame that is played for the first time.
pub const NEW: u32 = u32::MAX;
/// The end of a song's last phrase, as a share of it, which is slower than it was before.
const SLOWER: f64 = 0.35;

/// For each frame the first one at which the same was played, or [`NEW`]: phrases that a song plays again begin at a
/// whole frame and last as many of them.
pub fn sources(song: &Song, frames: usize) -> Vec<u32> {
    let starts: Vec<usize> = song.phrases.iter().map(|start| (start / 0.08).round() as usize).collect();
    let mut sources = vec![NEW; frames];
    for (number, place) in song.order.iter().enumerate() {
        let Some(first) = song.order[..number].iter().position(|other| other == place) else { continue };
        let length = starts[first + 1] - starts[first];
        let end = match starts.get(number + 1) {
            Some(next) => *next,
            None => starts[number] + ((1.0 - SLOWER) * length as f64) as usize,
        };
        let played = starts[number]..end.min(starts[number] + length).min(frames);
        for (source, frame) in (starts[first]..).zip(played) {
            sources[frame] = source as u32;
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_is_played_again_stood_in_the_same_place_of_its_phrase() {
        let phrases = [1, 37, 73, 109, 145].map(|frame| f64::from(frame) * 0.08).to_vec();
        let song = Song {
            left: Vec::new(),
            right: Vec::new(),
            tags: String::new(),
            lyrics: String::new(),
            phrases,
            order: vec![4, 5, 4, 4, 5],
            places: Vec::new(),
            key: 0,
        };
        let sources = sources(&song, 190);
        assert!(sources[..73].iter().all(|source| *source == NEW));
        assert!((73..145).all(|frame| sources[frame] as usize == 1 + (frame - 73) % 36), "{sources:?}");
        // The end of the last one is slower.
        let again = sources[145..].iter().filter(|source| **source != NEW).count();
        assert!((20..26).contains(&again) && sources[145] == 37, "{again} frames of the last phrase");
    }
}
