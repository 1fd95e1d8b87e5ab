//! Promise: the memory of a cancelled song is free for the next one: however many are cancelled, it does not grow.

mod support;

use heartstream::{FirstWindow, Heartstream, Outcome, SongRequest, units::Frames};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Songs until the allocator has seen what it can see: it keeps what it was given, in pieces that differ by chance.
const WARM_UP: usize = 20;
/// Songs after these. What their stages hold is megabytes, but for the keys and values of a song that has just begun.
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
async fn memory_does_not_grow_with_the_songs_that_were_cancelled() {
    let engine = Heartstream::builder().build().await.expect("the model in the program");
    let mut before = 0f64;
    for seed in 0..WARM_UP as u64 {
        cancelled_song(&engine, seed).await;
        before = before.max(pages_in_use());
    }
    let mut after = f64::INFINITY;
    for seed in 0..SONGS as u64 {
        cancelled_song(&engine, seed).await;
        after = if seed < SONGS as u64 - 10 { after } else { after.min(pages_in_use()) };
    }
    assert!(after <= 1.1 * before, "at most {before} pages in the first songs, at least {after} in the last");
}
