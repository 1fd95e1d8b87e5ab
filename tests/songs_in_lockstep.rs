//! Promise: songs of one engine are written in lockstep, and each is the song that it is alone: one that is paused, not
//! read, cancelled or broken holds up no other.

mod support;

use std::time::Duration;

use heartstream::{
    Heartstream, Outcome, Song, SongRequest, Speculation, Stage,
    faults::{Faults, PlantedPanic},
};
use support::{FRAME, assert_prefix, assert_same, read, request, sung, tiny_model};

/// Songs of other words, lengths, guidance and seeds.
fn requests(count: u64) -> Vec<SongRequest> {
    let one = |seed: u64| {
        let mut song = request(20 + 17 * (seed % 5), seed);
        song.lyrics = format!("{}{}", song.lyrics, " la".repeat(seed as usize % 3));
        song.sampling.cfg_scale = [1.5, 1.0, 3.0][seed as usize % 3];
        song
    };
    (0..count).map(one).collect()
}

async fn begun(engine: &Heartstream, request: &SongRequest) -> Song {
    engine.sing(request.clone()).await.expect("a song")
}

#[tokio::test(flavor = "multi_thread")]
async fn songs_that_are_paused_cancelled_or_broken_change_no_other() {
    let model = tiny_model();
    let engine = support::engine(&model, 1, 2).await;
    let plain = engine.with_speculation(Speculation::Off).expect("no drafter is needed");
    let requests = requests(12);
    let mut alone = Vec::new();
    for request in &requests {
        alone.push(sung(&plain, request.clone()).await.0);
    }
    let faults = Faults::new([PlantedPanic { stage: Stage::LanguageModel, item: 12, times: 1 }]);
    let broken = engine.with_faults(faults.clone());
    let mut songs = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        let engine = if number == 4 { &broken } else { &engine };
        songs.push(begun(engine, request).await);
    }
    let tasks: Vec<_> = songs
        .into_iter()
        .enumerate()
        .map(|(number, song)| {
            tokio::spawn(async move {
                if number % 4 == 1 {
                    song.pause();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    song.resume();
                }
                if number % 4 == 2 {
                    tokio::time::sleep(Duration::from_millis(40 * number as u64)).await;
                    song.cancel();
                }
                read(song).await
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let (heard, report) = task.await.expect("no panic");
        let name = format!("song {number}");
        match (number, &report.outcome) {
            (4, Outcome::Failed(error)) => {
                assert!(error.stage == Stage::LanguageModel && error.message.contains("planted"), "{error}");
                assert!(report.frames.0 >= 10, "{} frames were written before", report.frames.0);
            }
            (number, Outcome::Cancelled) if number % 4 == 2 => (),
            (_, Outcome::Finished) => assert_eq!(heard.len(), alone[number].len(), "{name}"),
            (_, outcome) => panic!("{name} ended as {outcome:?}"),
        }
        assert_prefix(&name, &heard, &alone[number]);
    }
    assert_eq!(faults.left(), 0);
    assert_eq!(engine.lent_threads(), 0, "the lockstep ends with its last song");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_is_not_read_and_one_that_is_paused_hold_up_no_other() {
    let model = tiny_model();
    let engine = support::engine(&model, 1, 1).await;
    let long = SongRequest { seed: 9, ..request(2300, 9) };
    let unread = begun(&engine, &long).await;
    let paused = begun(&engine, &request(60, 8)).await;
    paused.pause();
    support::until("the unread song waits for its reader", || unread.snapshot().frames_written.0 > 400).await;
    let (alone, _) = sung(&engine, request(60, 1)).await;
    assert_eq!(alone.len(), 60 * FRAME);
    paused.resume();
    let (heard, report) = read(paused).await;
    assert_eq!(report.outcome, Outcome::Finished);
    drop(unread);
    assert_same("paused beside others", &heard, &sung(&engine, request(60, 8)).await.0);
}
