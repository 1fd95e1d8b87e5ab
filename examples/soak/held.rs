//! Resources of a process: memory, threads and files.

use std::{fs, io};

/// Share by which the last measure may be above the first, and a wait above its forecast.
pub const TOLERANCE: f64 = 0.05;

/// What this process holds.
pub struct Held {
    /// Resident memory, bytes.
    memory: u64,
    threads: u64,
    files: u64,
}

impl Held {
    /// What it holds at this moment, as Linux says.
    pub fn now() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let files = fs::read_dir("/proc/self/fd")?.count() as u64;
        Ok(Self { memory: field("VmRSS:") << 10, threads: field("Threads:"), files })
    }

    pub fn within(&self, first: &Self) -> bool {
        let pairs = [(self.memory, first.memory), (self.threads, first.threads), (self.files, first.files)];
        pairs.iter().all(|(last, first)| *last as f64 <= *first as f64 * (1.0 + TOLERANCE))
    }
}

/// A line of the table.
pub fn print(name: &str, songs: u64, Held { memory, threads, files }: &Held) {
    println!("{name:<22} {songs:>6} {:>6.1} MB {threads:>8} {files:>6}", *memory as f64 / 1e6);
}
