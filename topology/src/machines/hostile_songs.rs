//! Tests of songs from other machines: those that mean well make the song of this one, and those that mean ill are found.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use heartstream_actors::remote::{
    song_part::part_checksum,
    song_workers::{AskForSong, SongWorkers},
    workers::Fault,
};
use heartstream_messages::{
    FirstWindow, Numbers, Outcome, SongAnswer, SongCall, SongPart, SongRefusal, SongReport, SongRequest, Stage,
    units::{CHANNELS, Frames, SampleIndex},
};
use kameo::actor::{ActorRef, Spawn};

use super::{kind::song_kind, song_proof::SongProof, song_server::SongServer};
use crate::{Heartstream, Placement, Sink, Sinks, Song, codes::SavedSong};

async fn engine() -> Heartstream {
    let placement = Placement { threads: Some(1), ..Placement::default() };
    let builder = Heartstream::builder(heartstream_tools::synth::noise()).placement(placement);
    builder.build().await.expect("an engine")
}

fn request() -> SongRequest {
    let first_window = FirstWindow { most: Frames(8), deadline: None };
    SongRequest { seed: 3, max_frames: Frames(150), first_window, ..SongRequest::new("calm", "[Verse]\nla la") }
}

async fn heard(mut song: Song) -> (Vec<f32>, SongReport) {
    let mut samples = Vec::new();
    while let Some(block) = song.next_block().await {
        samples.extend_from_slice(&block.samples);
    }
    (samples, song.finished().await)
}

/// Calls to a server of this process.
fn honest(server: &ActorRef<SongServer>) -> AskForSong {
    let server = server.clone();
    Arc::new(move |call, _| {
        let server = server.clone();
        Box::pin(async move {
            let answer = server.ask(call).send().await.map_err(|error| Fault::Gone(error.to_string()))?;
            answer.map_err(Fault::SongRefused)
        })
    })
}

/// The same, whose answers are changed from call number `from` on.
fn turning(ask: AskForSong, from: u64, change: fn(SongAnswer) -> Result<SongAnswer, Fault>) -> AskForSong {
    let calls = Arc::new(AtomicU64::new(0));
    Arc::new(move |call, time| {
        let (call, is_changed) = (ask(call, time), calls.fetch_add(1, Ordering::Relaxed) >= from);
        Box::pin(async move { if is_changed { change(call.await?) } else { call.await } })
    })
}

/// A worker that begins every song as number 1, and has `part` as its first part, with the right checksum.
fn saying(part: fn() -> SongPart) -> AskForSong {
    Arc::new(move |call, _| {
        let answer = match call {
            SongCall::Begin(_) => SongAnswer::Begun(1),
            SongCall::Next { .. } => {
                let part = part();
                SongAnswer::Part(SongPart { checksum: part_checksum(1, 0, &part), ..part })
            }
            SongCall::End { .. } => SongAnswer::Ended,
        };
        Box::pin(std::future::ready(Ok(answer)))
    })
}

/// A whole song of `frames` frames that is silent.
fn silent(frames: usize) -> SongPart {
    let samples = frames * 3840;
    let blocks = vec![Numbers(vec![0.0; samples * CHANNELS])];
    SongPart { codes: vec![1; 8 * frames], blocks, made: SampleIndex(samples as u64), is_last: true, checksum: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_turns_ill_ends_its_part_of_a_song_which_goes_on_elsewhere_to_the_same_song() {
    let (engine, folder) = (engine().await, tempfile::tempdir().expect("a folder"));
    let kind = song_kind(&engine).expect("a whole model");
    let server = SongServer::spawn(SongServer::new(engine.clone(), kind.clone(), 8));
    let (workers, _left_out) = SongWorkers::new(kind);
    let (whole, _) = heard(engine.sing(request()).await.expect("a song")).await;
    let place = workers.candidate("worker", honest(&server), 1.0);
    let song = engine.sing_elsewhere(place, request(), SampleIndex(0), Sink::Subscriber).await.expect("a song");
    let (found, report) = heard(song).await;
    assert!(report.outcome == Outcome::Finished && report.frames == Frames(150) && found == whole);

    let changes: [fn(SongAnswer) -> Result<SongAnswer, Fault>; 5] = [
        |_| Err(Fault::Late),
        |_| Err(Fault::SongRefused(SongRefusal::Unknown)),
        |_| Ok(SongAnswer::Ended),
        |_| Ok(SongAnswer::Part(silent(1))),
        |answer| match answer {
            SongAnswer::Part(mut part) => {
                part.made.0 += 1;
                Ok(SongAnswer::Part(part))
            }
            answer => Ok(answer),
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.codes"));
        let sinks = || Sinks::from(Sink::Subscriber).and_codes(path.clone());
        let place = workers.candidate("worker", turning(honest(&server), 2, change), 1.0);
        let song = engine.sing_elsewhere(place, request(), SampleIndex(0), sinks()).await.expect("a song");
        let (first, report) = heard(song).await;
        let Outcome::Failed(error) = report.outcome else { panic!("change {number}: {:?}", report.outcome) };
        assert!(error.stage == Stage::RemoteSong && first.len() < whole.len(), "change {number}: {error}");
        assert!(whole.starts_with(&first), "change {number}: what came before is the song's");
        let played = SampleIndex((first.len() / CHANNELS) as u64);
        let place = workers.candidate("another", honest(&server), 1.0);
        let song = match SavedSong::read(&path) {
            Ok(kept) => engine.resume_elsewhere(place, kept, &path, played, sinks()).await,
            Err(_) => engine.sing_elsewhere(place, request(), played, sinks()).await, // it had no frame
        };
        let (rest, report) = heard(song.expect("a song")).await;
        assert_eq!(report.outcome, Outcome::Finished, "change {number}");
        assert!([first, rest].concat() == whole, "change {number}: the same song");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_machine_is_proved_that_makes_another_song_or_none() {
    let engine = engine().await;
    let kind = song_kind(&engine).expect("a whole model");
    let server = SongServer::spawn(SongServer::new(engine.clone(), kind.clone(), 1));
    let (workers, mut left_out) = SongWorkers::new(kind.clone());
    let proof = SongProof::compute(&engine).await.expect("a proof");
    assert!(proof.of(&engine, &workers, "worker", honest(&server)).await.is_ok());

    let mut other = kind;
    other.kernels.push('x');
    let (of_another_kind, _left_out) = SongWorkers::new(other);
    let refused = proof.of(&engine, &of_another_kind, "worker", honest(&server)).await.expect_err("another kind");
    assert!(matches!(refused, Fault::SongRefused(SongRefusal::OtherKind(_))) && refused.is_for_good());

    let parts: [fn() -> SongPart; 6] = [
        || SongPart { is_last: true, ..SongPart::default() },
        || silent(2),
        || silent(24), // a block that is too long
        || SongPart { codes: vec![u16::MAX; 8], ..SongPart::default() },
        || SongPart { codes: vec![1; 8 * 25], ..SongPart::default() }, // more frames than were asked for
        || SongPart { blocks: vec![Numbers(vec![f32::NAN; 2])], made: SampleIndex(1), ..SongPart::default() },
    ];
    for (number, part) in parts.into_iter().enumerate() {
        let fault = proof.of(&engine, &workers, "liar", saying(part)).await.expect_err("a fault");
        assert!(fault.is_for_good(), "part {number}: {fault}");
    }
    let ended: AskForSong = Arc::new(|_, _| Box::pin(std::future::ready(Ok(SongAnswer::Ended))));
    assert!(matches!(proof.of(&engine, &workers, "liar", ended).await, Err(Fault::Gone(_))));
    assert!(left_out.try_recv().is_ok(), "each was said");
    assert_eq!(workers.count(), 0);
}
