//! Promise: a disk that fills up in the middle of a song ends it with a sentence, and what was written plays.
#![cfg(unix)]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use support::{complaint, folder, limits::limited, program, run, samples, sox, text};

const SONG: [&str; 7] = ["--quiet", "--seed", "4", "--max-seconds", "20", "--flow-steps", "1"];

/// Files larger than 2048 blocks (of 512 or 1024 bytes, as the shell likes) cannot be written. The signal that comes
/// with that is ignored, as it is when a disk is full, for which there is no signal.
const SMALL_FILES: &str = r#"trap '' XFSZ; ulimit -f 2048; song=$1; shift; exec "$@""#;
/// A file system of 2 MiB in a namespace that goes away with the shell, so the song is carried out of it.
const SMALL_DISK: &str = r#"
    mount -t tmpfs -o size=2m none "$(dirname "$1")" || exit 99
    song=$1; shift; "$@"; code=$?
    cp "$song" "$(dirname "$song").wav"; exit $code"#;

/// Renders into `song` inside the shell script `limits`.
fn render(shell: &mut Command, limits: &str, song: &Path) -> Output {
    let output = shell
        .args(["-c", limits, "sh", text(song)])
        .arg(program().get_program())
        .envs(program().get_envs().filter_map(|(name, value)| Some((name, value?))))
        .args(["render", "-o", text(song)])
        .args(SONG)
        .output();
    output.expect("a shell")
}

/// The error names the file, and the file is a beginning of the song.
fn says_so_and_plays(output: &Output, named: &Path, written: &Path, whole: &[f32]) {
    let said = complaint(output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(text(named)), "the path is not in: {said}");
    assert!(said.contains("What was written plays"), "{said}");
    assert_eq!(said.lines().count(), 1, "one sentence is enough: {said}");

    let heard = samples(written);
    assert_eq!(sox::samples_played(written), heard.len() as u64);
    assert!(heard[..] == whole[..heard.len()], "what was written is not the beginning of the song");
    let file = fs::read(written).expect("the file");
    let head = file.windows(4).position(|window| window == b"data").expect("samples") + 8;
    let (bytes, claimed) = (file.len(), head + 4 * heard.len());
    assert!(heard.len() < whole.len(), "the disk was to be too small");
    assert!(bytes < claimed + 8, "all whole sample frames that fit play: {claimed} of {bytes} bytes");
}

#[test]
fn a_full_disk_is_an_error_and_leaves_a_beginning_of_the_song() {
    let folder = folder();
    let path = folder.path().join("whole.wav");
    assert!(run(&[&["render", "-o", text(&path)][..], &SONG].concat()).status.success());
    let whole = samples(&path);

    let song = folder.path().join("small.wav");
    let output = render(&mut Command::new("sh"), SMALL_FILES, &song);
    says_so_and_plays(&output, &song, &song, &whole);

    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("a folder");
    let song = disk.join("song.wav");
    let output = render(Command::new("unshare").args(["--map-root-user", "--mount", "sh"]), SMALL_DISK, &song);
    if output.status.code() == Some(99) || complaint(&output).starts_with("unshare:") {
        // Limited files, above, have shown the same on a machine where nothing may be mounted.
        eprintln!("a small disk cannot be mounted here: {}", complaint(&output));
    } else {
        says_so_and_plays(&output, &song, &folder.path().join("disk.wav"), &whole);
    }
}

#[test]
fn a_disk_that_is_full_for_the_codes_costs_the_copy_and_not_the_song() {
    let folder = folder();
    let whole = run(&[&["render", "-o", "-"][..], &SONG].concat());
    assert!(whole.status.success(), "{}", complaint(&whole));
    let codes = folder.path().join("song.codes");
    let mut shell = limited("-f 0");
    shell.arg(program().get_program()).envs(program().get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.args(["render", "-o", "-", "--save-codes", text(&codes)]).args(&SONG[1..]).output();
    let output = output.expect("a shell");
    let said = complaint(&output);
    assert!(output.status.success(), "{said}");
    assert!(output.stdout == whole.stdout, "the song is another one without its copy");
    for word in ["goes on without its codes being kept", text(&codes), "ulimit -f"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
}

#[test]
fn a_stream_that_can_be_written_no_further_is_an_error() {
    for (path, named) in [("-", "standard output"), ("/dev/full", "/dev/full")] {
        let mut command = program();
        command.args(["render", "-o", path, "--max-seconds", "2"]).args(["--quiet", "--flow-steps", "1"]);
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is always full");
        let output = command.stdout(full).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(1));
        let said = complaint(&output);
        assert!(said.contains(&format!("writing {named}")) || said.contains(&format!("to {named}")), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert!(Path::new("/dev/full").exists(), "a device is not a file to be cleaned up");
}
