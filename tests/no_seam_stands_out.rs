//! Promise: where windows were joined, a song is no rougher than elsewhere.

mod support;

use heartstream::{Continuity, FirstWindow, Heartstream, Outcome, SongRequest, units};
use heartstream_models::{
    quality::{MelAnalyser, SeamReport, measure_seams, seams_of},
    signal::SegmentPlan,
};

/// The usual first window.
const FIRST: usize = FirstWindow::USUAL.0 as usize;
/// Long enough for two seams of each continuity, and for enough of everything else.
const FRAMES: usize = 150;

async fn sing(engine: &Heartstream, continuity: Continuity, seed: u64) -> [Vec<f32>; 2] {
    let mut song = engine
        .sing(SongRequest {
            seed,
            continuity,
            max_frames: units::Frames(FRAMES as u64),
            first_window: FirstWindow { most: FirstWindow::USUAL, deadline: None },
            ..SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in across the floor")
        })
        .await
        .expect("a song");
    let mut channels = [Vec::new(), Vec::new()];
    while let Some(block) = song.next_block().await {
        for pair in block.samples.chunks_exact(2) {
            channels[0].push(pair[0]);
            channels[1].push(pair[1]);
        }
    }
    let report = song.finished().await;
    assert_eq!(report.outcome, Outcome::Finished);
    assert_eq!(report.frames.0 as usize, FRAMES, "seed {seed} ends before the limit: take another");
    channels
}

fn measure(sound: &[Vec<f32>; 2], plan: &SegmentPlan) -> SeamReport {
    let seams = seams_of(plan, FRAMES, units::SAMPLES_PER_FRAME as usize);
    assert_eq!(seams.len(), 2);
    let latent = units::SAMPLES_PER_LATENT as usize;
    measure_seams([&sound[0], &sound[1]], &seams, latent, &mut MelAnalyser::new(units::SAMPLE_RATE))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_jump_at_a_seam_is_within_the_99th_percentile_elsewhere() {
    let engine = support::noise_engine().await;
    let plans = [
        (Continuity::Chained, SegmentPlan::chained(FIRST).expect("a plan")),
        (Continuity::Parallel, SegmentPlan::parallel(FIRST).expect("a plan")),
    ];
    // One song: among the seams of many, one in a hundred is above the percentile by chance.
    let seed = 1;
    for (continuity, plan) in &plans {
        let mut sound = sing(&engine, *continuity, seed).await;
        let jump = measure(&sound, plan).jump;
        assert!(jump.elsewhere.len() >= 150, "too little to compare with: {}", jump.elsewhere.len());
        assert!(jump.holds(), "{continuity:?}, seed {seed}: {:?} above {:?}", jump.at_seams, jump.limit());
        // And a seam that does click is found, in this very sound.
        let (place, _) = jump.worst().expect("a seam");
        sound[1][place] = if sound[1][place] > 0.0 { -1.0 } else { 1.0 };
        assert!(!measure(&sound, plan).jump.holds(), "{continuity:?}, seed {seed}: a click is not found");
    }
}
