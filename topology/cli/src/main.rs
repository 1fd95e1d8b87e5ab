//! The program `heartstream`. What it does is in [`heartstream_cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    heartstream_cli::run()
}
