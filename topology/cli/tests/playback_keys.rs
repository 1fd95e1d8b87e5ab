//! Promise: a song can be paused and stopped by keys where standard input is a terminal, and the terminal is afterwards
//! what it was; a pause changes nothing of the song; and without a loudspeaker the song is written.
#![cfg(unix)]

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use nix::{
    pty::openpty,
    sys::termios::{LocalFlags, tcgetattr},
};
use support::{complaint, folder, program, run, samples, text};

const SONG: [&str; 4] = ["--seed", "11", "--max-seconds", "6"];

/// A machine without sound.
fn silent() -> Command {
    let mut play = program();
    play.env("ALSA_CONFIG_PATH", "/dev/null");
    play
}

/// A program at a terminal, whose keys the test presses.
struct AtTerminal {
    keys: File,
    terminal: OwnedFd,
    said: Receiver<String>,
    child: Child,
}

impl AtTerminal {
    fn start(command: &mut Command) -> Self {
        let pty = openpty(None, None).expect("a terminal");
        let stdin = pty.slave.try_clone().expect("another end");
        let mut child = command.stdin(Stdio::from(stdin)).stderr(Stdio::piped()).spawn().expect("the program runs");
        let stderr = child.stderr.take().expect("a pipe");
        let (say, said) = channel();
        thread::spawn(move || BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { keys: File::from(pty.master), terminal: pty.slave, said, child }
    }

    fn press(&mut self, key: &[u8]) {
        self.keys.write_all(key).expect("the terminal takes keys");
    }

    fn wait_for(&self, part: &str) {
        loop {
            let line = self.said.recv_timeout(Duration::from_secs(60));
            if line.unwrap_or_else(|_| panic!("nothing about \"{part}\"")).contains(part) {
                return;
            }
        }
    }

    fn shows_keys(&self) -> bool {
        tcgetattr(&self.terminal).expect("a terminal").local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON)
    }
}

#[test]
fn without_a_loudspeaker_play_writes_the_file_that_render_writes() {
    let folder = folder();
    let (played, rendered) = (folder.path().join("played.wav"), folder.path().join("rendered.wav"));
    let output = silent().args(["play", "-o", text(&played)]).args(SONG).output().expect("the program runs");
    assert!(output.status.success(), "{}", complaint(&output));
    let said = complaint(&output);
    assert!(said.contains("no audio output device was found") && said.contains(text(&played)), "{said}");
    assert!(run(&[&["render", "-o", text(&rendered)], &SONG[..]].concat()).status.success());
    assert!(samples(&played) == samples(&rendered));
    // Without -o it is song.wav where one is.
    let output = silent().args(["play", "--max-seconds", "0.08"]).current_dir(folder.path()).output();
    let output = output.expect("the program runs");
    assert!(output.status.success() && folder.path().join("song.wav").exists(), "{}", complaint(&output));
}

#[test]
fn without_a_loudspeaker_devices_says_so_and_a_named_device_is_a_mistake() {
    let output = silent().arg("devices").output().expect("the program runs");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "no audio output device was found\n");
    let output = silent().args(["devices", "--json"]).output().expect("the program runs");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "[]\n");
    let output = silent().args(["play", "--speaker", "toaster"]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
}

#[test]
fn space_pauses_and_resumes_and_the_song_is_the_one_that_was_not_paused() {
    let folder = folder();
    let (paused, whole) = (folder.path().join("paused.wav"), folder.path().join("whole.wav"));
    let mut at = AtTerminal::start(silent().args(["play", "-o", text(&paused)]).args(SONG));
    at.wait_for("space pauses");
    assert!(!at.shows_keys(), "keys are taken one by one");
    at.press(b" ");
    at.wait_for("paused");
    at.press(b"x ");
    at.wait_for("resumed");
    assert!(at.child.wait().expect("it ends").success());
    assert!(at.shows_keys(), "the terminal is what it was");
    assert!(run(&[&["render", "-o", text(&whole)], &SONG[..]].concat()).status.success());
    assert!(samples(&paused) == samples(&whole));
}

#[test]
fn q_stops_a_paused_song_as_players_do_and_leaves_the_terminal_as_it_was() {
    let folder = folder();
    let path = folder.path().join("song.wav");
    let mut at = AtTerminal::start(silent().args(["play", "-o", text(&path), "--max-seconds", "60"]));
    at.wait_for("space pauses");
    at.press(b" ");
    at.wait_for("paused");
    at.press(b"q");
    assert_eq!(at.child.wait().expect("it ends").code(), Some(0), "it was listened to for as long as it was wanted");
    assert!(at.shows_keys(), "the terminal is what it was");
}

#[test]
fn q_ends_a_render_early_and_that_is_said_by_its_exit_code() {
    let folder = folder();
    let path = folder.path().join("song.wav");
    let mut at = AtTerminal::start(program().args(["render", "-o", text(&path), "--max-seconds", "60"]));
    at.wait_for("space pauses");
    at.press(b" ");
    at.wait_for("paused");
    at.press(b"q");
    assert_eq!(at.child.wait().expect("it ends").code(), Some(130));
}
