//! Workers as processes of their own.
#![allow(dead_code)] // each test file uses its part of this

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_heartstream");

/// A file with a secret.
pub fn token(folder: &Path, letter: char) -> PathBuf {
    let path = folder.join(format!("token-{letter}"));
    std::fs::write(&path, String::from(letter).repeat(40)).expect("a file");
    path
}

/// A worker; it is killed when this is dropped.
pub struct Worker {
    child: Child,
    /// Where it listens.
    pub address: String,
}

impl Worker {
    /// Starts one with `arguments` of its own; returns once it listens at `address`.
    pub fn start(token: &Path, address: &str, arguments: &[&str], kernels: Option<&str>) -> Self {
        Self::start_by(Command::new(PROGRAM), token, address, arguments, kernels)
    }

    /// The same by `command`, which runs the program.
    pub fn start_by(command: Command, token: &Path, address: &str, arguments: &[&str], kernels: Option<&str>) -> Self {
        Self::run(command, ["--listen", address], token, arguments, kernels)
    }

    /// Starts one that joins the machine at `address`, which it has as its own.
    pub fn join(token: &Path, address: &str, arguments: &[&str]) -> Self {
        Self::run(Command::new(PROGRAM), ["--join", address], token, arguments, None)
    }

    fn run(mut command: Command, place: [&str; 2], token: &Path, arguments: &[&str], kernels: Option<&str>) -> Self {
        let mut child = command
            .arg("worker")
            .args(place)
            .arg("--token-file")
            .arg(token)
            .args(arguments)
            .envs(kernels.map(|kernels| ("HEARTSTREAM_KERNELS", kernels)))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut said).expect("a line");
        let own = said.split(" on ").nth(1).and_then(|rest| rest.split(' ').next());
        Self { child, address: own.unwrap_or(place[1]).to_owned() }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Has it do nothing until it goes on, as if the network were cut.
    pub fn pause(&self) {
        self.send(Signal::SIGSTOP);
    }

    /// Goes on.
    pub fn go_on(&self) {
        self.send(Signal::SIGCONT);
    }

    /// Kills it.
    pub fn kill(&self) {
        self.send(Signal::SIGKILL);
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("a signal");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill(); // SIGKILL; it may have ended
        let _ = self.child.wait();
    }
}
