//! Promise: a song that is dropped returns its threads, and the next songs get them; they end with the engine.

mod support;

use std::io;

use heartstream::{
    Heartstream, Outcome, Sink,
    wav::{SampleFormat, WavTarget},
};
use support::{engine, read, request, sung, tiny_model, until};

/// Stages of a song for a reader, with two flow workers.
const STAGES: usize = 8;
/// Of them those that compute, with a second thread each: two flow workers, the language model, the vocoder.
const COMPUTING: usize = 4;

/// Threads of this process that work for songs: each is named after its stage.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
    // A thread that has just ended has no name any more.
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| heartstream::Stage::ALL.iter().any(|stage| stage.name() == name.trim_end())).count()
}

/// A reader that has left.
struct Gone;

impl io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Three songs that are dropped: one unread, one that was read, one before its first block.
async fn let_go_of_three(engine: &Heartstream) {
    let unread = engine.sing(request(3000, 1)).await.expect("a song");
    let mut begun = engine.sing(request(3000, 2)).await.expect("a song");
    let young = engine.sing(request(3000, 3)).await.expect("a song");
    assert!(begun.next_block().await.is_some());
    // All stages but one, which has read the words by now.
    assert!(engine.lent_threads() >= 3 * (STAGES - 1), "each has a thread, or there would be nothing to see");
    drop(young);
    drop(begun);
    until("a song without a reader is held back", || unread.snapshot().delivered.0 > 0).await;
    drop(unread);
    until("all threads of the dropped songs are back", || engine.lent_threads() == 0).await;
}

// Alone in its file, because it counts the threads of the whole process.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn songs_give_back_their_threads_wherever_they_end() {
    let model = tiny_model();
    let engine = engine(&model, 2, 2).await;
    assert_eq!(threads(), 0, "an engine that never sang has none");
    for round in 0..3 {
        let_go_of_three(&engine).await;
        assert!(threads() <= 3 * (STAGES + COMPUTING), "round {round} starts no thread: {}", threads());
    }

    // However a song ends, its threads are back when its end is known.
    let (_, finished) = sung(&engine, request(3, 1)).await;
    assert_eq!((finished.outcome, engine.lent_threads()), (Outcome::Finished, 0));
    let paused = engine.sing(request(3000, 1)).await.expect("a song");
    paused.pause();
    paused.cancel();
    assert_eq!((paused.finished().await.outcome, engine.lent_threads()), (Outcome::Cancelled, 0));
    let to_gone = Sink::Wav(WavTarget::stream("gone", Gone, SampleFormat::S16));
    let left = engine.sing_to(request(3000, 1), to_gone).await.expect("a song");
    assert_eq!((left.finished().await.outcome, engine.lent_threads()), (Outcome::ReaderLeft, 0));
    assert!(threads() <= 3 * (STAGES + COMPUTING) + 1, "only the file's own stage is new");

    // An engine may go before its songs.
    let last = engine.sing(request(3, 1)).await.expect("a song");
    drop(engine);
    assert!(!read(last).await.0.is_empty());
    until("the threads have ended with the engine", || threads() == 0).await;
}
