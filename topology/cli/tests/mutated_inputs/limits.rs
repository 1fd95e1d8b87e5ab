//! Limits of an input: time, and memory of this process and of the programs that it runs.

use std::{fs, process, sync::mpsc, thread, time::Duration};

/// An input is answered within so long, the model loaded and the program run included.
pub const MOST_TIME: Duration = Duration::from_secs(10);
/// An input that takes longer hangs: it is stopped by the end of the test, which names it.
const HANGS: Duration = Duration::from_secs(90);
/// Memory beyond what the good model takes, bytes.
const MOST_MEMORY: u64 = 300 << 20;

/// A thread that ends the test when an input hangs: nothing else could end it.
pub struct Watch(mpsc::Sender<u64>);

impl Watch {
    pub fn new() -> Self {
        let (begun, watched) = mpsc::channel::<u64>();
        thread::spawn(move || {
            let mut last = watched.recv();
            while let Ok(number) = last {
                last = match watched.recv_timeout(HANGS) {
                    Ok(next) => Ok(next),
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        eprintln!("input {number} hangs (HEARTSTREAM_MUTATION={number} tries it alone)");
                        process::exit(1)
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                };
            }
        });
        Self(begun)
    }

    /// Input `number` begins.
    pub fn begin(&self, number: u64) {
        self.0.send(number).expect("it is watched");
    }
}

/// The most memory that was resident at once, bytes; 0 where the system does not say it.
pub struct Peak {
    here: u64,
    /// In one of the programs that have ended. A build among them hides growth up to what it took.
    programs: u64,
}

impl Peak {
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let here = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10;
        Self { here, programs: programs() }
    }

    /// Fails where more than the limit has come on top of this.
    pub fn assert_kept(&self) {
        let now = Self::now();
        let grown = [("this process", now.here - self.here), ("the program", now.programs - self.programs)];
        println!(
            "memory beyond the good model's: {}",
            grown.map(|(who, by)| format!("{who} {} MB", by >> 20)).join(", ")
        );
        for (who, by) in grown {
            assert!(by < MOST_MEMORY, "{who} took {} MB more than with the good model", by >> 20);
        }
    }
}

#[cfg(target_os = "linux")]
fn programs() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(0, |usage| usage.max_rss().unsigned_abs() << 10)
}

#[cfg(not(target_os = "linux"))]
fn programs() -> u64 {
    0
}
