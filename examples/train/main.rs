//! Trains the small model inside the program: shows how the code that generates is the code that learns.
//!
//! ```sh
//! cargo run --release --features train --example train -- autoencoder --soundfont FluidR3_GM.sf2 --minutes 9
//! ```
//!
//! The stages build on each other: `autoencoder`, `codec`, `language`; then `export` writes the published layout and
//! `evaluate` measures. With `--features cuda` and `--device cuda:0` they run on a GPU. A stage that was ended goes on
//! where it was when it is called again.

mod autoencoder;
mod chance;
mod codec;
mod corpus;
mod curves;
mod encoder;
mod error;
mod export;
mod feed;
mod language;
mod parameters;
mod semantic;
mod sizes;
mod spectral;
mod stage;

use std::path::PathBuf;

use candle_core::Device;
use clap::{Args, Parser, Subcommand};

use crate::{
    error::{Result, TrainError},
    feed::Source,
    sizes::Size,
    stage::Setting,
};

#[derive(Debug, Parser)]
#[command(about = "Trains the small model inside heartstream")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stage (a): encoder and vocoder
    Autoencoder(Options),
    /// Stage (b): semantic encoder, quantiser and flow matching
    Codec(Options),
    /// Stage (c): backbone and depth decoder
    Language(Options),
    /// Writes the published layout
    Export {
        #[command(flatten)]
        options: Options,
        /// The folder of the checkpoint
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Where weights, states and records are kept
    #[arg(long, default_value = "target/train")]
    run: PathBuf,
    /// Size of the model
    #[arg(long, default_value = "demo")]
    size: Size,
    /// Where to compute: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The SoundFont that songs are played with; without one they are sines
    #[arg(long)]
    soundfont: Option<PathBuf>,
    /// All chance follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that render
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Minutes of the whole stage
    #[arg(long, default_value_t = 9.0)]
    minutes: f64,
    /// Minutes of this call, if it shall end earlier
    #[arg(long, default_value_t = f64::INFINITY)]
    call_minutes: f64,
    /// Steps of the whole stage, instead of minutes
    #[arg(long)]
    steps: Option<usize>,
    /// Examples of a batch
    #[arg(long)]
    batch: Option<usize>,
    /// Largest learning rate
    #[arg(long)]
    rate: Option<f64>,
    /// Songs held in memory
    #[arg(long, default_value_t = 2000)]
    pool: usize,
}

fn device(name: &str) -> Result<Device> {
    let Some(number) = name.strip_prefix("cuda:").and_then(|number| number.parse().ok()) else {
        if name == "cpu" {
            return Ok(Device::Cpu);
        }
        return Err(TrainError::Order(format!("--device: expected cpu or cuda:N, found {name}")));
    };
    // Half the digits of a product are enough to learn by.
    #[cfg(feature = "cuda")]
    candle_core::cuda::set_gemm_reduced_precision_f32(true);
    Ok(Device::new_cuda(number)?)
}

impl Options {
    fn setting(&self) -> Result<Setting> {
        let device = device(&self.device)?;
        if device.is_cuda() {
            device.set_seed(self.seed)?;
        }
        Ok(Setting {
            size: self.size,
            run: self.run.clone(),
            source: Source::open(self.soundfont.as_ref())?,
            device,
            seed: self.seed,
            threads: self.threads,
            minutes: self.minutes,
            call_minutes: self.call_minutes,
            steps: self.steps,
            batch: self.batch,
            rate: self.rate,
            pool: self.pool,
        })
    }
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Autoencoder(options) => {
            let setting = options.setting()?;
            stage::run(&setting, &mut autoencoder::Autoencoder::new(&setting)?)
        }
        Command::Codec(options) => {
            let setting = options.setting()?;
            stage::run(&setting, &mut codec::Codec::new(&setting)?)
        }
        Command::Language(options) => {
            let setting = options.setting()?;
            stage::run(&setting, &mut language::Language::new(&setting)?)
        }
        Command::Export { options, out } => export::export(&options.setting()?, out),
    }
}

fn main() -> std::process::ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
