//! Promise: the memory of a cancelled song is free: after fifty of them the process holds what it held after one.

mod support;

use heartstream::{FirstWindow, Heartstream, Outcome, SongRequest, units::Frames};

/// Blocks of a song that are heard before it is cancelled.
const BLOCKS: usize = 15;
/// Songs that are cancelled after the first.
const SONGS: u64 = 50;

/// Memory that this process has in use, in pages.
fn pages_in_use() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this test looks at Linux' own figures");
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second figure is the resident pages")
}

async fn cancelled_song(engine: &Heartstream, seed: u64) {
    let first_window = FirstWindow { most: Frames(8), deadline: None };
    let request = SongRequest { seed, first_window, ..SongRequest::new("piano", "[Verse]\nLet it ring, let it run") };
    let mut song = engine.sing(request).await.expect("a song");
    // Far enough that every thread of every stage has had work, and so has the memory that it keeps.
    for _ in 0..BLOCKS {
        assert!(song.next_block().await.is_some(), "it sounds");
    }
    song.cancel();
    assert_eq!(song.finished().await.outcome, Outcome::Cancelled);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn fifty_cancelled_songs_leave_no_more_behind_than_one() {
    let engine = support::noise_engine().await;
    cancelled_song(&engine, 0).await;
    let before = pages_in_use();
    // The least of the last few: a song that has just ended can still have something on its way back.
    let mut after = f64::INFINITY;
    for seed in 1..=SONGS {
        cancelled_song(&engine, seed).await;
        after = if seed > SONGS - 5 { after.min(pages_in_use()) } else { after };
    }
    println!("{before} pages after the first song, {after} after {SONGS} more");
    assert!(after <= 1.1 * before, "{before} pages after the first song, {after} after {SONGS} more");
}
