//! Promise: `bench continuity` measures every way of cutting a song, and refuses what it cannot do before it begins.

#[path = "../../../tests/support/mod.rs"]
mod support;

use serde_json::Value;
use support::{complaint, folder, run, text};

#[test]
fn every_way_is_measured_and_the_reference_is_the_same_as_itself() {
    let folder = folder();
    let plot = folder.path().join("plot.svg");
    let output = run(&[
        "bench",
        "continuity",
        "--seconds",
        "2",
        "--reference-steps",
        "2",
        "--flow-steps",
        "2,1",
        "--first-windows",
        "8,16",
        "--json",
        "--plot",
        text(&plot),
    ]);
    assert!(output.status.success(), "{}", complaint(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let song = &report["songs"][0];
    assert_eq!((&song["frames"], &report["reference_steps"]), (&25.into(), &2.into()));
    let modes = song["modes"].as_array().expect("a list of modes");
    let name = |mode: &Value| {
        let [continuity, first, steps] = ["continuity", "first_window", "flow_steps"].map(|key| &mode[key]);
        format!("{} {first} {steps}", continuity.as_str().unwrap_or_default())
    };
    assert_eq!(
        modes.iter().map(name).collect::<Vec<_>>(),
        [
            "reference 372 2",
            "chained 8 2",
            "chained 16 2",
            "parallel 8 2",
            "parallel 16 2",
            "reference 372 1",
            "chained 16 1",
            "parallel 16 1",
        ]
    );
    // Infinite is null, and only the decoding that all are compared with is the same as itself.
    assert!(modes[0]["signal_to_noise_db"].is_null() && modes[0]["mel_distance"] == 0.0);
    for mode in &modes[1..] {
        let ratio = mode["signal_to_noise_db"].as_f64().expect("a number");
        assert!(ratio > 0.0 && mode["mel_distance"].as_f64().expect("a number") > 0.0, "{}", name(mode));
        assert_eq!(mode["mel_distance_by_second"].as_array().map(Vec::len), Some(2));
        assert!(mode["rtf"].as_f64().expect("a number") > 0.0);
    }
    // What is heard of all songs together stands once for each way; so short a song has no place to compare seams with.
    let ways = report["ways"].as_array().expect("a list of ways");
    assert_eq!(ways.iter().map(name).collect::<Vec<_>>(), modes.iter().map(name).collect::<Vec<_>>());
    for way in ways {
        let [begin, end] = ["begin_db", "end_db"].map(|edge| way[edge].as_f64().expect("a number"));
        assert!(begin.is_finite() && end.is_finite(), "{}", name(way));
        assert_eq!(way["thumps"].as_array().map(Vec::len), Some(2));
    }
    // 8 of which 4 are played, 16 with 4 known of which 10 are played, the rest: joined at 4 and 10 frames.
    let chained: Vec<f64> = modes[1]["jump_db"]["at_seams"]
        .as_array()
        .expect("seams")
        .iter()
        .map(|seam| seam["at_s"].as_f64().expect("a time"))
        .collect();
    assert_eq!(chained, [0.32, 0.8]);
    let drawing = std::fs::read_to_string(&plot).expect("the plot");
    assert!(
        drawing.starts_with("<svg") && ["reference", "chained", "parallel"].iter().all(|name| drawing.contains(name))
    );
}

#[test]
fn what_cannot_be_measured_is_refused_by_name() {
    for (arguments, named) in [
        (vec!["--seconds", "0"], "a time above 0"),
        (vec!["--seconds", "0.01"], "seconds must be"),
        (vec!["--seconds", "NaN"], "a time above 0"),
        (vec!["--reference-steps", "0"], "reference-steps must be"),
        (vec!["--flow-steps", "10,0"], "flow-steps must be"),
        (vec!["--first-windows", "8,0"], "first-window must be"),
        (vec!["--first-windows", "373"], "first-window must be"),
        (vec!["--look-aheads", "53"], "look-ahead must be"),
        (vec!["--plot", "plot.png"], "ends in .svg"),
    ] {
        let output = run(&[&["bench", "continuity"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", complaint(&output));
        assert!(complaint(&output).contains(named), "{arguments:?}: {}", complaint(&output));
        assert!(output.stdout.is_empty());
    }
}
