//! Promise: `bench songs`: songs side by side are measured, as frames and from words to sound.

#[path = "../../../tests/support/mod.rs"]
mod support;

use support::{complaint, run};

#[test]
fn songs_side_by_side_are_measured_until_the_last_of_them_sounds() {
    let counts = ["--counts", "1,3", "--seconds", "0.4", "--repeats", "1", "--sound", "--json"];
    let output =
        run(&[&["bench", "songs", "--random", "tiny", "-q", "--tags", "a", "--lyrics", "b"], &counts[..]].concat());
    assert!(output.status.success(), "{}", complaint(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = report["rows"].as_array().expect("rows");
    assert_eq!(rows.iter().map(|row| row["songs"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(3)]);
    for row in rows {
        let positive = |name: &str| row[name].as_f64().is_some_and(|number| number > 0.0);
        assert!(positive("pass_s") && positive("frames_per_s") && positive("last_first_sound_s"), "{row}");
    }
    let kept = |row: usize| rows[row]["kv_bytes"].as_u64().expect("bytes");
    assert_eq!(kept(1), 3 * kept(0), "keys and values are those of all songs");
}

#[test]
fn counts_that_are_none_are_refused_by_name() {
    for counts in ["0", "257", "2,0"] {
        let output = run(&["bench", "songs", "--random", "tiny", "-q", "--counts", counts]);
        assert_eq!(output.status.code(), Some(2), "{counts}");
        assert!(complaint(&output).contains("counts"), "{}", complaint(&output));
    }
}
