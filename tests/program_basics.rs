//! Promise: the program does what its commands say, and tells how it went by its exit code.

mod support;

use support::{complaint, folder, run, samples, text};

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
