//! Promise: the built-in demo model is there unless another is named, and makes a song.

#[path = "../../../tests/support/mod.rs"]
mod support;

use heartstream::{FirstWindow, Flow, Heartstream, Outcome, SongRequest, units::Seconds};
use heartstream_models::ModelDirectory;
use support::{complaint, program, read};

/// A song of the built-in demo model that is `most` seconds long at most.
fn request(lyrics: &str, most: f64) -> SongRequest {
    // Without a deadline no song depends on how fast this machine is.
    let first_window = FirstWindow { most: FirstWindow::USUAL, deadline: None };
    SongRequest { seed: 1, max_frames: Seconds(most).frames(), first_window, ..SongRequest::new("piano,calm", lyrics) }
}

async fn demo_engine() -> Heartstream {
    Heartstream::builder(heartstream_demo::checkpoint()).build().await.expect("the built-in demo model")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_without_a_model_of_its_own_has_the_one_inside_the_program() {
    let demo = ModelDirectory::open(heartstream_demo::checkpoint()).expect("configs").fingerprint().expect("a name");
    assert_eq!(demo_engine().await.fingerprint(), demo);
}

#[test]
fn the_program_takes_the_model_of_the_option_then_of_the_environment_then_the_one_inside_it() {
    let model = |variable: Option<&str>, arguments: &[&str]| {
        let mut program = program();
        match variable {
            Some(model) => program.env("HEARTSTREAM_MODEL", model),
            None => program.env_remove("HEARTSTREAM_MODEL"),
        };
        let output = program.arg("inspect").args(arguments).output().expect("the program runs");
        assert!(output.status.success(), "{}", complaint(&output));
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(model(None, &[]), "model demo");
    assert_eq!(model(Some("noise"), &[]), "model noise");
    assert_eq!(model(Some("noise"), &["--model", "demo"]), "model demo");
    let help = program().args(["render", "--help"]).output().expect("the program runs");
    assert!(String::from_utf8_lossy(&help.stdout).contains("HEARTSTREAM_MODEL"), "the help names the variable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_of_it_is_heard_and_not_clipped() {
    let song = demo_engine().await.sing(request("[Verse]\nThe sun creeps in across the floor", 2.0)).await;
    let (samples, report) = read(song.expect("a song")).await;
    assert_eq!(report.outcome, Outcome::Finished);
    let peak = samples.iter().fold(0f32, |peak, x| peak.max(x.abs()));
    let power = samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32;
    assert!(peak < 1.0, "peak {peak}");
    assert!(power.sqrt() > 0.003, "RMS {}", power.sqrt());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_of_few_words_ends_by_itself() {
    const MOST: f64 = 60.0;
    // Only where it ends is looked at, so the sound is made with as little work as can be.
    let flow = Flow { steps: 1, guidance: 1.0 };
    let request = SongRequest { flow, ..request("[Verse]\nThe sun creeps in\n\n[Outro]\nLet it ring", MOST) };
    let song = demo_engine().await.sing(request).await.expect("a song");
    let (_, report) = read(song).await;
    assert_eq!(report.outcome, Outcome::Finished);
    let seconds = report.audio.0;
    assert!(seconds > 1.0 && seconds < MOST - 1.0, "{seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_song_of_it_is_the_same_however_it_is_drafted_with_the_drafter_that_ships_with_it() {
    let engine = demo_engine().await;
    let words = "[Verse]\nThe sun creeps in across the floor\n\n[Outro]\nLet it ring";
    let song = || SongRequest { flow: Flow { steps: 1, guidance: 1.0 }, ..request(words, 6.0) };
    let sung = async |setting: &str| {
        let engine = engine.with_speculation(setting.parse().expect("a setting")).expect("a drafter is there");
        read(engine.sing(song()).await.expect("a song")).await
    };
    let (plain, _) = sung("off").await;
    for setting in ["heads:3", "heads-viterbi:2", "next-state:4", "ngram,next-state:3", "auto"] {
        let (drafted, report) = sung(setting).await;
        assert!(drafted == plain, "{setting}");
        let frames = report.speculation.expect("drafting was counted").frames_per_verify.unwrap_or(0.0);
        assert!(setting == "auto" || frames > 1.2, "{setting}: {frames} frames a look, as if nothing had been learnt");
    }
}
