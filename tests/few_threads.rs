//! Promise: where the system gives fewer threads than an engine needs, a program that embeds one gets an error, and no panic.
#![cfg(target_os = "linux")]

mod support;

use std::process::Output;

use heartstream::{Checkpoint, Heartstream, Outcome, blocking::Engine};
use support::{
    complaint, folder,
    limits::{limited, limited_as_nobody},
    request, tiny_model,
};

/// Says to the process that it is the program that embeds an engine, and where its model is.
const MODEL: &str = "FEW_THREADS_MODEL";
/// As many as are surely enough, for any number of cores.
const ENOUGH: u32 = 4000;

/// Whether a song came to its end, or why it never began. The runtime is the embedder's own: without a thread for it there
/// is nothing to embed into.
fn embed(model: &str) -> Result<Outcome, String> {
    let checkpoint = Checkpoint::open(model).map_err(|error| error.to_string())?;
    let engine = Engine::build(Heartstream::builder(checkpoint)).map_err(|error| error.to_string())?;
    let song = engine.sing(request(10, 1)).map_err(|error| error.to_string())?;
    Ok(song.finished().outcome)
}

#[test]
fn an_engine_without_its_threads_is_an_error_with_a_remedy_and_no_panic() {
    if let Ok(model) = std::env::var(MODEL) {
        // What the engine turns into an error is not said beside it.
        std::panic::set_hook(Box::new(|panic| {
            if !heartstream_models::is_contained() {
                println!("panicked: {panic}");
            }
        }));
        println!("embedded: {:?}", embed(&model));
        return;
    }
    let (model, place) = (tiny_model(), folder());
    // A copy where that user may read it.
    let program = place.path().join("program");
    std::fs::copy(std::env::current_exe().expect("this test"), &program).expect("a copy");
    for path in [model.path(), place.path()] {
        let open = limited("-c 0").args(["chmod", "-R", "a+rwX"]).arg(path).status().expect("a shell");
        assert!(open.success());
    }
    let try_with = |threads: u32| -> Option<Output> {
        let mut command = limited_as_nobody(&format!("-u {threads}"))?;
        command.arg(&program).args(["--test-threads=1", "--nocapture"]).env(MODEL, model.path());
        Some(command.output().expect("a shell"))
    };
    let (mut sung, mut refused) = (0, 0);
    for threads in (1..30).step_by(2).chain([ENOUGH]) {
        let Some(output) = try_with(threads) else { return };
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), complaint(&output));
        assert!(output.status.success() && !said.contains("panicked"), "{threads}: {said}");
        match (said.contains("Ok(Finished)"), said.contains("raise the limit of processes")) {
            (true, false) => sung += 1,
            (false, true) => refused += 1,
            _ => panic!("{threads}: {said}"),
        }
    }
    assert!(sung > 0 && refused > 0, "{sung} songs, {refused} refused");
}
