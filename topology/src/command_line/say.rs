//! What happens when nobody can be told anything any more? A line of standard output that cannot be written ends the
//! program, without panicking; a line of standard error that cannot be written is let go, and the song goes on.

use std::{
    fmt::Arguments,
    io::{ErrorKind, Write, stderr, stdout},
    process,
};

/// Writes a line to standard output.
macro_rules! out {
    ($($line:tt)*) => { $crate::command_line::say::to_output(format_args!($($line)*)) };
}

/// Writes a line to standard error.
macro_rules! note {
    ($($line:tt)*) => { $crate::command_line::say::to_error(format_args!($($line)*)) };
}

/// Writes a line, or ends the program: with 0 when the reader has left, as `head` does, because it has what it wanted.
pub(super) fn to_output(line: Arguments<'_>) {
    match writeln!(stdout(), "{line}") {
        Ok(()) => (),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => {
            to_error(format_args!("heartstream: standard output cannot be written to: {error}"));
            process::exit(1)
        }
    }
}

/// Writes a line if that is possible.
pub(super) fn to_error(line: Arguments<'_>) {
    let _ = writeln!(stderr(), "{line}");
}
