//! Promise: a song has the reference's length, to the sample, and says so in its report.

mod support;

use heartstream::{Outcome, SongRequest, Stage, units};
use heartstream_models::signal::ReferenceWindows;
use support::{engine, read, request, tiny_model};

/// Frames, and the samples of each channel that they become.
const LENGTHS: [(u64, u64); 10] = [
    (1, 3_840),
    (28, 107_520),
    (29, 111_359), // the reference goes through seconds, and this length loses a sample there
    (58, 222_719),
    (371, 371 * 3840),
    (372, 372 * 3840), // exactly a window
    (373, 373 * 3840),
    (424, 424 * 3840), // a last window of 52 new frames; the reference of before September 2026 dropped it
    (744, 744 * 3840), // the next such length
    (1012, 3_886_079), // exactly three windows, and a sample less
];

#[tokio::test(flavor = "multi_thread")]
async fn a_song_of_any_length_ends_at_its_sample() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    for pair in LENGTHS.chunks(2) {
        let mut songs = Vec::new();
        for (frames, samples) in pair {
            let song = engine.sing(request(*frames, 3)).await.expect("a song");
            songs.push((*frames, *samples, tokio::spawn(read(song))));
        }
        for (frames, samples, song) in songs {
            let (heard, report) = song.await.expect("a song");
            assert_eq!(heard.len() as u64, samples * units::CHANNELS as u64, "{frames} frames");
            assert_eq!(report.outcome, Outcome::Finished);
            assert_eq!(report.frames.0, frames);
            assert!((report.audio.0 - samples as f64 / 48_000.0).abs() < 1e-9, "{frames} frames: {}", report.audio);
            let items = |stage| report.stages.iter().find(|report| report.stage == stage).map(|report| report.items);
            let windows = ReferenceWindows::default().count(frames as usize) as u64;
            assert_eq!(items(Stage::FlowWorker), Some(windows), "{frames} frames");
            assert_eq!(items(Stage::Vocoder), Some(windows), "{frames} frames");
            assert_eq!(items(Stage::LanguageModel), Some(frames));
            assert!(report.first_audio.is_some_and(|first| first.0 > 0.0 && first <= report.wall));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_does_not_fit_beside_its_words_ends_where_the_positions_do_and_says_so() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    // A letter is a position in this model, and it has 4096.
    let words = SongRequest { lyrics: "la ".repeat(1350), ..request(10, 3) };
    let words = SongRequest { max_frames: units::Frames(1000), ..words };
    let (_, report) = support::sung(&engine, words).await;
    // Tags: BOS, <tag>piano,calm</tag>, EOS; the reference's slot; lyrics: BOS, 4050 letters, EOS.
    let taken = (2 + 21) + 1 + (2 + 4050);
    assert_eq!(report.frames.0, 4096 - taken + 1, "the last frame needs no position");
    assert!(report.notes.iter().any(|note| note.contains("the song ends after")), "{:?}", report.notes);
}
