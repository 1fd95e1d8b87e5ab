//! Promise: on three hosts with 20 ms from each to the other and one packet in a hundred lost, songs with two workers are
//! those of one machine, whenever workers are killed, and a host that is cut off for ten seconds works again. So are songs
//! that a host makes whole, and those that go on after it was killed.
//!
//! `make test-machines`; it needs root for the namespaces, and does nothing unless `HEARTSTREAM_NAMESPACES` is set.
//! `HEARTSTREAM_KILLS` says how many songs have a worker killed.
#![cfg(target_os = "linux")]

mod hosts;
#[path = "../../../../tests/support/mod.rs"]
mod support;
mod wire;
#[path = "../machines/workers.rs"]
mod workers;

use std::{sync::atomic::Ordering, thread, time::Duration};

use heartstream::{
    Checkpoint, Continuity, Heartstream, Outcome, Placement, Sink, Sinks, SongReport, SongRequest, Stage,
    codes::SavedSong,
    machines::{Machines, Network, SharedSecret},
    units::{CHANNELS, Frames, SampleIndex},
};
use hosts::Hosts;
use support::{assert_prefix, assert_same, engine, folder, read, request, sung, text, tiny_model, until};
use wire::Wire;
use workers::{PROGRAM, Worker, token};

/// For how long a host is cut off.
const CUT: Duration = Duration::from_secs(10);

fn song(seed: u64) -> SongRequest {
    let mut request = SongRequest { continuity: Continuity::Parallel, ..request(250, seed) };
    request.first_window.most = Frames(8);
    request
}

fn remote_windows(report: &SongReport) -> u64 {
    report.stages.iter().filter(|stage| stage.stage == Stage::RemoteFlow).map(|stage| stage.items).sum()
}

#[test]
fn songs_on_three_hosts_are_those_of_one_whatever_becomes_of_workers_and_wires() {
    if std::env::var_os("HEARTSTREAM_NAMESPACES").is_none() {
        return;
    }
    if let Some(reason) = hosts::missing() {
        println!("skipped: three hosts cannot be had here: {reason}");
        return;
    }
    let (hosts, devices) = Hosts::new(3);
    let wire = Wire::between(devices);
    // This process is the first host: its threads are started by one that is there.
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            hosts.enter(0);
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
            runtime.block_on(sing(&hosts, &wire));
        });
        first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

async fn sing(hosts: &Hosts, wire: &Wire) {
    let kills: u64 = std::env::var("HEARTSTREAM_KILLS").map_or(6, |text| text.parse().expect("a count"));
    let (model, folder) = (tiny_model(), folder());
    let token_file = token(folder.path(), 'a');
    let start = |host: usize| {
        let address = format!("{}:7979", hosts::address(host));
        Worker::start_by(hosts.command(host, PROGRAM), &token_file, &address, &["--model", text(model.path())], None)
    };
    let mut team = [start(1), start(2)];
    let of_songs = format!("{}:7980", hosts::address(2));
    let makes_songs = ["--songs", "--model", text(model.path())];
    let song_worker = Worker::start_by(hosts.command(2, PROGRAM), &token_file, &of_songs, &makes_songs, None);
    let everyone = team.iter().chain([&song_worker]);
    let dial = everyone.map(|worker| worker.address.parse().expect("an address")).collect();
    let network =
        Network { token: SharedSecret::new(&"a".repeat(40)).expect("a secret"), listen: Vec::new(), dial, mdns: false };
    let machines = Machines::meet(network).await.expect("a network");
    let alone = engine(&model, 1, 1).await;
    let placement = Placement { threads: Some(1), ..Placement::default() };
    let checkpoint = Checkpoint::open(model.path()).expect("a model directory");
    let builder = Heartstream::builder(checkpoint).placement(placement).machines(machines.clone());
    let together = builder.build().await.expect("an engine");
    until("both workers join", || machines.workers() == 2).await;
    let mut expected = Vec::new();
    for seed in 0..3 {
        expected.push(sung(&alone, song(seed)).await.0);
    }

    let mut elsewhere = 0;
    for seed in 0..3 {
        let (found, report) = sung(&together, song(seed)).await;
        assert_same("with two workers over the wire", &found, &expected[seed as usize]);
        elsewhere += remote_windows(&report);
    }
    assert!(elsewhere > 0, "workers decode windows");
    println!("three songs over the wire: {elsewhere} windows decoded elsewhere");

    for round in 0..kills {
        let (victim, seed) = ((round % 2) as usize, round % 3);
        let killed = async {
            // A moment from no time at all to that of a song, another one for each kill.
            tokio::time::sleep(Duration::from_millis(round.wrapping_mul(7919) % 900)).await;
            team[victim].kill();
        };
        let ((found, report), ()) = tokio::join!(sung(&together, song(seed)), killed);
        assert_same(&format!("kill {round}: {:?}", report.notes), &found, &expected[seed as usize]);
        team[victim] = start(victim + 1);
        until("a worker that was killed joins again", || machines.workers() == 2).await;
    }
    println!("{kills} songs with a kill in each: equal");

    let cut = async {
        wire.cut(1, true);
        tokio::time::sleep(CUT).await;
        wire.cut(1, false);
    };
    let songs = async {
        for seed in 0..3 {
            let (found, report) = sung(&together, song(seed)).await;
            assert_same(&format!("a host is cut off: {:?}", report.notes), &found, &expected[seed as usize]);
        }
    };
    tokio::join!(cut, songs);
    until("the host that was cut off works again", || machines.workers() == 2).await;
    let (found, _) = sung(&together, song(0)).await;
    assert_same("after the cut", &found, &expected[0]);
    make_elsewhere(&together, &expected, song_worker).await;
    let [delivered, lost] = [0, 1].map(|count| wire.counts[count].load(Ordering::Relaxed));
    println!("a cut of {CUT:?} healed; {delivered} packets delivered, {lost} lost");
    assert!(lost > 0 && delivered > lost, "the wire loses some");
}

/// Songs that `worker` makes, and one in which it is killed.
async fn make_elsewhere(engine: &Heartstream, expected: &[Vec<f32>], worker: Worker) {
    let workers = engine.song_workers().expect("machines");
    until("the song worker joins", || workers.count() == 1).await;
    let folder = folder();
    for seed in 0..3 {
        let is_killed = seed == 2;
        let path = folder.path().join("song.codes");
        let sinks = Sinks::from(Sink::Subscriber).and_codes(&path);
        let place = workers.lease(None).expect("a place");
        let begun = engine.sing_elsewhere(place, song(seed), SampleIndex(0), sinks).await;
        let mut song = begun.expect("a song");
        let mut found = song.next_block().await.expect("a block").samples.clone();
        if is_killed {
            worker.kill();
        }
        while let Some(block) = song.next_block().await {
            found.extend_from_slice(&block.samples);
        }
        let report = song.finished().await;
        if let (true, Outcome::Failed(error)) = (is_killed, &report.outcome) {
            assert_eq!(error.stage, Stage::RemoteSong, "{error}");
            assert_prefix("what was heard before the kill", &found, &expected[seed as usize]);
            let heard = found.len() / CHANNELS;
            let kept = SavedSong::read(&path).expect("codes");
            let resumed = engine.resume(kept, &path, Sink::Subscriber).await.expect("a song");
            found.extend_from_slice(&read(resumed).await.0[heard * CHANNELS..]);
            println!("a song worker was killed after {:.1} s of sound", SampleIndex(heard as u64).seconds().0);
        }
        assert_same("a song that another host makes", &found, &expected[seed as usize]);
    }
    println!("three songs that another host makes, one of which goes on here: equal");
}
