//! Promise: an engine makes no more songs at once than it may; those that wait know their places, begin in the order in
//! which they are due, and are the songs that they would have been.

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use heartstream::{
    EngineError, FirstWindow, Flow, Heartstream, Outcome, Sink, SongRequest, queue::QueuedSong, units::Frames,
};
use support::{assert_same, noise_engine, read};

async fn engine(songs: usize) -> Heartstream {
    let builder = Heartstream::builder(heartstream_tools::synth::noise());
    builder.max_songs(songs).build().await.expect("the model of noise")
}

fn request(seed: u64) -> SongRequest {
    let request = support::request(20, seed);
    SongRequest { continuity: heartstream::Continuity::Chained, ..request }
}

fn live(seed: u64) -> SongRequest {
    let first_window = FirstWindow { most: Frames(20), deadline: Some(FirstWindow::USUAL_DEADLINE) };
    // A file of that length is due later.
    SongRequest { first_window, max_frames: Frames(20), ..request(seed) }
}

/// A song that goes to a file and is as long as a minute, if it is let.
fn long(seed: u64) -> SongRequest {
    SongRequest { max_frames: Frames(750), ..request(seed) }
}

fn queued(engine: &Heartstream, request: SongRequest) -> QueuedSong {
    engine.queue(request, Sink::Subscriber).expect("a song")
}

async fn turn(waiting: &mut QueuedSong) {
    while !waiting.place().turn {
        waiting.changed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_songs_than_may_be_are_made_at_once_and_each_is_the_song_that_it_is_alone() {
    let (engine, alone) = (engine(2).await, noise_engine().await);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let songs: Vec<_> = (0..6)
        .map(|seed| {
            let (engine, now, most) = (engine.clone(), Arc::clone(&now), Arc::clone(&most));
            tokio::spawn(async move {
                let mut song = engine.sing(long(seed)).await.expect("a song");
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                song.next_block().await.expect("a block"); // a song so long cannot be over when so little of it is read
                now.fetch_sub(1, Ordering::SeqCst);
                song.cancel();
                assert_eq!(song.finished().await.outcome, Outcome::Cancelled);
            })
        })
        .collect();
    for song in songs {
        song.await.expect("a song");
    }
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    let songs: Vec<_> =
        (0..4).map(|seed| queued(&engine, request(seed))).map(|song| tokio::spawn(song.begin())).collect();
    for (seed, song) in (0..).zip(songs) {
        let (samples, _) = read(song.await.expect("a task").expect("a song")).await;
        assert_same("one of two at once", &samples, &read(alone.sing(request(seed)).await.expect("a song")).await.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_that_is_played_goes_ahead_of_files_and_they_keep_their_order() {
    let engine = engine(1).await;
    let first = queued(&engine, long(1)).begin().await.expect("a song");
    let [one, other] = [2, 3].map(|seed| queued(&engine, long(seed)));
    let mut played = queued(&engine, live(4));
    assert_eq!([&played, &one, &other].map(|song| song.place().ahead), [0, 1, 2]);
    assert!([&played, &one, &other].iter().all(|song| !song.place().turn));
    first.cancel();
    first.finished().await;
    turn(&mut played).await;
    drop(other);
    drop(played); // its turn had come, and it does not begin
    let one = one.begin().await.expect("a song");
    one.cancel();
    assert_eq!(one.finished().await.outcome, Outcome::Cancelled);
    turn(&mut queued(&engine, request(5))).await; // all places are given back
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_song_the_next_starts_are_forecast_and_what_is_too_slow_to_be_played_is_said_before() {
    let engine = engine(1).await;
    // A thousand steps of flow matching take longer than the music that they make.
    let slow = |request: SongRequest| SongRequest {
        flow: Flow { steps: 1000, ..Flow::default() },
        max_frames: Frames(4),
        first_window: FirstWindow { most: FirstWindow::USUAL, ..request.first_window },
        ..request
    };
    assert_eq!(queued(&engine, live(1)).place().speed, None, "nothing is measured");
    read(queued(&engine, slow(request(1))).begin().await.expect("a song")).await;
    let mut next = queued(&engine, slow(live(2)));
    turn(&mut next).await; // the first is measured when it has given back its place
    let behind = queued(&engine, request(3));
    let (place, later) = (next.place(), behind.place());
    assert_eq!(place.starts_in.expect("a forecast").0, 0.0);
    assert!(later.starts_in.expect("a forecast").0 > 0.0 && !later.turn);
    assert!(place.speed.is_some_and(|speed| speed < 1.0), "{place:?}");
    let (_, report) = read(next.begin().await.expect("a song")).await;
    assert!(report.notes.iter().any(|note| note.contains("in a second")), "{:?}", report.notes);
    let refused = queued(&engine, slow(live(4))).in_time().map(drop);
    assert!(matches!(refused, Err(EngineError::TooSlow { songs: 1, .. })), "{refused:?}");
    behind.in_time().map(drop).expect("a file may take its time");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_places_for_songs_is_refused() {
    let built = Heartstream::builder(heartstream_tools::synth::noise()).max_songs(0).build().await;
    assert!(matches!(built.map(drop), Err(EngineError::Option { option: "max-songs", .. })));
}
