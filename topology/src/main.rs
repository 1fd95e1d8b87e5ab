//! The program `heartstream`. What it does is in [`heartstream::command_line`].

use std::process::ExitCode;

fn main() -> ExitCode {
    heartstream::command_line::run()
}
