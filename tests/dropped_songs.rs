//! Promise: a song that is let go takes its threads with it.

mod support;

use support::{engine, request, sung, tiny_model, until};

/// Threads of this process that work for a song: each is named after its stage.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
    // A thread that has just ended has no name any more.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| heartstream::Stage::ALL.iter().any(|stage| stage.name() == name.trim_end())).count()
}

// Alone in its file, because it counts the threads of the whole process.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_song_ends_its_threads_wherever_it_was() {
    let model = tiny_model();
    let engine = engine(&model, 2, 2).await;
    sung(&engine, request(3, 1)).await;
    until("a finished song has ended its threads", || threads() == 0).await;

    let unread = engine.sing(request(3000, 1)).await.expect("a song");
    let mut read = engine.sing(request(3000, 2)).await.expect("a song");
    let young = engine.sing(request(3000, 3)).await.expect("a song");
    until("each stage of each song has a thread, or there would be nothing to see", || threads() >= 3 * 6).await;
    drop(young);
    assert!(read.next_block().await.is_some());
    drop(read);
    until("a song is held back by nobody reading it", || unread.snapshot().delivered.0 > 0).await;
    drop(unread);
    until("all threads of the dropped songs have ended", || threads() == 0).await;
}
