//! Promise: a stage that panics ends its own song, by name. The program, other songs and what was written go on.

mod support;

use heartstream::{
    Continuity, FailureKind, Outcome, Sink, Sinks, SongRequest, Stage,
    faults::{Faults, PlantedPanic},
    units,
};
use support::{FRAME, HOP, assert_prefix, assert_same, engine, folder, read, request, samples, sung, tiny_model, wav};

/// Two windows.
const FRAMES: u64 = 400;
/// A block in the midst of the first window; blocks are two or three frames long.
const BLOCK: u64 = 60;
/// Pieces of eight frames that a window is decoded in, and more.
const PIECES_OF_FIRST_WINDOW: u64 = 50;
/// Frames that a file may lack which was not closed: a second.
const SECOND: usize = 13;

/// Every stage that a song without a loudspeaker has, the input that it panics at, and how many frames have certainly
/// reached the file by then.
const CRASHES: [(Stage, u64, usize); 9] = [
    (Stage::PromptTokenizer, 1, 0),
    (Stage::LanguageModel, 1, 0),
    (Stage::CodesSink, 380, 0),
    (Stage::Segmenter, 380, 0),
    (Stage::FlowWorker, 2, 0),
    (Stage::Vocoder, 2, 0),
    (Stage::Stitcher, PIECES_OF_FIRST_WINDOW, HOP),
    (Stage::WavSink, BLOCK, 2 * (BLOCK as usize - 1) - SECOND),
    (Stage::SubscriberSink, BLOCK, 2 * (BLOCK as usize - 1) - SECOND),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_any_stage_ends_its_song_by_name_and_nothing_else() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 2).await;
    let (whole, _) = sung(&engine, request(FRAMES, 1)).await;
    let (usual, _) = sung(&engine, request(60, 2)).await;
    for (stage, item, written) in CRASHES {
        // This song has no reader yet, so it cannot be over before the other one fails.
        let bystander = engine.sing(request(60, 2)).await.expect("a song");
        // A flow worker does a segment again once, so it takes two panics there.
        let times = if stage == Stage::FlowWorker { 2 } else { 1 };
        let faults = Faults::new([PlantedPanic { stage, item, times }]);
        let path = out.path().join(format!("{stage}.wav"));
        let sinks = Sinks::from(vec![Sink::Wav(wav(&path)), Sink::Subscriber]);
        let sinks = sinks.and_codes(out.path().join(format!("{stage}.codes")));
        let doomed = engine.with_faults(faults.clone()).sing_to(request(FRAMES, 1), sinks).await.expect("a song");
        let (heard, report) = read(doomed).await;
        match &report.outcome {
            Outcome::Failed(error) => {
                assert_eq!((error.stage, error.kind), (stage, FailureKind::Panic), "{error}");
                assert!(error.message.contains("planted"), "{stage}: {error}");
                assert!(error.to_string().contains(stage.name()), "{error}");
            }
            other => panic!("with a panic in the {stage} the song ended as {other:?}"),
        }
        assert_eq!(faults.left(), 0, "{stage}");
        let file = samples(&path);
        assert_prefix(&format!("heard before the {stage} panicked"), &heard, &whole);
        assert_prefix(&format!("written before the {stage} panicked"), &file, &whole);
        assert!(file.len() >= written * FRAME, "{stage}: {} frames are in the file", file.len() / FRAME);
        assert!(file.len() < whole.len(), "{stage}: the song was ended");

        // The same engine sings on, and the song beside it never noticed.
        let (again, _) = sung(&engine, request(10, 2)).await;
        assert_eq!(again.len(), 10 * FRAME, "after a panic in the {stage}");
        let (beside, report) = read(bystander).await;
        assert_same(&format!("beside a panic in the {stage}"), &beside, &usual);
        assert_eq!(report.outcome, Outcome::Finished);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_grow_leave_a_prefix_too() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 2, 1).await;
    for continuity in [Continuity::Chained, Continuity::Parallel] {
        let song = SongRequest { continuity, ..request(300, 1) };
        let (whole, _) = sung(&engine, song.clone()).await;
        // Each of the two flow workers may have a second window at a time, and does it again once.
        for (stage, item, times) in [(Stage::Segmenter, 200, 1), (Stage::FlowWorker, 2, 4), (Stage::Vocoder, 2, 1)] {
            let engine = engine.with_faults(Faults::new([PlantedPanic { stage, item, times }]));
            // A song that fails before its first sample leaves what is in its file, so each has its own.
            let path = out.path().join(format!("{continuity:?} {stage}.wav"));
            let song = engine.sing_to(song.clone(), Sink::Wav(wav(&path))).await.expect("a song");
            let report = song.finished().await;
            assert!(matches!(&report.outcome, Outcome::Failed(error) if error.stage == stage), "{:?}", report.outcome);
            let file = samples(&path);
            assert!(file.len() < whole.len(), "{continuity:?}, {stage}: {} samples", file.len());
            assert_prefix(&format!("{continuity:?}, {stage}"), &file, &whole);
        }
    }
}

/// The list holds every stage but the loudspeaker, what stands in for the model when kept codes are decoded, and what only
/// sends windows or songs to other machines.
#[test]
fn every_stage_has_its_crash() {
    let crashes: Vec<Stage> = CRASHES.iter().map(|(stage, ..)| *stage).collect();
    let absent = [Stage::SpeakerSink, Stage::CodesSource, Stage::RemoteFlow, Stage::RemoteSong];
    let all: Vec<Stage> = Stage::ALL.into_iter().filter(|stage| !absent.contains(stage)).collect();
    assert_eq!(crashes, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_whose_file_fails_ends_for_its_subscriber_too() {
    let (model, out) = (tiny_model(), folder());
    let engine = engine(&model, 1, 1).await;
    let faults = Faults::new([PlantedPanic { stage: Stage::WavSink, item: 2, times: 1 }]);
    let sinks = vec![Sink::Subscriber, Sink::Wav(wav(&out.path().join("x.wav")))];
    let song = engine.with_faults(faults).sing_to(request(200, 1), sinks).await.expect("a song");
    let (heard, report) = read(song).await;
    assert!(matches!(report.outcome, Outcome::Failed(error) if error.stage == Stage::WavSink));
    assert!(heard.len() < 200 * FRAME);
    assert_eq!(report.audio.samples() as usize % (FRAME / units::CHANNELS), 0, "whole frames reached both");
}
