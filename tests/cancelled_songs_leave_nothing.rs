//! Promise: the memory of a cancelled song is free again.

mod support;

use heartstream::{FirstWindow, Heartstream, Outcome, SongRequest, units::Frames};

/// The allocator of the program. The usual one of Linux keeps a heap for each thread, and a song has a dozen.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Songs after the first.
const SONGS: usize = 50;

/// Memory that this process has in use, in pages.
fn pages_in_use() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this test looks at Linux' own figures");
    statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("the second figure is the resident pages")
}

async fn cancelled_song(engine: &Heartstream, seed: u64) {
    let first_window = FirstWindow { most: Frames(8), deadline: None };
    let request = SongRequest { seed, first_window, ..SongRequest::new("piano", "[Verse]\nLet it ring, let it run") };
    let mut song = engine.sing(request).await.expect("a song");
    assert!(song.next_block().await.is_some(), "it sounds");
    song.cancel();
    assert_eq!(song.finished().await.outcome, Outcome::Cancelled);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn fifty_cancelled_songs_take_no_more_than_one() {
    let engine = Heartstream::builder().build().await.expect("the model in the program");
    cancelled_song(&engine, 0).await;
    let after_one = pages_in_use();
    for seed in 1..=SONGS as u64 {
        cancelled_song(&engine, seed).await;
    }
    let after_all = pages_in_use();
    assert!(after_all <= 1.1 * after_one, "{after_one} pages after one song, {after_all} after {SONGS} more");
}
