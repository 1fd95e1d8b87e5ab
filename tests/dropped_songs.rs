//! Promise: a song that is let go takes its threads with it.

mod support;

use support::{engine, request, sung, tiny_model, until};

/// Threads of this process.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("the threads of this process").count()
}

// Alone in its file, because it counts the threads of the whole process.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_song_ends_its_threads_wherever_it_was() {
    let model = tiny_model();
    let engine = engine(&model, 2, 2).await;
    let before = threads(); // this test's own, the runtime's, and one that loaded the model
    sung(&engine, request(3, 1)).await;
    until("a finished song has ended its threads", || threads() <= before).await;

    let unread = engine.sing(request(3000, 1)).await.expect("a song");
    let mut read = engine.sing(request(3000, 2)).await.expect("a song");
    let young = engine.sing(request(3000, 3)).await.expect("a song");
    assert!(threads() >= before + 3 * 6, "each stage has a thread, or there would be nothing to see");
    drop(young);
    assert!(read.next_block().await.is_some());
    drop(read);
    until("a song is held back by nobody reading it", || unread.snapshot().delivered.0 > 0).await;
    drop(unread);
    until("all threads of the dropped songs have ended", || threads() <= before).await;
}
