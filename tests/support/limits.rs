//! Commands under limits of the shell.

use std::{os::unix::process::CommandExt, process::Command};

/// A user of Linux systems that has no processes, so that a limit of processes counts those of the command alone.
const UNPRIVILEGED_UID: u32 = 65_534;

/// Runs the program and the arguments that are added to it under `limit`, as `ulimit` has it.
pub fn limited(limit: &str) -> Command {
    under(Command::new("sh"), limit)
}

/// As [`limited`], as a user that has no processes. `None` where the tests are not root's: the limit then counts all
/// processes of their user, and which those are is not known.
pub fn limited_as_nobody(limit: &str) -> Option<Command> {
    let id = Command::new("id").arg("-u").output().ok()?;
    let mut shell = Command::new("bash");
    shell.uid(UNPRIVILEGED_UID);
    (id.stdout == b"0\n").then(|| under(shell, limit))
}

fn under(mut shell: Command, limit: &str) -> Command {
    shell.args(["-c", &format!("ulimit {limit}; exec \"$@\""), "sh"]);
    shell
}
