//! Support of the tests: the program, a small model, songs, and a place for files.
#![allow(dead_code)] // each test file uses its part of this

pub mod drafter;
#[cfg(unix)]
pub mod limits;
pub mod null_sink;
pub mod refusal;
pub mod sox;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use heartstream::{
    Checkpoint, Continuity, FirstWindow, Flow, Heartstream, Placement, Sampling, Song, SongReport, SongRequest,
    plan::DeviceName,
    units,
    wav::{SampleFormat, WavTarget},
};
use heartstream_tools::synth::{SynthSize, synthesise};
use tempfile::TempDir;

/// A frame in samples of both channels.
pub const FRAME: usize = units::SAMPLES_PER_FRAME as usize * units::CHANNELS;
/// Frames from the start of one of the reference's windows to the start of the next.
pub const HOP: usize = 320;
/// How long a test waits for something that must happen: far longer than it ever takes.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The program; its model is the one of noise unless a test names another. For tests of the package that builds it:
/// elsewhere it is whichever program of the name is installed.
pub fn program() -> Command {
    let mut program = Command::new(option_env!("CARGO_BIN_EXE_heartstream").unwrap_or("heartstream"));
    program.env("HEARTSTREAM_MODEL", "noise");
    program
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program runs")
}

/// Standard error of a run as text.
pub fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder that goes away with the test.
pub fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Copies a folder with everything in it.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

/// Changes a JSON file.
pub fn edit_json(path: &Path, edit: impl Fn(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON");
    edit(&mut value);
    fs::write(path, value.to_string()).expect("a file");
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// The samples of a WAV file, interleaved.
pub fn samples(path: &Path) -> Vec<f32> {
    let mut reader = hound::WavReader::open(path).expect("a WAV file");
    let spec = reader.spec();
    assert_eq!((spec.channels, spec.sample_rate), (2, 48_000));
    reader.samples::<f32>().collect::<Result<_, _>>().expect("samples")
}

/// The smallest model there is, in the published layout.
pub fn tiny_model() -> TempDir {
    let folder = folder();
    synthesise(SynthSize::Tiny, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
    folder
}

/// An engine with the model in `model`: `flow_workers` workers, `threads` threads for each stage.
pub async fn engine(model: &TempDir, flow_workers: usize, threads: usize) -> Heartstream {
    placed(model, Placement { flow_workers, threads: Some(threads), ..Placement::default() }).await
}

/// An engine that prepares drafts on threads of their own.
pub async fn preparing(model: &TempDir) -> Heartstream {
    let (draft_cores, draft_device) = (Some(Vec::new()), Some(DeviceName::Cpu));
    let placement = Placement { flow_workers: 1, threads: Some(1), draft_cores, draft_device, ..Placement::default() };
    placed(model, placement).await
}

async fn placed(model: &TempDir, placement: Placement) -> Heartstream {
    let checkpoint = Checkpoint::open(model.path()).expect("a model directory");
    Heartstream::builder(checkpoint).placement(placement).build().await.expect("an engine")
}

/// An engine with the model of noise, on all of the machine: its songs sound, and end when they like.
pub async fn noise_engine() -> Heartstream {
    Heartstream::builder(heartstream_tools::synth::noise()).build().await.expect("the model of noise")
}

/// A song that is exactly `frames` frames long when the smallest model sings it, in the reference's windows.
///
/// The ids that end a song have the logit 0 there, and with so small a top-k they are never among the candidates.
pub fn request(frames: u64, seed: u64) -> SongRequest {
    SongRequest {
        seed,
        max_frames: units::Frames(frames),
        sampling: Sampling { top_k: 5, ..Sampling::default() },
        flow: Flow { steps: 2, ..Flow::default() },
        continuity: Continuity::Reference,
        // Without a deadline no song depends on how fast this machine is.
        first_window: FirstWindow { most: FirstWindow::USUAL.min(units::Frames(frames)), deadline: None },
        ..SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in across the floor")
    }
}

/// A file for a song, its samples as they are made.
pub fn wav(path: &Path) -> WavTarget {
    WavTarget::file(path, SampleFormat::F32).expect("a file")
}

/// Reads a song to its end: its samples, interleaved, and its report. Every block must follow the one before.
pub async fn read(mut song: Song) -> (Vec<f32>, SongReport) {
    let mut samples = Vec::new();
    while let Some(block) = song.next_block().await {
        assert_eq!(block.start.0 as usize * units::CHANNELS, samples.len(), "a block follows the one before");
        samples.extend_from_slice(&block.samples);
    }
    (samples, song.finished().await)
}

/// Sings `request` to its end. What comes of it must be heard, or comparing it with anything would say nothing.
pub async fn sung(engine: &Heartstream, request: SongRequest) -> (Vec<f32>, SongReport) {
    let (samples, report) = read(engine.sing(request).await.expect("a song")).await;
    let power = samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32;
    assert!(power.sqrt() > 1e-3, "RMS {}", power.sqrt());
    (samples, report)
}

/// Fails when two songs differ, and says where instead of printing millions of samples.
pub fn assert_same(what: &str, song: &[f32], expected: &[f32]) {
    assert_eq!(song.len(), expected.len(), "{what}: samples");
    assert_prefix(what, song, expected);
}

/// Fails when `part` is not what `whole` begins with, bit for bit.
pub fn assert_prefix(what: &str, part: &[f32], whole: &[f32]) {
    assert!(part.len() <= whole.len(), "{what}: {} samples, the whole song has {}", part.len(), whole.len());
    let differs = part.iter().zip(whole).position(|(a, b)| a.to_bits() != b.to_bits());
    assert_eq!(differs, None, "{what}: the place of the first sample that differs, of {}", part.len());
}

/// Looks again and again until `done`; fails when that takes unbelievably long.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "in {PATIENCE:?} it did not come to this: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
