//! Promise: queues are counted. Who reads slowly holds the whole song back, as far as the language model.

mod support;

use std::time::{Duration, Instant};

use heartstream::{Outcome, Song, units};
use support::{FRAME, assert_prefix, engine, request, tiny_model};

/// More than may be in flight.
const FRAMES: u64 = 2300;
/// The language model writes a frame in some milliseconds: so long without one, it waits.
const STILL: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_holds_the_language_model_back() {
    let model = tiny_model();
    let engine = engine(&model, 1, 1).await;
    let plan = engine.plan();
    let bound = plan.capacities.most_frames_in_flight(plan.windows, plan.flow.len()) as u64;
    assert!(bound < FRAMES, "the song is long enough to show it");
    let mut unguided = request(FRAMES, 4);
    unguided.sampling.cfg_scale = 1.0;
    let mut song = engine.sing(unguided).await.expect("a song");

    // Without a reader the song comes to rest, with not more and not much less on its way than there is room for.
    let in_flight = |song: &Song, read: usize| {
        let written = song.snapshot().frames_written.0;
        let flying = written - (read / FRAME) as u64;
        assert!(flying <= bound, "{written} frames written, {} read: {flying} on their way", read / FRAME);
        written
    };
    support::until("half of the room is taken", || in_flight(&song, 0) >= bound / 2).await;
    let (mut written, mut since) = (in_flight(&song, 0), Instant::now());
    support::until("the song comes to rest", || {
        let now = in_flight(&song, 0);
        if now != written {
            (written, since) = (now, Instant::now());
        }
        since.elapsed() >= STILL
    })
    .await;
    assert!(written < FRAMES);

    // Reading on sets it going again, and nothing is lost.
    let mut samples = Vec::new();
    while let Some(block) = song.next_block().await {
        assert_eq!(block.start.0 as usize * units::CHANNELS, samples.len());
        samples.extend_from_slice(&block.samples);
        in_flight(&song, samples.len());
    }
    let report = song.finished().await;
    assert_eq!(report.outcome, Outcome::Finished);
    assert_eq!(report.frames.0, FRAMES);
    assert_eq!(samples.len(), FRAME * FRAMES as usize);
    // It is the same song as with a fast reader.
    let mut first_window = request(372, 4);
    first_window.sampling.cfg_scale = 1.0;
    let (beginning, _) = support::sung(&engine, first_window).await;
    assert_prefix("its beginning", &beginning[..support::HOP * FRAME], &samples);
}
