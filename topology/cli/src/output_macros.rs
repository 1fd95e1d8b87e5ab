//! Lines on standard output and standard error. A line of standard output that cannot be written ends the program, without
//! panicking; a line of standard error that cannot be written is let go, and the song goes on.
//!
//! With `--progress json` every line of standard error is a JSON object (docs/progress.md).
//! Control characters of foreign text are shown escaped.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, Write, stderr, stdout},
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use heartstream_models::foreign_text::{bounded, printable};
use serde_json::{Value, json};

/// Held while a line of this program is written to standard error, and by what must not lose one.
pub(super) static OWN_LINES: Mutex<()> = Mutex::new(());
/// Whether lines of standard error are JSON.
static AS_JSON: AtomicBool = AtomicBool::new(false);

/// Writes a line to standard output.
macro_rules! out {
    ($($line:tt)*) => { $crate::output_macros::to_output(format_args!($($line)*)) };
}

/// Writes a line to standard error.
macro_rules! note {
    ($($line:tt)*) => { $crate::output_macros::to_error(format_args!($($line)*)) };
}

/// From now on, lines of standard error are JSON objects.
pub(super) fn as_json() {
    AS_JSON.store(true, Ordering::Relaxed);
}

/// Whether lines of standard error are JSON objects.
pub(super) fn is_json() -> bool {
    AS_JSON.load(Ordering::Relaxed)
}

/// Writes a line, or ends the program: with 0 when the reader has left, as `head` does, because it has what it wanted.
pub(super) fn to_output(line: Arguments<'_>) {
    match writeln!(stdout(), "{}", printable(&line.to_string())) {
        Ok(()) => (),
        Err(error) => output_refused(&error),
    }
}

/// Ends the program because standard output could not be written to.
pub(super) fn output_refused(error: &io::Error) -> ! {
    if error.kind() == ErrorKind::BrokenPipe {
        process::exit(0);
    }
    to_error(format_args!(
        "heartstream: standard output cannot be written to: {error}. {}",
        heartstream_models::write_remedy(error)
    ));
    process::exit(1)
}

/// Writes a line for people if that is possible; for programs, the event `note`.
pub(super) fn to_error(line: Arguments<'_>) {
    match is_json() {
        true => event("note", json!({ "text": line.to_string() })),
        false => write_line(&line.to_string()),
    }
}

/// Writes why the program ends.
pub(super) fn failure(message: &str) {
    match is_json() {
        true => event("error", json!({ "message": bounded(message) })),
        false => write_line(&format!("heartstream: {}", bounded(message))),
    }
}

/// Writes an event for programs: `facts` with its name before them.
pub(super) fn event(name: &str, facts: Value) {
    let mut event = json!({ "event": name });
    if let (Some(event), Value::Object(facts)) = (event.as_object_mut(), facts) {
        event.extend(facts);
    }
    write_line(&event.to_string());
}

fn write_line(line: &str) {
    let _own = OWN_LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(stderr(), "{}", printable(line));
}

/// Where the log goes: standard error, in the form of its other lines.
pub(super) struct Log;

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // It comes a whole line at a time, and may come while this thread holds the lock.
        if is_json() {
            let text = String::from_utf8_lossy(line);
            let _ = writeln!(stderr(), "{}", json!({ "event": "log", "text": text.trim_end() }));
        } else {
            let _ = stderr().write_all(line); // its library escapes what is foreign
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
