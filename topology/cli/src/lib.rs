//! The program: a file per command, and what they share.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C; `play` that was ended by q is done. A
//! reader of standard output that closes it before the song is over, such as `head`, has what it wanted: the song ends
//! there, and that is 0.

#[macro_use]
mod output_macros;

mod arg_groups;
mod args;
mod asked;
mod audio_noise;
mod bench;
mod card;
mod check;
mod conclusion;
mod convert;
mod destination;
mod devices;
mod distill;
mod failed;
mod inspect;
mod interrupts;
mod keys;
mod machines;
mod manual;
mod model_args;
mod output;
mod output_names;
mod path_like;
mod preflight;
mod prompt_input;
mod pull;
mod record;
mod render;
mod request_args;
mod serve;
mod song_args;
mod song_format;
mod song_plan;
mod song_recorder;
mod status;
mod status_line;
mod synth;
mod tags;
mod takes;
mod token_file;
mod usage;
mod values;
mod weights_bar;

use std::process::ExitCode;

use arg_groups::{MODEL_VARIABLE, ProgressForm};
use args::{Args, Command};
use clap::{CommandFactory, FromArgMatches};
pub(crate) use failed::Failed;
use heartstream::Stage;
use heartstream_models::{is_contained, kernels::cpu::KernelSet};
use tracing_subscriber::EnvFilter;

/// Whether these bytes are a plan, of whichever checkpoint. For fuzzing.
#[doc(hidden)]
pub fn reads_as_plan(bytes: &[u8]) -> bool {
    song_plan::parse(bytes, None).is_ok()
}

/// Runs the program with the arguments of the process.
pub fn run() -> ExitCode {
    #[cfg(feature = "cuda")]
    with_little_room_for_cublas();
    let args = parse();
    if progress_form(&args.command) == ProgressForm::Json {
        output_macros::as_json();
    }
    start_log(args.verbose, args.quiet);
    quiet_panics();
    match execute(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Said) => ExitCode::from(1),
        Err(Failed::Error(message)) => {
            output_macros::failure(&message);
            ExitCode::from(1)
        }
        Err(Failed::Usage(message)) => {
            output_macros::failure(&message);
            ExitCode::from(2)
        }
        Err(Failed::Cancelled) => ExitCode::from(130),
    }
}

/// Has cuBLAS take 8 MiB for each stage in the place of 64, unless the user chose: no slower with these products, and 0.2 GB
/// less of a GPU's memory (`docs/decisions/027-what-a-gpus-memory-holds.md`).
#[cfg(feature = "cuda")]
#[expect(unsafe_code, reason = "cuBLAS takes this from the environment alone")]
fn with_little_room_for_cublas() {
    if std::env::var_os(heartstream::memory::CUBLAS_ROOM).is_none() {
        // SAFETY: the program has no other thread yet that could read the environment.
        unsafe { std::env::set_var(heartstream::memory::CUBLAS_ROOM, ":4096:2") };
    }
}

/// The arguments of the process. A wrong option ends it here, with exit code 2. A variable that is set to nothing is as
/// one that is not set, as shells have it.
fn parse() -> Args {
    let mut command = Args::command();
    if std::env::var_os(MODEL_VARIABLE).is_some_and(|model| model.is_empty()) {
        command = without_variable(command);
    }
    let matches = command.try_get_matches().unwrap_or_else(|error| usage::refuse(error));
    Args::from_arg_matches(&matches).unwrap_or_else(|error| usage::refuse(error))
}

/// The command and all below it, with a model that no variable names.
fn without_variable(command: clap::Command) -> clap::Command {
    let has_model = command.get_arguments().any(|argument| argument.get_id() == "model");
    let command =
        if has_model { command.mut_arg("model", |model| model.env(clap::builder::Resettable::Reset)) } else { command };
    command.mut_subcommands(without_variable)
}

/// How a command's progress is shown.
fn progress_form(command: &Command) -> ProgressForm {
    match command {
        Command::Render(render) => render.output.progress,
        Command::Play(play) => play.render.output.progress,
        Command::Decode(decode) => decode.output.progress,
        _ => ProgressForm::Line,
    }
}

/// Does what the arguments ask for, once the environment asks for nothing that cannot be had.
fn execute(args: Args) -> Result<(), Failed> {
    KernelSet::check_variable()?;
    preflight::check()?;
    let verbosity = args.verbosity();
    match args.command {
        Command::Render(command) => render::render(&command, verbosity),
        Command::Play(command) => render::play(&command, verbosity),
        Command::Decode(command) => render::decode(&command, verbosity),
        Command::Tags(command) => tags::tags(&command),
        Command::Completions(command) => manual::completions(&command),
        Command::Man(command) => manual::man(&command),
        Command::Devices(command) => devices::devices(&command, args.verbose > 0),
        Command::Inspect(command) => inspect::inspect(&command),
        Command::Check(command) => check::check(&command),
        Command::Synth(command) => synth::synth(&command, args.quiet),
        Command::Convert(command) => convert::convert(&command, args.quiet),
        Command::Pull(command) => pull::pull(&command, args.quiet),
        Command::Distill(command) => distill::distill(&command, args.quiet),
        Command::Serve(command) => serve::serve(&command),
        Command::Worker(command) => machines::worker(&command),
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
    // the same, once and in plain words. Of libp2p's registry nothing is asked.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{level},kameo=off,libp2p_kad=off,rustls_platform_verifier=off")));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| output_macros::Log)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()) && !output_macros::is_json())
        .without_time()
        .init();
}

/// A panic in a stage becomes an error of its song; where it happened is for the log, not for the screen.
fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        match is_contained() || Stage::ALL.iter().any(|stage| Some(stage.name()) == thread.name()) {
            true => tracing::info!("{panic}"),
            false => usual(panic),
        }
    }));
}
