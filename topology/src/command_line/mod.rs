//! What does the program do with its arguments? A file per command, and what they share.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C. A reader of standard output that closes it before the
//! song is over, such as `head`, has what it wanted: the song ends there, and that is 0.

#[macro_use]
mod say;

mod arg_groups;
mod args;
mod bench;
mod check;
mod convert;
mod devices;
mod distill;
mod inspect;
mod keys;
mod order;
mod output;
mod pull;
mod record;
mod render;
mod song_plan;
mod status;
mod synth;
mod weights_bar;
mod words;

use std::process::ExitCode;

use clap::Parser;
use heartstream_messages::Stage;
use heartstream_models::kernels::cpu::KernelSet;
use tracing_subscriber::EnvFilter;

use args::{Args, Command};

/// Why a command ended without having done what it was asked for.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Something went wrong; exit code 1.
    Error(String),
    /// An option is out of range or the words cannot be sung; exit code 2.
    Usage(String),
    /// Ctrl-C; exit code 130.
    Cancelled,
    /// A command has said already what is wrong; exit code 1.
    Said,
}

/// Runs the program with the arguments of the process.
pub fn run() -> ExitCode {
    let args = Args::parse(); // a wrong option ends the process here, with exit code 2
    start_log(args.verbose, args.quiet);
    quiet_panics();
    match execute(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Said) => ExitCode::from(1),
        Err(Failed::Error(message)) => {
            note!("heartstream: {message}");
            ExitCode::from(1)
        }
        Err(Failed::Usage(message)) => {
            note!("heartstream: {message}");
            ExitCode::from(2)
        }
        Err(Failed::Cancelled) => ExitCode::from(130),
    }
}

/// Does what the arguments ask for, once the environment asks for nothing that cannot be had.
fn execute(args: Args) -> Result<(), Failed> {
    KernelSet::check_variable()?;
    match args.command {
        Command::Render(command) => render::render(&command, args.quiet),
        Command::Play(command) => render::play(&command, args.quiet),
        Command::Decode(command) => render::decode(&command, args.quiet),
        Command::Devices(command) => devices::devices(&command),
        Command::Inspect(command) => inspect::inspect(&command),
        Command::Check(command) => check::check(&command),
        Command::Synth(command) => synth::synth(&command, args.quiet),
        Command::Convert(command) => convert::convert(&command, args.quiet),
        Command::Pull(command) => pull::pull(&command, args.quiet),
        Command::Distill(command) => distill::distill(&command, args.quiet),
        Command::Bench(command) => bench::bench(&command, args.quiet),
    }
}

/// Warnings by default; more with `-v`, less with `--quiet`; `RUST_LOG` overrides both.
fn start_log(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    // kameo logs a failed actor, and the verifier a failed certificate, on its own; the error that ends the command says
    // the same, once and in plain words.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},kameo=off,rustls_platform_verifier=off")));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}

/// A panic in a stage becomes an error of its song; where it happened is for the log, not for the screen.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        match Stage::ALL.iter().any(|stage| Some(stage.name()) == thread.name()) {
            true => tracing::info!("{panic}"),
            false => usual(panic),
        }
    }));
}

impl From<crate::EngineError> for Failed {
    fn from(error: crate::EngineError) -> Self {
        use crate::EngineError::{Model, Option, Speaker};
        match error {
            Model(error) => error.into(),
            Speaker(error) => error.into(),
            Option { .. } => Self::Usage(error.to_string()),
            error => Self::Error(error.to_string()),
        }
    }
}

impl From<crate::SpeakerError> for Failed {
    fn from(error: crate::SpeakerError) -> Self {
        use crate::SpeakerError::{Ambiguous, NoRate, Unknown};
        match error {
            Unknown { .. } | Ambiguous { .. } | NoRate { .. } => Self::Usage(error.to_string()),
            error => Self::Error(error.to_string()),
        }
    }
}

impl From<heartstream_models::ModelError> for Failed {
    fn from(error: heartstream_models::ModelError) -> Self {
        use heartstream_models::ModelError::{Device, Option, Prompt};
        match error {
            Device { .. } | Option { .. } | Prompt { .. } => Self::Usage(error.to_string()),
            error => Self::Error(error.to_string()),
        }
    }
}
