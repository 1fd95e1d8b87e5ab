//! Promise: the program does what its commands say, and tells how it went by its exit code.

#[path = "../../../tests/support/mod.rs"]
mod support;

use heartstream_models::kernels::cpu::KernelSet;
use support::{complaint, folder, program, run, samples, text};

#[test]
fn render_writes_a_song_that_is_heard_and_not_clipped() {
    let folder = folder();
    for seed in ["1", "2", "3"] {
        let path = folder.path().join(format!("{seed}.wav"));
        let output = run(&["render", "-o", text(&path), "--seed", seed, "--max-seconds", "2"]);
        assert!(output.status.success(), "{}", complaint(&output));
        let song = samples(&path);
        assert_eq!(song.len(), 2 * 2 * 48_000);
        let peak = song.iter().fold(0f32, |peak, x| peak.max(x.abs()));
        let power = song.iter().map(|x| x * x).sum::<f32>() / song.len() as f32;
        assert!(peak < 1.0, "seed {seed}: peak {peak}");
        assert!(power.sqrt() > 0.03, "seed {seed}: RMS {}", power.sqrt());
    }
}

#[test]
fn kernels_that_cannot_be_had_are_a_usage_error_before_anything_is_opened() {
    let missing = KernelSet::ALL.into_iter().filter(|set| !set.runs_here()).map(|set| set.to_string());
    for kernels in missing.chain(["sse".into(), "AVX2".into(), "0".into()]) {
        for arguments in [&["check", "/nowhere"][..], &["render", "--model", "/nowhere"], &["devices"]] {
            let output = program().args(arguments).env("HEARTSTREAM_KERNELS", &kernels).output().expect("it runs");
            let complaint = complaint(&output);
            assert_eq!(output.status.code(), Some(2), "{kernels}, {arguments:?}: {complaint}");
            assert!(complaint.contains("HEARTSTREAM_KERNELS") && complaint.contains("portable"), "{complaint}");
            assert!(output.stdout.is_empty(), "{kernels}, {arguments:?}");
        }
    }
}
