//! Options of the trainer's commands.

use std::path::PathBuf;

use candle_core::Device;
use clap::Args;

use crate::{
    corpus,
    error::{Result, TrainError},
    feed::Source,
    part::Part,
    setting::Setting,
    sizes::Size,
    stage,
};

/// Options of the stages that a finished checkpoint can have a part in.
#[derive(Debug, Args)]
pub struct EncoderArgs {
    #[command(flatten)]
    options: Options,
    /// The folder of a finished checkpoint: learn what writes its latents (autoencoder) or its codes (codes), small,
    /// and leave the checkpoint as it is; export a language model that learnt its codes with its codec
    #[arg(long)]
    beside: Option<PathBuf>,
}

impl EncoderArgs {
    /// The setting that they say.
    pub fn setting(&self) -> Result<Setting> {
        Ok(Setting { beside: self.beside.clone(), ..self.options.setting()? })
    }
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Options {
    /// Where weights, states and records are kept
    #[arg(long, default_value = "target/train")]
    run: PathBuf,
    /// Size of the model
    #[arg(long, default_value = "demo")]
    size: Size,
    /// Where to compute: cpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// The SoundFont that songs are played with [default: that of Debian's package fluid-soundfont-gm; with --size
    /// tiny, songs are sines]
    #[arg(long)]
    soundfont: Option<PathBuf>,
    /// The notes of the songs, where they are not where the trainer was built
    #[arg(long)]
    scores: Option<PathBuf>,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that render, and that learn from a part of a batch each where the language model is learnt on a
    /// processor
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Which part of the stage this is, of how many: it begins with the weights that the part before left
    #[arg(long, default_value_t = Part::WHOLE)]
    part: Part,
    /// Minutes of this part of the stage
    #[arg(long, default_value_t = 9.0)]
    minutes: f64,
    /// Minutes of this call, if it shall end earlier
    #[arg(long, default_value_t = f64::INFINITY)]
    call_minutes: f64,
    /// Steps of this part of the stage, instead of minutes
    #[arg(long)]
    steps: Option<usize>,
    /// Examples of a batch
    #[arg(long)]
    batch: Option<usize>,
    /// Largest learning rate
    #[arg(long)]
    rate: Option<f64>,
    /// Held-out songs to measure
    #[arg(long)]
    measured: Option<usize>,
    /// Songs held in memory
    #[arg(long, default_value_t = 2000)]
    pool: usize,
    /// Language: share of a batch that are sequences of copied codes, from which copying is learnt first
    #[arg(long, default_value_t = 0.25)]
    copies: f64,
    /// Language: share of the frames that are played again that are read as the model itself drew them, which rises
    /// over the first 400 steps of a part; half as many of a song's other frames
    #[arg(long, default_value_t = 0.0)]
    drawn: f64,
    /// Language: passes that draw before each one that is learnt from. The second one reads what the first one drew, and
    /// so on, which is nearer to a song of the model's own
    #[arg(long, default_value_t = 1)]
    draw_passes: usize,
    /// Language: songs of at most eight lines, whose parts come again at once
    #[arg(long)]
    short: bool,
    /// Autoencoder: begin with the weights that it ended with, and let the encoder be as it is, so that what was built
    /// on its latents stays right; the measure of quality counts more then
    #[arg(long)]
    vocoder_alone: bool,
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
    /// The setting that they say.
    pub fn setting(&self) -> Result<Setting> {
        if self.batch == Some(0) || self.measured == Some(0) {
            let found = format!("--batch {:?} --measured {:?}", self.batch, self.measured);
            return Err(TrainError::Order(format!("expected one or more of each that is given, found {found}")));
        }
        let device = device(&self.device)?;
        if device.is_cuda() {
            device.set_seed(self.seed)?;
        }
        // Sines would be measured like songs, and what was learnt of them with what was not.
        let usual = || (self.size == Size::Demo).then(|| corpus::soundfont::DEBIAN.into());
        let soundfont = self.soundfont.clone().or_else(usual);
        Ok(Setting {
            size: self.size,
            run: self.run.clone(),
            source: Source::open(self.scores.as_ref(), soundfont.as_ref())?,
            device,
            seed: self.seed,
            threads: self.threads,
            part: self.part,
            minutes: self.minutes,
            call_minutes: self.call_minutes,
            steps: self.steps,
            batch: self.batch,
            rate: self.rate,
            measured: self.measured,
            pool: self.pool,
            copies: self.copies.clamp(0.0, 1.0),
            drawn: self.drawn.clamp(0.0, 1.0),
            draw_passes: self.draw_passes,
            short: self.short,
            kept_every: stage::KEPT_EVERY,
            vocoder_alone: self.vocoder_alone,
            beside: None,
        })
    }
}
