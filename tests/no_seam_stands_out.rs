//! Promise: a song of the demo model does not betray where it was cut, where it begins and where it ends.
//!
//! Notes begin at the same places of many songs, and there a seam is like an onset. So each song is cut in two ways,
//! and the seams of one are compared with the same places of the other, where it has none.

mod support;

use heartstream::{Continuity, FirstWindow, Heartstream, Outcome, SongRequest, units};
use heartstream_models::signal::SegmentPlan;
use heartstream_tools::quality::{Listening, MelAnalyser, SeamMeasure, THUMP_BANDS, listen, measure_seams, seams_of};

/// The usual first window, and another whose seams lie more than half a second away from those of the usual one.
const FIRST: [usize; 2] = [FirstWindow::USUAL.0 as usize, 62];
const LOOK_AHEAD: usize = SongRequest::USUAL_LOOK_AHEAD.0 as usize;
/// Long enough for two seams of each continuity, and for enough of everything else.
const FRAMES: usize = 150;
/// Different instruments, each with its seed: a seam of one song may stand out at random, and those of all may not.
const SONGS: [(&str, u64); 6] = [
    ("flute,calm,solo", 1),
    ("violin,cheerful,reel", 2),
    ("trumpet,major", 1),
    ("organ,minor,dark", 2),
    ("piano,calm", 1),
    ("strings,chorale", 2),
];
/// Allowed at seams: how much larger the share of places above the 95th percentile of everything else is, and how many
/// dB higher their median. It is beyond the expectation where songs are judged by everything else.
const MORE_ABOVE: f64 = 0.12;
const MORE_MEDIAN: f64 = 1.0;
/// The median of beginnings and ends, dB at most.
const MOST_BURST: f64 = 3.0;

async fn sing(engine: &Heartstream, continuity: Continuity, first: usize, (tags, seed): (&str, u64)) -> [Vec<f32>; 2] {
    let words = "[Verse]\nThe sun creeps in across the floor\nIt finds the cup, it finds the chair\n\
                 [Chorus]\nAnd all the morning is a door\nThat someone left wide open there\n\
                 [Verse]\nThe evening folds the same light in\nAnd lays it down along the stair";
    let song = engine.sing(SongRequest {
        seed,
        continuity,
        max_frames: units::Frames(FRAMES as u64),
        first_window: FirstWindow { most: units::Frames(first as u64), deadline: None },
        ..SongRequest::new(tags, words)
    });
    let (samples, report) = support::read(song.await.expect("a song")).await;
    assert_eq!(report.outcome, Outcome::Finished);
    assert_eq!(report.frames.0 as usize, FRAMES, "{tags}, seed {seed} ends before the limit: take another");
    [0, 1].map(|channel| samples.iter().skip(channel).step_by(2).copied().collect())
}

fn plan(continuity: Continuity, first: usize) -> SegmentPlan {
    let plan = match continuity {
        Continuity::Chained => SegmentPlan::chained(first, LOOK_AHEAD),
        _ => SegmentPlan::parallel(first),
    };
    plan.expect("a plan")
}

/// What is heard of `sound` at the seams of `plan`, whether it was cut so or not.
fn heard(sound: &[Vec<f32>; 2], plan: &SegmentPlan) -> Listening {
    let seams = seams_of(plan, FRAMES, units::SAMPLES_PER_FRAME as usize);
    listen([&sound[0], &sound[1]], &seams, units::SAMPLES_PER_LATENT as usize)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// All measures at seams.
fn at_seams(songs: &[Listening], band: usize) -> Vec<f64> {
    songs.iter().flat_map(|song| song.thumps[band].at_seams.iter().map(|seam| seam.1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seams_beginnings_and_ends_are_like_everything_else_in_a_song() {
    let engine = Heartstream::builder(heartstream_demo::checkpoint()).build().await.expect("the demo model");
    for continuity in [Continuity::Chained, Continuity::Parallel] {
        let plan = plan(continuity, FIRST[0]);
        let (mut cut, mut uncut) = (Vec::new(), Vec::new());
        for song in SONGS {
            let mut sound = sing(&engine, continuity, FIRST[0], song).await;
            cut.push(heard(&sound, &plan));
            if song == SONGS[0] {
                a_click_is_found(&mut sound, &plan);
                a_thump_is_found(sound, &plan);
            }
            uncut.push(heard(&sing(&engine, continuity, FIRST[1], song).await, &plan));
        }
        for band in 0..THUMP_BANDS.len() {
            let (seams, places) = (at_seams(&cut, band), at_seams(&uncut, band));
            assert!(seams.len() >= 12 && seams.len() == places.len());
            let elsewhere = |song: &Listening| song.thumps[band].limit().expect("enough to compare with");
            let limit = median(uncut.iter().map(elsewhere).collect());
            let above =
                |values: &[f64]| values.iter().filter(|value| **value > limit).count() as f64 / values.len() as f64;
            let (found, by_chance) = (above(&seams), above(&places));
            assert!(
                found <= by_chance + MORE_ABOVE,
                "{continuity:?}: {found} above {limit} dB, {by_chance} without seams"
            );
            let (found, by_chance) = (median(seams), median(places));
            assert!(found <= by_chance + MORE_MEDIAN, "{continuity:?}: {found} dB, {by_chance} dB without seams");
        }
        let begin = median(cut.iter().filter_map(|song| song.begin).collect());
        let end = median(cut.iter().filter_map(|song| song.end).collect());
        assert!(begin <= MOST_BURST && end <= MOST_BURST, "{continuity:?}: begins {begin} dB, ends {end} dB");
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

/// A seam that does thump is found: 40 ms of 120 Hz at a tenth of full scale.
fn a_thump_is_found(mut sound: [Vec<f32>; 2], plan: &SegmentPlan) {
    let before = heard(&sound, plan).thumps[0].at_seams[0].1;
    let place = seams_of(plan, FRAMES, units::SAMPLES_PER_FRAME as usize)[0].begin;
    for (index, time) in (0..units::SAMPLE_RATE as usize / 25).map(|index| (index, index as f32 / 48e3)) {
        let thump = 0.3 * (std::f32::consts::TAU * 120.0 * time).sin();
        sound.iter_mut().for_each(|channel| channel[place + index] += thump);
    }
    let after: &SeamMeasure = &heard(&sound, plan).thumps[0];
    assert!(after.at_seams[0].1 > before + 3.0, "{before} dB, {} with a thump", after.at_seams[0].1);
    assert!(after.limit().is_some_and(|limit| after.at_seams[0].1 > limit), "{after:?}");
}
