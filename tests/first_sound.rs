//! Promise: the first sound waits for the first window alone, however short that is.

mod support;

use std::time::Duration;

use heartstream::{
    Continuity, FirstWindow, SongRequest,
    faults::{Faults, Hold},
    units::Frames,
};
use support::{assert_same, engine, request, sung, tiny_model};

/// A song that waits so long for its first sound waits for the window that never comes.
const HANGS: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sound_comes_while_the_second_window_is_not_decoded_yet() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    for continuity in [Continuity::Chained, Continuity::Parallel] {
        for frames in [4, 5, 7, 12, 48] {
            // The one worker holds the second window until another has decoded more segments than there are.
            let faults = Faults::holding([Hold { item: 2, until_segments: u64::MAX }]);
            let first_window = FirstWindow { most: Frames(frames), deadline: None };
            let request = SongRequest { continuity, first_window, ..request(300, 3) };
            let mut song = engine.with_faults(faults).sing(request).await.expect("a song");
            let block = tokio::time::timeout(HANGS, song.next_block()).await.expect("sound before the second window");
            assert!(block.is_some_and(|block| !block.samples.is_empty()), "{continuity:?}, {frames} frames");
            song.cancel();
            let report = song.finished().await;
            let reached = report.milestones;
            let times = [reached.first_frame, reached.first_window, reached.first_latents, report.first_audio];
            let times = times.map(|time| time.expect("a milestone").0);
            assert!(times.is_sorted(), "{continuity:?}, {frames} frames: {times:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_window_longer_than_the_song_is_the_song() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let song = |frames| {
        let first_window = FirstWindow { most: Frames(frames), deadline: None };
        sung(&engine, SongRequest { first_window, ..request(20, 3) })
    };
    let (expected, _) = song(20).await;
    for frames in [21, 362, 372] {
        let (samples, _) = song(frames).await;
        assert_same(&format!("a first window of {frames} frames"), &samples, &expected);
    }
}
