//! Promise: samples depend on checkpoint, request and seed only: not on threads, workers, queues, a repeated segment or
//! other songs.

#[path = "../../../tests/support/mod.rs"]
mod support;

use heartstream::{
    Checkpoint, Continuity, Heartstream, Outcome, Placement, SongRequest, Stage,
    faults::{Faults, PlantedPanic},
    plan::Capacities,
    units::Seconds,
};
use support::{assert_same, engine, folder, read, request, run, sung, text, tiny_model};

/// The continuities, with songs of two windows of the reference or three that grow.
const SONGS: [(Continuity, u64); 3] =
    [(Continuity::Reference, 400), (Continuity::Chained, 250), (Continuity::Parallel, 250)];

#[tokio::test(flavor = "multi_thread")]
async fn a_song_is_the_same_song_however_it_is_made() {
    let model = tiny_model();
    let (one, three, tight) = (engine(&model, 1, 1).await, engine(&model, 3, 2).await, tight_engine(&model).await);
    for (continuity, length) in SONGS {
        let song = |frames, seed| SongRequest { continuity, ..request(frames, seed) };
        // Both of these run beside each other, and a shorter song of another seed beside both.
        let (first, second, other) =
            tokio::join!(sung(&one, song(length, 7)), sung(&three, song(length, 7)), sung(&three, song(40, 8)));
        let what = format!("{continuity:?}, with three workers and two threads each, beside other songs");
        assert_same(&what, &second.0, &first.0);
        assert!(other.0[..1000] != first.0[..1000], "another seed is another song");

        // The first worker to take a segment panics in it, and does it again.
        let faults = Faults::new([PlantedPanic { stage: Stage::FlowWorker, item: 1, times: 1 }]);
        let again = three.with_faults(faults.clone());
        // As little room as there can be: every stage waits for the next.
        let (repeated, tight) = tokio::join!(sung(&again, song(length, 7)), sung(&tight, song(length, 7)));
        assert_same(&format!("{continuity:?}, with a segment that was done again"), &repeated.0, &first.0);
        assert_same(&format!("{continuity:?}, with hardly any room between the stages"), &tight.0, &first.0);
        assert_eq!(repeated.1.outcome, Outcome::Finished);
        assert_eq!(faults.left(), 0, "the panic was had");
    }
}

async fn tight_engine(model: &tempfile::TempDir) -> Heartstream {
    let none = Seconds(0.0);
    Heartstream::builder(Checkpoint::open(model.path()).expect("a model directory"))
        .placement(Placement { flow_workers: 2, threads: Some(2), ..Placement::default() })
        .capacities(Capacities { frames: none, segments_per_worker: none, sound: none, blocks: none })
        .build()
        .await
        .expect("an engine")
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_slowly_or_in_another_task_changes_nothing() {
    let model = tiny_model();
    let engine = engine(&model, 1, 2).await;
    let (expected, _) = sung(&engine, request(50, 9)).await;
    let mut song = engine.sing(request(50, 9)).await.expect("a song");
    let mut slow = Vec::new();
    while let Some(block) = song.next_block().await {
        slow.extend_from_slice(&block.samples);
        tokio::task::yield_now().await;
    }
    assert_same("read block by block with other work between", &slow, &expected);
    let song = engine.sing(request(50, 9)).await.expect("a song");
    let (moved, _) = tokio::spawn(read(song)).await.expect("a task");
    assert_same("read in another task", &moved, &expected);
}

#[test]
fn the_program_writes_bit_identical_files() {
    let (model, out) = (tiny_model(), folder());
    let file = |name: &str, more: &[&str]| {
        let path = out.path().join(name);
        let song =
            ["render", "-q", "--seed", "7", "--max-seconds", "10", "--top-k", "5", "--model", text(model.path())];
        // Windows of 24, 48 and 53 frames, however fast this machine is.
        let sound = ["--flow-steps", "2", "--continuity", "parallel", "--first-window", "24", "-o", text(&path)];
        let output = run(&[&song[..], &sound, more].concat());
        assert!(output.status.success(), "{}", support::complaint(&output));
        std::fs::read(path).expect("a file")
    };
    let first = file("a.wav", &["--flow-workers", "1", "--threads", "1"]);
    assert!(first == file("b.wav", &["--flow-workers", "3", "--threads", "2"]), "other workers and threads");
    assert!(first == file("c.wav", &["--flow-workers", "1", "--threads", "1"]), "run again");
}
