//! Promise: a song whose program is killed plays up to its last second, and what plays is the beginning of the song.
#![cfg(unix)]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use heartstream::units::{CHANNELS, SAMPLE_RATE};
use heartstream_models::signal::philox4x32_10;
use support::{complaint, folder, program, run, samples, sox, text};

/// One flow step, because this test is about the file and not about the sound.
const SONG: [&str; 7] = ["--quiet", "--seed", "7", "--max-seconds", "30", "--flow-steps", "1"];
/// Bytes of a second: two channels of floats.
const SECOND: u64 = SAMPLE_RATE as u64 * CHANNELS as u64 * 4;
/// The longest header of a file.
const HEADER: u64 = 120;
const KILLS: u32 = 4;
/// A song that is not there by now will not come.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn a_song_that_is_killed_at_any_moment_plays_to_its_last_second() {
    let folder = folder();
    let whole = folder.path().join("whole.wav");
    let output = run(&[&["render", "-o", text(&whole)][..], &SONG].concat());
    assert!(output.status.success(), "{}", complaint(&output));
    let whole = samples(&whole);
    assert_eq!(whole.len() as u64 * 4, 30 * SECOND);

    let seed = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos();
    for kill in 0..KILLS {
        let path = folder.path().join(format!("{kill}.wav"));
        // Somewhere in the first 20 s, so that the song is not over before the kill arrives.
        let [word, ..] = philox4x32_10([kill, 0, 0, 0], [seed, 0]);
        let at = SECOND + u64::from(word) % (19 * SECOND);
        let place = format!("killed at byte {at} (seed {seed}, kill {kill})");
        render_and_kill(&path, at);

        let bytes = fs::metadata(&path).expect("the file").len();
        assert!(bytes >= at, "{place}: the file had this many bytes before it was killed");
        let heard = samples(&path);
        assert!(heard.len() <= whole.len(), "{place}");
        let same = heard.iter().zip(&whole).all(|(heard, whole)| heard.to_bits() == whole.to_bits());
        assert!(same, "{place}: what plays is not the beginning of the song");
        let played = heard.len() as u64 * 4;
        assert!(played + HEADER + SECOND > bytes, "{place}: {played} of {bytes} bytes play");
        assert_eq!(sox::samples_played(&path), heard.len() as u64, "{place}");
    }
}

/// Kills the program as soon as its file has `bytes` bytes.
fn render_and_kill(path: &Path, bytes: u64) {
    let mut command = program();
    let mut child = command
        .args(["render", "-o", text(path)])
        .args(SONG)
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let since = Instant::now();
    while fs::metadata(path).map_or(0, |file| file.len()) < bytes {
        assert!(since.elapsed() < PATIENCE, "no song after {PATIENCE:?}");
        assert_eq!(child.try_wait().expect("the program"), None, "the program ended before it was killed");
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("a program that runs");
    let status = child.wait().expect("the program");
    assert_eq!(status.signal(), Some(9), "the program was to be killed: {status}");
}
