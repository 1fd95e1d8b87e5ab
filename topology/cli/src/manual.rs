//! `completions` and `man`: what shells and `man` show of the command line, made from the command line itself.

use std::fs;

use clap::CommandFactory;

use super::{
    Failed,
    args::Args,
    model_args::{CompletionsArgs, ManArgs},
};

const PROGRAM: &str = "heartstream";

/// Prints a completion script.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failed> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), PROGRAM, &mut script);
    out!("{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// Writes a page for the program and one for each command and what is below it.
pub(super) fn man(args: &ManArgs) -> Result<(), Failed> {
    let written = fs::create_dir_all(&args.out).and_then(|()| clap_mangen::generate_to(Args::command(), &args.out));
    written.map_err(|error| {
        Failed::Error(format!(
            "cannot write manual pages into {}: {error}. {}",
            args.out.display(),
            heartstream_models::write_remedy(&error)
        ))
    })
}
