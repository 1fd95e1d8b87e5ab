//! The program as a server of its own process, with what the system says of it.
#![allow(dead_code)] // each test file uses its part of this

#[path = "../../../serve/tests/support/mod.rs"]
pub mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use support::Client;

/// The program; it is killed when this is dropped.
pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill(); // SIGKILL; it may have ended
        let _ = self.0.wait();
    }
}

impl Program {
    /// Serves the library `folder`; returns once it listens.
    pub fn serve(folder: &Path, arguments: &[&str]) -> (Self, Client) {
        Self::serve_noting(folder, arguments, Stdio::inherit())
    }

    /// The same, with its notes to `notes`.
    pub fn serve_noting(folder: &Path, arguments: &[&str], notes: Stdio) -> (Self, Client) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_heartstream"))
            .args(["serve", "--listen", "127.0.0.1:0", "--library"])
            .arg(folder)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(notes)
            .spawn()
            .expect("the program");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut said).expect("a line");
        let address = said.split("http://").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        let client = Client { address: address.parse().expect("an address") };
        (Self(child), client)
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().expect("its state").is_none()
    }

    /// Sends it a signal.
    #[cfg(unix)]
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), signal).expect("it runs");
    }

    /// Waits for its end; its exit code, `None` where a signal ended it.
    pub fn exit_code(mut self) -> Option<i32> {
        self.0.wait().expect("its end").code()
    }

    /// Its resident memory, in bytes.
    #[cfg(target_os = "linux")]
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") << 10
    }

    /// The time that its threads have computed, in seconds.
    #[cfg(target_os = "linux")]
    pub fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("its times");
        // Behind the name, which may hold anything: utime and stime are the 12th and 13th (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: f64 = fields[11..13].iter().map(|ticks| ticks.parse::<f64>().expect("ticks")).sum();
        ticks / 100.0 // USER_HZ, which is 100 on every system that is promised
    }
}
