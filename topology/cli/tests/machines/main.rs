//! Promise: a song with workers on other machines is the song of this machine alone, whatever becomes of the workers, and
//! only machines that have the secret and give the same bits take part. Four kills; `HEARTSTREAM_KILLS` asks for more.
#![cfg(unix)]

#[path = "../served/mod.rs"]
mod served;
mod songs;
#[path = "../../../../tests/support/mod.rs"]
mod support;
mod workers;

use std::{path::Path, process::Output, thread, time::Duration};

use heartstream::{
    Checkpoint, Continuity, Heartstream, Placement, SongReport, SongRequest, Stage,
    machines::{Machines, Network, SharedSecret},
};
use support::{assert_same, complaint, engine, folder, program, request, sung, text, tiny_model, until};
use workers::{Worker, token};

const SEEDS: [u64; 3] = [1, 2, 3];

/// A song of six windows.
fn song(seed: u64, continuity: Continuity) -> SongRequest {
    let mut request = SongRequest { continuity, ..request(250, seed) };
    request.first_window.most = heartstream::units::Frames(8);
    request
}

/// How many windows other machines decoded.
fn remote_windows(report: &SongReport) -> u64 {
    report.stages.iter().filter(|stage| stage.stage == Stage::RemoteFlow).map(|stage| stage.items).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn songs_are_the_same_with_workers_that_are_killed_come_back_and_stop_for_a_while() {
    let kills: u64 = std::env::var("HEARTSTREAM_KILLS").map_or(4, |text| text.parse().expect("a count"));
    let (model, folder) = (tiny_model(), folder());
    let token_file = token(folder.path(), 'a');
    let start = |address: &str| Worker::start(&token_file, address, &["--model", text(model.path())], None);
    let mut team = [start("127.0.0.1:0"), start("127.0.0.1:0")];
    let dial = team.iter().map(|worker| worker.address.parse().expect("an address")).collect();
    let token = SharedSecret::new(&"a".repeat(40)).expect("a secret");
    let machines = Machines::meet(Network { token, listen: Vec::new(), dial, mdns: false }).await.expect("a network");

    let alone = engine(&model, 1, 1).await;
    let checkpoint = Checkpoint::open(model.path()).expect("a model directory");
    let placement = Placement { threads: Some(1), ..Placement::default() };
    let builder = Heartstream::builder(checkpoint).placement(placement).machines(machines.clone());
    let together = builder.build().await.expect("an engine");
    until("both workers join", || machines.workers() == 2).await;

    let mut elsewhere = 0;
    for continuity in [Continuity::Parallel, Continuity::Chained, Continuity::Reference] {
        let (expected, (found, report)) =
            tokio::join!(sung(&alone, song(7, continuity)), sung(&together, song(7, continuity)));
        assert_same(&format!("{continuity:?} with two workers"), &found, &expected.0);
        elsewhere += remote_windows(&report);
    }
    assert!(elsewhere > 0, "other machines decode some of the windows");

    let mut expected = Vec::new();
    for seed in SEEDS {
        expected.push(sung(&alone, song(seed, Continuity::Parallel)).await.0);
    }
    for round in 0..kills {
        let (victim, seed) = ((round % 2) as usize, (round % 3) as usize);
        let killed = async {
            // A moment from no time at all to that of a song, another one for each kill.
            tokio::time::sleep(Duration::from_millis(round.wrapping_mul(7919) % 900)).await;
            let address = team[victim].address.clone();
            team[victim] = start(&address); // the one before is killed
        };
        let singing = sung(&together, song(SEEDS[seed], Continuity::Parallel));
        let ((found, report), ()) = tokio::join!(singing, killed);
        assert_same(&format!("kill {round}: {:?}", report.notes), &found, &expected[seed]);
    }
    until("workers that were killed join again", || machines.workers() == 2).await;

    team.iter().for_each(Worker::pause);
    let (found, report) = sung(&together, song(SEEDS[0], Continuity::Parallel)).await;
    assert_same("both workers are silent", &found, &expected[0]);
    let late = report.notes.iter().filter(|note| note.contains("did not answer in time")).count();
    assert!((1..=2).contains(&late), "{:?}", report.notes);
    team.iter().for_each(Worker::go_on);
    until("workers that were silent join again", || machines.workers() == 2).await;
    let mut elsewhere = 0;
    for seed in 0..3 {
        let (found, report) = sung(&together, song(SEEDS[seed], Continuity::Parallel)).await;
        assert_same("with workers that are back", &found, &expected[seed]);
        elsewhere += remote_windows(&report);
    }
    assert!(elsewhere > 0, "workers that are back decode windows");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_join_an_engine_decode_for_it_as_long_as_they_are_there() {
    let (model, folder) = (tiny_model(), folder());
    let (ours, theirs) = (token(folder.path(), 'a'), token(folder.path(), 'b'));
    let (token, listen) = (SharedSecret::new(&"a".repeat(40)).expect("a secret"), vec![([127, 0, 0, 1], 0).into()]);
    let network = Network { token, listen, dial: Vec::new(), mdns: false };
    let machines = Machines::meet(network).await.expect("a network");
    let place = machines.listening()[0].clone();
    let arguments = ["--model", text(model.path())];
    let (worker, _stranger) = (Worker::join(&ours, &place, &arguments), Worker::join(&theirs, &place, &arguments));
    let checkpoint = Checkpoint::open(model.path()).expect("a model directory");
    let placement = Placement { threads: Some(1), ..Placement::default() };
    let builder = Heartstream::builder(checkpoint).placement(placement).machines(machines.clone());
    let together = builder.build().await.expect("an engine");
    until("the worker joins", || machines.workers() == 1).await;
    let (expected, mut elsewhere) = (sung(&engine(&model, 1, 1).await, song(4, Continuity::Parallel)).await.0, 0);
    for _ in 0..3 {
        let (found, report) = sung(&together, song(4, Continuity::Parallel)).await;
        assert_same("with a worker that joined", &found, &expected);
        elsewhere += remote_windows(&report);
    }
    assert!(elsewhere > 0 && machines.workers() == 1, "the one with the secret decodes, and no other is there");
    drop(worker);
    until("the worker is gone", || machines.workers() == 0).await;
    let (found, _) = sung(&together, song(4, Continuity::Parallel)).await;
    assert_same("without the worker", &found, &expected);
}

/// Renders a short song of noise, with `arguments`.
fn render(to: &Path, arguments: &[&str]) -> Output {
    let common =
        ["render", "--seed", "3", "--max-seconds", "8", "--first-window", "8", "--continuity", "parallel", "-o"];
    let mut command = program();
    command.env("HEARTSTREAM_KERNELS", "portable").args(common).arg(to).args(arguments);
    command.output().expect("the program runs")
}

#[test]
fn workers_of_another_kind_and_without_the_secret_are_left_out_with_a_note_and_the_song_is_the_same() {
    let folder = folder();
    let (ours, theirs) = (token(folder.path(), 'a'), token(folder.path(), 'b'));
    let alone = folder.path().join("alone.wav");
    assert!(render(&alone, &[]).status.success());
    let alone = std::fs::read(alone).expect("a song");
    let kinds = [
        ("kernels", &ours, ["--model", "noise"], "amx-software", "amx-software kernels"),
        ("codec", &ours, ["--model", "demo"], "portable", "is left out: it has the codec"),
        ("secret", &theirs, ["--model", "noise"], "portable", "cannot be reached"),
    ];
    for (what, token_file, model, kernels, note) in kinds {
        let mut worker = Worker::start(token_file, "127.0.0.1:0", &model, Some(kernels));
        let to = folder.path().join(format!("{what}.wav"));
        let output = render(&to, &["--workers", &worker.address, "--workers-token-file", text(&ours)]);
        let said = complaint(&output);
        // What two secrets make of each other's bytes may look like the beginning of something, and is waited for.
        let is_waited_for = what == "secret" && said.contains("not every machine that was named has answered");
        assert!(output.status.success() && (said.contains(note) || is_waited_for), "another {what}: {said}");
        assert!(std::fs::read(to).expect("a song") == alone, "another {what} changes nothing");
        assert!(worker.runs(), "an engine of another {what} does a worker no harm");
        // Who has the secret of the worker still has its work, where the kinds agree.
        if what == "secret" {
            let to = folder.path().join("with.wav");
            let record = folder.path().join("record.json");
            let options = ["--workers", &worker.address, "--workers-token-file", text(token_file)];
            assert!(render(&to, &[&options[..], &["--record", text(&record)]].concat()).status.success());
            assert!(std::fs::read(to).expect("a song") == alone);
        }
    }
}

#[test]
fn machines_that_cannot_be_reached_hold_up_no_song() {
    let folder = folder();
    let token_file = token(folder.path(), 'a');
    let to = folder.path().join("song.wav");
    // Nothing listens at port 1; the name of the other has no address.
    let options = ["--workers", "127.0.0.1:1,nowhere.invalid:7979", "--workers-token-file", text(&token_file)];
    let output = render(&to, &options);
    assert!(output.status.success() && complaint(&output).contains("cannot be reached"), "{}", complaint(&output));
}

#[test]
fn options_of_workers_that_cannot_be_are_refused_with_what_to_do() {
    let folder = folder();
    let (good, short) = (token(folder.path(), 'a'), folder.path().join("short"));
    std::fs::write(&short, "secret\n").expect("a file");
    let (good, short) = (text(&good), text(&short));
    for (arguments, says) in [
        (vec!["render", "--workers", "10.0.0.2:7979"], "--workers-token-file"),
        (vec!["render", "--workers", "10.0.0.2:7979", "--workers-token-file", short], "openssl rand -hex 32"),
        (vec!["render", "--workers", "10.0.0.2", "--workers-token-file", good], "HOST:PORT"),
        (vec!["worker", "--token-file", good], "--listen"),
        (vec!["worker", "--listen", "127.0.0.1:0"], "--token-file"),
        (vec!["worker", "--listen", "127.0.0.1:0", "--token-file", short], "at least 32"),
        (vec!["worker", "--listen", "127.0.0.1:0", "--token-file", good, "--songs", "--flow"], "--flow"),
        (vec!["worker", "--listen", "127.0.0.1:0", "--token-file", good, "--max-songs", "2"], "--songs"),
        (vec!["worker", "--listen", "127.0.0.1:0", "--token-file", good, "--songs", "--max-songs", "9"], "from 1 to 8"),
    ] {
        let output = support::run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(complaint(&output).contains(says), "{arguments:?}: {}", complaint(&output));
    }
}

/// Sockets of the network that a process has: its inodes among those of the system's tables.
#[cfg(target_os = "linux")]
fn network_sockets(process: u32) -> usize {
    let tables = ["tcp", "tcp6", "udp", "udp6"];
    let rows: Vec<String> = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(format!("/proc/{process}/net/{table}")).ok())
        .flat_map(|table| table.lines().skip(1).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let inodes: Vec<&str> = rows.iter().filter_map(|row| row.split_whitespace().nth(9)).collect();
    let Ok(files) = std::fs::read_dir(format!("/proc/{process}/fd")) else { return 0 };
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let sockets = targets.filter_map(|target| {
        let name = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
        Some(name)
    });
    sockets.filter(|inode| inodes.contains(&inode.as_str())).count()
}

#[cfg(target_os = "linux")]
#[test]
fn without_workers_a_program_has_no_socket_of_the_network() {
    let folder = folder();
    let token_file = token(folder.path(), 'a');
    let sockets = |arguments: &[&str]| {
        let to = folder.path().join("song.wav");
        let mut command = program();
        command.args(["render", "--max-seconds", "10m", "--force", "-o"]).arg(&to).args(arguments);
        let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("the program");
        let most = (0..).map_while(|_| {
            thread::sleep(Duration::from_millis(5));
            let is_under_way = std::fs::metadata(&to).is_ok_and(|file| file.len() > 1_000_000);
            (!is_under_way).then(|| network_sockets(child.id()))
        });
        let most = most.max().expect("a look before the song is under way").max(network_sockets(child.id()));
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        std::fs::remove_file(&to).expect("the song");
        most
    };
    assert_eq!(sockets(&[]), 0);
    let with = ["--workers", "listen:127.0.0.1:0", "--workers-token-file", text(&token_file)];
    assert!(sockets(&with) >= 1, "what was looked for would have been found");
}
