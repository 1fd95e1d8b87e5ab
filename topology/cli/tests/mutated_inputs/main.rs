//! Promise: whatever is changed in what the engine is given, it makes a song or says in a few lines what is wrong. Nothing
//! panics, aborts, takes longer than ten seconds or hundreds of megabytes.
//!
//! `HEARTSTREAM_MUTATIONS=10000 cargo test --release --workspace --test mutated_inputs` tries 10000 inputs; without it 500
//! are tried. A failure names the number of its input, and `HEARTSTREAM_MUTATION=N` tries that one alone.
//!
//! All are given to the engine in this process. To the program as well go all plans, options and variables, and of the
//! others one in ten, or each with `HEARTSTREAM_MUTATIONS_BY_PROGRAM=1`.

mod by_program;
mod in_process;
mod limits;
mod mutate;
mod scene;
#[path = "../../../../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use by_program::by_program;
use in_process::in_process;
use limits::{MOST_TIME, Peak, Watch};
use mutate::Rng;
use scene::Scene;
use serde_json::Value;
use support::{copy_tree, folder};

/// Inputs that are tried without a word in the environment.
const USUAL: u64 = 500;
/// One of this number is given to the program as well, which takes longer, unless all are.
const PROGRAM_SHARE: u64 = 10;

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

/// What input `number` changes.
fn target(number: u64) -> Target {
    TARGETS[(number % TARGETS.len() as u64) as usize]
}

/// Tries input `number`: in this process, and perhaps by the program.
fn try_out(scene: &Scene, number: u64, runtime: &tokio::runtime::Runtime, by_the_program: bool) {
    let mut rng = Rng::new(number);
    let target = target(number);
    let model = folder();
    copy_tree(scene.good.path(), model.path());
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
        Target::Codes => codes = Some(mutate::bytes(&scene.codes, &mut rng)),
        Target::Plan => plan = Some(mutate::bytes(&scene.plan, &mut rng)),
        Target::Words => {
            let lyrics = mutate::bytes("[Verse]\nla là 你好 \u{1F600}\n".repeat(rng.below(200)).as_bytes(), &mut rng);
            words =
                (String::from_utf8_lossy(&lyrics[..lyrics.len() / 3]).into(), String::from_utf8_lossy(&lyrics).into());
        }
        Target::Options | Target::Environment => (),
    }
    in_process(model.path(), target, &words, codes.as_deref(), runtime);
    if by_the_program {
        by_program(model.path(), target, &words, codes, plan, &mut rng);
    }
}

#[test]
fn mutated_inputs_become_a_song_or_a_few_lines() {
    let variable = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let only = variable("HEARTSTREAM_MUTATION");
    let numbers = only.map_or(0..variable("HEARTSTREAM_MUTATIONS").unwrap_or(USUAL), |number| number..number + 1);
    let scene = Scene::new();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // The good model first: what it takes is no growth. The scene has had the program render a song of it.
    in_process(scene.good.path(), Target::Words, &("piano".to_owned(), "la".to_owned()), None, &runtime);
    let before = Peak::now();
    let watch = Watch::new();
    let (mut failures, mut by_program_too, mut slowest) = (0, 0, (Duration::ZERO, 0));
    for number in numbers {
        let by_the_program = only.is_some()
            || variable("HEARTSTREAM_MUTATIONS_BY_PROGRAM").is_some_and(|all| all > 0)
            || number % PROGRAM_SHARE == 0
            || matches!(target(number), Target::Plan | Target::Options | Target::Environment);
        by_program_too += u64::from(by_the_program);
        let attempt = || {
            watch.begin(number);
            let since = Instant::now();
            let tried = catch_unwind(AssertUnwindSafe(|| try_out(&scene, number, &runtime, by_the_program)));
            (tried.is_ok(), since.elapsed())
        };
        let (mut well, mut took) = attempt();
        if well && took > MOST_TIME {
            // Others may have had the processor: what is slow is slow twice.
            eprintln!("input {number} took {took:.1?} and is tried again");
            (well, took) = attempt();
        }
        if !well || took > MOST_TIME {
            eprintln!("input {number} took {took:.1?} (HEARTSTREAM_MUTATION={number} tries it alone)");
            failures += 1;
        }
        slowest = slowest.max((took, number));
    }
    println!("{by_program_too} of them by the program; the slowest was input {}: {:.1?}", slowest.1, slowest.0);
    assert_eq!(failures, 0, "inputs that were not answered well");
    before.assert_kept();
}
