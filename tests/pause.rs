//! Promise: a paused song makes nothing new, and is afterwards the song that was not paused.

mod support;

use std::{sync::Arc, time::Duration};

use heartstream::{Outcome, PcmBlock, Song, SongRequest, units::Seconds};
use support::noise_engine;

fn request() -> SongRequest {
    SongRequest {
        seed: 3,
        max_frames: Seconds(6.0).frames(),
        ..SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in")
    }
}

async fn rest(song: &mut Song) -> Vec<f32> {
    let mut samples = Vec::new();
    while let Some(block) = song.next_block().await {
        samples.extend_from_slice(&Arc::<PcmBlock>::as_ref(&block).samples);
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_was_paused_is_bit_for_bit_the_song_that_was_not() {
    let engine = noise_engine().await;
    let mut song = engine.sing(request()).await.expect("a song");
    let whole = rest(&mut song).await;
    let mut song = engine.sing(request()).await.expect("a song");
    let mut pauses = 0;
    let frames = request().max_frames;
    // Paused again and again, until the language model is through.
    while song.snapshot().frames_written < frames {
        song.pause();
        assert!(song.is_paused() && song.snapshot().paused);
        tokio::time::sleep(Duration::from_millis(5)).await;
        song.resume();
        assert!(!song.is_paused() && !song.snapshot().paused);
        tokio::time::sleep(Duration::from_millis(5)).await;
        pauses += 1;
    }
    assert!(pauses > 1, "a song of {} frames is not written between two looks", frames.0);
    assert!(rest(&mut song).await == whole);
    assert_eq!(song.finished().await.outcome, Outcome::Finished);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_song_writes_no_frame_and_can_be_cancelled() {
    let song = noise_engine().await.sing(request()).await.expect("a song");
    song.pause();
    // One frame may have been under way when it was paused; then there is no more.
    let written = |song: &Song| song.snapshot().frames_written;
    let mut before = written(&song);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = written(&song);
        if now == before {
            break;
        }
        before = now;
    }
    assert!(before < request().max_frames, "it was paused in time");
    song.cancel();
    assert_eq!(song.finished().await.outcome, Outcome::Cancelled);
}
