//! Promise: numbers on the command line are read with the units that people write, and one that is out of range is answered
//! with the range.

#[path = "../../../tests/support/mod.rs"]
mod support;

use support::{complaint, program};

/// What a command says of its arguments, with its exit code.
fn said(arguments: &[&str]) -> (Option<i32>, String) {
    let output = program().args(arguments).output().expect("the program runs");
    (output.status.code(), complaint(&output))
}

#[test]
fn times_have_units() {
    let memory = |time: &str| {
        let output = program().args(["inspect", "--json", "--max-seconds", time]).output().expect("the program runs");
        assert!(output.status.success(), "{time}: {}", complaint(&output));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        report["memory_bytes"]["together"].as_u64().expect("an estimate")
    };
    let four_minutes = memory("240");
    for time in ["240s", "4m", "4 min", "3m60s", "4:00"] {
        assert_eq!(memory(time), four_minutes, "{time}");
    }
    assert!(memory("1h") > four_minutes);
}

#[test]
fn negative_numbers_and_nonsense_are_answered_with_the_range() {
    let cases = [
        (&["render", "--seed", "-1"][..], "from 0 to 18446744073709551615"),
        (&["render", "--max-seconds", "-4m"], "a time above 0"),
        (&["render", "--max-seconds", "4x"], "240s, 4m"),
        (&["render", "--top-k", "-3"], "from 1 up"),
        (&["render", "--flow-steps", "-1"], "from 1 to 1000"),
        (&["render", "--flow-workers", "-1"], "from 1 up"),
        (&["render", "--first-window", "-1"], "from 1 to 372"),
        (&["render", "--first-audio", "-10s"], "a time above 0"),
        (&["render", "--memory-limit", "-8GB"], "8GB"),
        (&["render", "--lm-cores", "-1"], "0-5 or 0,2,4"),
        (&["play", "--device-rate", "-48k"], "from 8000 to 768000"),
        (&["inspect", "--max-seconds", "-1"], "a time above 0"),
        (&["bench", "--seconds", "-1"], "0 or a time"),
        (&["bench", "speculation", "--seconds", "-1"], "a time above 0"),
        (&["distill", "--steps", "-1"], "from 1 up"),
        (&["render", "--temperature", "-1"], "temperature must be"),
        (&["render", "--cfg-scale", "-1"], "cfg-scale must be"),
        (&["render", "--temperature", "1,5"], "a number such as 1.5"),
        (&["render", "--cfg-scale", "high"], "a number such as 1.5"),
        (&["render", "--flow-guidance", "-x"], "a number such as 1.5"),
        (&["bench", "speculation", "--cfg-scale", "1,5"], "a number such as 1.5"),
    ];
    for (arguments, range) in cases {
        let (code, said) = said(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(range) && !said.contains("unexpected argument"), "{arguments:?}: {said}");
    }
}
