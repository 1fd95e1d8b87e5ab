//! The program `heartstream`. What it does is in [`heartstream::command_line`].

use std::process::ExitCode;

/// Tensors of a megabyte come and go a thousand times a second, on a dozen threads. The usual
/// allocator of Linux asks the system for each and keeps a heap for every thread; this one does neither.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    heartstream::command_line::run()
}
