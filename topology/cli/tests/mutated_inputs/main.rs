//! Promise: whatever is changed in what the engine is given, it makes a song or says in a few lines what is wrong. Nothing
//! panics, aborts, hangs or takes hundreds of megabytes.
//!
//! `HEARTSTREAM_MUTATIONS=10000 cargo test --release --test mutated_inputs` tries so many inputs; without it 500 are tried.
//! A failure names the number of its input, and `HEARTSTREAM_MUTATION=N` tries that one alone.

mod mutate;
#[path = "../../../../tests/support/mod.rs"]
mod support;

use std::{
    cell::Cell,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use heartstream::{Checkpoint, FailureKind, Heartstream, Placement, Sampling, SongRequest, codes::SavedSong, units};
use heartstream_models::{
    ModelDirectory, foreign_text, golden,
    synth::{SynthSize, synthesise},
    text::PromptTokenizer,
};
use mutate::Rng;
use serde_json::Value;
use support::{complaint, copy_tree, folder, program, text};
use tempfile::TempDir;

/// Inputs that are tried without a word in the environment.
const USUAL: u64 = 500;
/// One of so many is given to the program as well, which takes longer.
const PROGRAM_SHARE: u64 = 10;
/// An input that takes longer hangs: it is stopped by the end of the test.
const HANGS: Duration = Duration::from_secs(120);
/// Memory beyond what was there before the first input.
const MOST_MEMORY: u64 = 300 << 20;

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// A JSON file of the model, or the file with its bytes changed.
    Json(&'static str),
    Bytes(&'static str),
    Codes,
    Plan,
    Words,
    Options,
    Environment,
}

const TARGETS: [Target; 19] = [
    Target::Json("tokenizer.json"),
    Target::Json("tokenizer.json"),
    Target::Bytes("tokenizer.json"),
    Target::Json("HeartMuLa-oss-3B/config.json"),
    Target::Json("HeartCodec-oss/config.json"),
    Target::Json("gen_config.json"),
    Target::Bytes("HeartMuLa-oss-3B/config.json"),
    Target::Bytes("HeartMuLa-oss-3B/model.safetensors"),
    Target::Bytes("HeartCodec-oss/model.safetensors"),
    Target::Json("HeartMuLa-oss-3B/model.safetensors.index.json"),
    Target::Bytes("HeartMuLa-oss-3B/model.safetensors.index.json"),
    Target::Bytes("HeartMuLa-oss-3B/drafter.safetensors"),
    Target::Bytes("HeartMuLa-oss-3B/drafter.safetensors"),
    Target::Bytes("goldens.safetensors"),
    Target::Codes,
    Target::Plan,
    Target::Words,
    Target::Options,
    Target::Environment,
];

/// A whole model with everything that can lie beside it, and a saved song of it.
struct Scene {
    good: TempDir,
    codes: Vec<u8>,
    plan: Vec<u8>,
}

impl Scene {
    fn new() -> Self {
        let good = folder();
        synthesise(SynthSize::Tiny, 5, good.path(), &mut |_, _| ()).expect("a checkpoint");
        let path = |name: &str| good.path().join(name);
        fs::write(
            path("HeartMuLa-oss-3B/model.safetensors.index.json"),
            r#"{"metadata": {"total_size": 1}, "weight_map": {"a": "model.safetensors"}}"#,
        )
        .expect("an index");
        fs::write(path("HeartMuLa-oss-3B/drafter.safetensors"), drafter(good.path())).expect("a drafter");
        fs::write(path("goldens.safetensors"), goldens()).expect("golden data");
        let (song, codes, plan) = (path("song.wav"), path("song.codes"), path("song.json"));
        let output = program()
            .args([
                "render",
                "-q",
                "--model",
                text(good.path()),
                "-o",
                text(&song),
                "--max-seconds",
                "0.4",
                "--top-k",
                "5",
            ])
            .args(["--tags", "piano", "--lyrics", "la", "--save-codes", text(&codes), "--record", text(&plan)])
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{}", complaint(&output));
        let taken = |path: &Path| (fs::read(path).expect("a file"), fs::remove_file(path).expect("a file")).0;
        taken(&song);
        let (codes, plan) = (taken(&codes), taken(&plan));
        Self { good, codes, plan }
    }

    /// Tries input `number`: in this process, and now and then by the program.
    fn try_out(&self, number: u64, runtime: &tokio::runtime::Runtime, by_program: bool) {
        let mut rng = Rng::new(number);
        let target = TARGETS[(number % TARGETS.len() as u64) as usize];
        let model = folder();
        copy_tree(self.good.path(), model.path());
        let mut words = ("piano".to_owned(), "[Verse]\nla la".to_owned());
        let (mut codes, mut plan) = (None, None);
        match target {
            Target::Json(name) => {
                let path = model.path().join(name);
                let good: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
                fs::write(&path, mutate::json(&good, &mut rng).to_string()).expect("a file");
            }
            Target::Bytes(name) => {
                let path = model.path().join(name);
                fs::write(&path, mutate::bytes(&fs::read(&path).expect("a file"), &mut rng)).expect("a file");
            }
            Target::Codes => codes = Some(mutate::bytes(&self.codes, &mut rng)),
            Target::Plan => plan = Some(mutate::bytes(&self.plan, &mut rng)),
            Target::Words => {
                let lyrics =
                    mutate::bytes("[Verse]\nla là 你好 \u{1F600}\n".repeat(rng.below(200)).as_bytes(), &mut rng);
                words = (
                    String::from_utf8_lossy(&lyrics[..lyrics.len() / 3]).into(),
                    String::from_utf8_lossy(&lyrics).into(),
                );
            }
            Target::Options | Target::Environment => (),
        }
        in_process(model.path(), target, &words, codes.as_deref(), runtime);
        if by_program || matches!(target, Target::Plan | Target::Options | Target::Environment) {
            self.by_program(model.path(), target, &words, codes, plan, &mut rng);
        }
    }

    fn by_program(
        &self,
        model: &Path,
        target: Target,
        words: &(String, String),
        codes: Option<Vec<u8>>,
        plan: Option<Vec<u8>>,
        rng: &mut Rng,
    ) {
        let mut command = program();
        command.current_dir(model);
        match (target, codes) {
            (_, Some(codes)) => {
                fs::write(model.join("x.codes"), codes).expect("a file");
                command.args(["decode", "x.codes"]);
            }
            (Target::Bytes("goldens.safetensors"), _) => {
                command.args(["check", "."]);
            }
            (Target::Json(_) | Target::Bytes(_), _) if rng.below(2) == 0 => {
                command.arg("inspect");
            }
            _ => {
                let words = [&words.0, &words.1].map(|words| words.replace('\0', " "));
                command.args(["render", "-o", "x.wav", "--max-seconds", "0.3", "--top-k", "5"]);
                command.args([format!("--tags={}", words[0]), format!("--lyrics={}", words[1])]);
            }
        }
        if !matches!(target, Target::Bytes("goldens.safetensors")) {
            command.args(["--model", "."]);
        }
        if let Some(plan) = plan {
            fs::write(model.join("x.json"), plan).expect("a file");
            command.args(["--plan", "x.json"]);
        }
        const STRANGE: [&str; 12] = [
            "",
            "-1",
            "0",
            "1e309",
            "NaN",
            "99999999999999999999",
            "\u{1b}[2J",
            "x",
            "/",
            "1,,2",
            "ngram:0",
            "cuda:77",
        ];
        if target == Target::Options {
            let options = [
                "--seed",
                "--max-seconds",
                "--top-k",
                "--temperature",
                "--speculate",
                "--threads",
                "--flow-steps",
                "--first-window",
                "--memory-limit",
                "--device",
                "--flow-workers",
                "--continuity",
            ];
            command.arg(format!("{}={}", rng.pick(&options), rng.pick(&STRANGE)));
        }
        if target == Target::Environment {
            let names = [
                "RAYON_NUM_THREADS",
                "HEARTSTREAM_KERNELS",
                "HEARTSTREAM_MODEL",
                "RUST_LOG",
                "CANDLE_NUM_THREADS",
                "COLUMNS",
                "TERM",
                "LANG",
            ];
            command.env(rng.pick(&names), rng.pick(&STRANGE));
        }
        let output = command.output().expect("the program runs");
        let said = complaint(&output);
        let code = output.status.code();
        assert!(matches!(code, Some(0..=2)), "{command:?}: {:?}: {said}", output.status);
        assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{command:?}: {said}");
        assert!(!said.chars().any(|c| c.is_control() && c != '\n'), "{command:?}: {said:?}");
        if code != Some(0) {
            let (lines, bytes) = (said.lines().count(), said.len());
            // Warnings of other things may come before the error.
            let error = said.find("heartstream: ").map_or("", |start| &said[start..]);
            assert!(error.len() <= foreign_text::MOST_BYTES + 200, "{command:?}: {lines} lines, {bytes} bytes: {said}");
            assert!(error.lines().count() <= foreign_text::MOST_LINES, "{command:?}: {lines} lines: {said}");
        }
    }
}

/// Loads the model, tries its tokenizer, its golden data and its codes, and sings three frames.
fn in_process(
    model: &Path,
    target: Target,
    words: &(String, String),
    codes: Option<&[u8]>,
    runtime: &tokio::runtime::Runtime,
) {
    let Ok(checkpoint) = Checkpoint::open(model) else { return };
    let fine = |error: &dyn std::fmt::Display| {
        let said = error.to_string();
        let (lines, bytes) = (said.lines().count(), said.len());
        assert!(
            lines <= foreign_text::MOST_LINES && bytes <= foreign_text::MOST_BYTES,
            "{lines} lines, {bytes} bytes: {said}"
        );
    };
    match ModelDirectory::open(checkpoint.clone()) {
        Err(error) => return fine(&error),
        Ok(directory) => {
            if let Err(error) = directory.load_tokenizer().and_then(|tokenizer| PromptTokenizer::try_out(&tokenizer)) {
                fine(&error);
            }
            directory.check_drafter().unwrap_or_else(|error| fine(&error));
            if target == Target::Bytes("goldens.safetensors") {
                golden::check(&directory, &candle_core::Device::Cpu, &mut |_| ()).unwrap_or_else(|error| fine(&error));
                return;
            }
        }
    }
    let speculation = if target == Target::Bytes("HeartMuLa-oss-3B/drafter.safetensors") { "heads:3" } else { "off" };
    let placement = Placement { flow_workers: 1, threads: Some(1), ..Placement::default() };
    runtime.block_on(async {
        let engine = Heartstream::builder(checkpoint).placement(placement);
        let engine = match engine.speculation(speculation.parse().expect("a way to draft")).build().await {
            Ok(engine) => engine,
            Err(error) => return fine(&error),
        };
        let song = match codes {
            Some(codes) => {
                let path = Path::new("x.codes");
                match SavedSong::parse(path, codes) {
                    Ok(kept) => engine.resume(kept, path, heartstream::Sink::Subscriber).await,
                    Err(error) => return fine(&error),
                }
            }
            None => {
                let request = SongRequest {
                    max_frames: units::Frames(3),
                    sampling: Sampling { top_k: 5, ..Sampling::default() },
                    ..SongRequest::new(&words.0, &words.1)
                };
                engine.sing(request).await
            }
        };
        match song {
            Ok(song) => {
                if let heartstream::Outcome::Failed(error) = song.finished().await.outcome {
                    assert!(error.kind != FailureKind::Panic, "{error}");
                    fine(&error);
                }
            }
            Err(error) => fine(&error),
        }
    });
}

/// A drafter that fits the smallest model.
fn drafter(model: &Path) -> Vec<u8> {
    use heartstream_models::speculation::{DrafterSizes, DrafterWeights};
    let directory = ModelDirectory::open(Checkpoint::open(model).expect("a directory")).expect("configs");
    let sizes = DrafterSizes::usual(&directory.lm, 3);
    let tensors = DrafterWeights::expected(&directory.lm, sizes);
    let filled: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|tensor| {
            let count = tensor.shape.iter().product::<usize>();
            let numbers = (0..count).flat_map(|place| ((place as f32 * 0.7).sin() * 0.05).to_le_bytes()).collect();
            (tensor.name, tensor.shape, numbers)
        })
        .collect();
    serialised(&filled, safetensors::Dtype::F32)
}

/// Golden data that fit no model, of all shapes that are read.
fn goldens() -> Vec<u8> {
    let tensor =
        |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec(), vec![0u8; 4 * shape.iter().product::<usize>()]);
    let all = [
        tensor("codec.estimator.input", &[1, 4, 544]),
        tensor("codec.estimator.timestep", &[1]),
        tensor("codec.estimator.output", &[1, 4, 256]),
        tensor("codec.vocoder.latent", &[2, 128, 4]),
        tensor("codec.vocoder.pcm", &[2, 7680]),
        tensor("codec.steps2.noise", &[1, 200, 256]),
        tensor("codec.steps2.latents", &[1, 2, 128, 200]),
    ];
    serialised(&all, safetensors::Dtype::F32)
}

fn serialised(tensors: &[(String, Vec<usize>, Vec<u8>)], dtype: safetensors::Dtype) -> Vec<u8> {
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).expect("a tensor"))
    });
    safetensors::serialize(views, None).expect("a file")
}

/// The most memory that this process ever had.
fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

#[test]
fn mutated_inputs_become_a_song_or_a_few_lines() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let only = variable("HEARTSTREAM_MUTATION");
    let numbers = only.map_or(0..variable("HEARTSTREAM_MUTATIONS").unwrap_or(USUAL), |number| number..number + 1);
    let scene = Scene::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // The good model first: what it takes is no growth.
    in_process(scene.good.path(), Target::Words, &("piano".to_owned(), "la".to_owned()), None, &runtime);
    let before = peak_memory();
    let (begun, watched) = mpsc::channel::<u64>();
    // A hang is named and ends the test: nothing else could end it.
    thread::spawn(move || {
        let mut last = watched.recv();
        while let Ok(number) = last {
            last = match watched.recv_timeout(HANGS) {
                Ok(next) => Ok(next),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    eprintln!("input {number} hangs (HEARTSTREAM_MUTATION={number} tries it alone)");
                    std::process::exit(1)
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
        }
    });
    let failures = Cell::new(0u32);
    for number in numbers {
        begun.send(number).expect("it is watched");
        let by_program = only.is_some() || number % PROGRAM_SHARE == 0;
        let tried = catch_unwind(AssertUnwindSafe(|| scene.try_out(number, &runtime, by_program)));
        if tried.is_err() {
            eprintln!("input {number} (HEARTSTREAM_MUTATION={number} tries it alone)");
            failures.set(failures.get() + 1);
        }
    }
    assert_eq!(failures.get(), 0, "inputs that were not answered well");
    let grown = peak_memory().saturating_sub(before);
    assert!(grown < MOST_MEMORY, "{} MB more than before", grown >> 20);
}
