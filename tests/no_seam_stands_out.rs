//! Promise: a song of the demo model does not betray where it was cut, where it begins and where it ends.

mod support;

use heartstream::{Continuity, FirstWindow, Heartstream, Outcome, SongRequest, units};
use heartstream_models::{
    quality::{Heard, Listening, MelAnalyser, listen, measure_seams, seams_of},
    signal::SegmentPlan,
};

/// The usual first window.
const FIRST: usize = FirstWindow::USUAL.0 as usize;
const LOOK_AHEAD: usize = SongRequest::USUAL_LOOK_AHEAD.0 as usize;
/// Long enough for two seams of each continuity, and for enough of everything else.
const FRAMES: usize = 150;
/// Different instruments, each with its seed: a seam of one song may stand out by chance, and those of all may not.
const SONGS: [(&str, u64); 6] = [
    ("flute,calm,solo", 1),
    ("violin,cheerful,reel", 2),
    ("trumpet,major", 1),
    ("organ,minor,dark", 2),
    ("piano,calm", 1),
    ("strings,chorale", 2),
];

async fn sing(engine: &Heartstream, continuity: Continuity, (tags, seed): (&str, u64)) -> [Vec<f32>; 2] {
    let words = "[Verse]\nThe sun creeps in across the floor\nIt finds the cup, it finds the chair\n\
                 [Chorus]\nAnd all the morning is a door\nThat someone left wide open there\n\
                 [Verse]\nThe evening folds the same light in\nAnd lays it down along the stair";
    let song = engine.sing(SongRequest {
        seed,
        continuity,
        max_frames: units::Frames(FRAMES as u64),
        first_window: FirstWindow { most: FirstWindow::USUAL, deadline: None },
        ..SongRequest::new(tags, words)
    });
    let (samples, report) = support::read(song.await.expect("a song")).await;
    assert_eq!(report.outcome, Outcome::Finished);
    assert_eq!(report.frames.0 as usize, FRAMES, "{tags}, seed {seed} ends before the limit: take another");
    [0, 1].map(|channel| samples.iter().skip(channel).step_by(2).copied().collect())
}

fn heard(sound: &[Vec<f32>; 2], plan: &SegmentPlan) -> Listening {
    let seams = seams_of(plan, FRAMES, units::SAMPLES_PER_FRAME as usize);
    listen([&sound[0], &sound[1]], &seams, units::SAMPLES_PER_LATENT as usize)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seams_beginnings_and_ends_are_like_everything_else_in_a_song() {
    let engine = Heartstream::builder().build().await.expect("the demo model");
    let plans = [
        (Continuity::Chained, SegmentPlan::chained(FIRST, LOOK_AHEAD).expect("a plan")),
        (Continuity::Parallel, SegmentPlan::parallel(FIRST).expect("a plan")),
    ];
    for (continuity, plan) in &plans {
        let mut songs = Vec::new();
        for song in SONGS {
            let mut sound = sing(&engine, *continuity, song).await;
            let listening = heard(&sound, plan);
            assert!(listening.thumps[0].elsewhere.len() >= 150, "too little to compare with");
            songs.push(listening);
            if song == SONGS[0] {
                a_click_is_found(&mut sound, plan);
            }
        }
        let heard = Heard::of(&songs);
        assert!(heard.holds(), "{continuity:?}: {heard:#?}");
    }
}

/// A seam that does click is found, in this very sound.
fn a_click_is_found(sound: &mut [Vec<f32>; 2], plan: &SegmentPlan) {
    let seams = seams_of(plan, FRAMES, units::SAMPLES_PER_FRAME as usize);
    let place = seams[0].begin;
    sound[1][place] = if sound[1][place] > 0.0 { -1.0 } else { 1.0 };
    let latent = units::SAMPLES_PER_LATENT as usize;
    let jump = measure_seams([&sound[0], &sound[1]], &seams, latent, &mut MelAnalyser::new(units::SAMPLE_RATE)).jump;
    assert!(!jump.holds(), "a click is not found: {:?} within {:?}", jump.at_seams, jump.limit());
}
