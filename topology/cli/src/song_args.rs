//! Options of the commands that make sound: `render`, `play`, `decode`.

use std::path::PathBuf;

use clap::ValueEnum;
use heartstream::{
    memory::MemoryLimits,
    speaker::{OnDeviceLoss, StartPolicy},
};
use heartstream_models::speculation::Speculation;

use super::{
    arg_groups::{
        CodecWeightsArgs, LmWeightsArgs, ModelArgs, OutputArgs, PlacementArgs, SoundArgs, WordsArgs, heading,
    },
    machines::WorkersArgs,
    values::{count, number, rate, time, whole},
};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub words: WordsArgs,
    /// The same words with the same seed are the same song [default: another one each time]
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX), allow_hyphen_values = true,
        help_heading = heading::WORDS)]
    pub seed: Option<u64>,
    /// Make so many songs of the same words, with the seeds N, N+1, …; -o then needs an n in braces in its name, where the
    /// number of the take goes [default for -o: take-1.wav, take-2.wav, …]; `play` plays the first, and writes the others
    #[arg(long, value_name = "COUNT", value_parser = whole(1..=1000_u64), allow_hyphen_values = true,
        conflicts_with = "resume", help_heading = heading::WORDS)]
    pub takes: Option<u64>,
    /// Longest song, such as 240, 4m or 1m30s; the model may end it before [default: 240, or what a song that is
    /// resumed was asked for with]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true,
        help_heading = heading::WORDS)]
    pub max_seconds: Option<f64>,
    /// How far the words lead the song: 1 not at all [default: the model's own, or 1.5]
    #[arg(long, value_name = "C", value_parser = number::<f64>, allow_hyphen_values = true,
        help_heading = heading::WORDS)]
    pub cfg_scale: Option<f64>,
    /// How adventurous: 0 takes the likeliest code always [default: the model's own, or 1]
    #[arg(long, value_name = "T", value_parser = number::<f32>, allow_hyphen_values = true,
        help_heading = heading::SOUND)]
    pub temperature: Option<f32>,
    /// Draw only from the K likeliest codes [default: the model's own, or 50]
    #[arg(long, value_name = "K", value_parser = count, allow_hyphen_values = true, help_heading = heading::SOUND)]
    pub top_k: Option<usize>,
    #[command(flatten)]
    pub sound: SoundArgs,
    /// How frames are found, which no song depends on: auto (as it pays), off, or drafters with commas between
    /// (carry-over, ngram, heads, heads-viterbi, next-state, depth-decoder), :K drafted frames behind them; or
    /// depth-jacobi
    #[arg(long, value_name = "auto|off|DRAFTERS[:K]", default_value_t = Speculation::Auto, help_heading = heading::SPEED)]
    pub speculate: Speculation,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Keep the codes, to be decoded again or resumed; written anew every second
    #[arg(long, value_name = "FILE", help_heading = heading::OUTPUT)]
    pub save_codes: Option<PathBuf>,
    /// Go on with a song whose codes were kept; everything it was asked for with comes from the file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tags", "lyrics", "seed", "temperature", "top_k",
        "cfg_scale", "flow_steps", "flow_guidance", "continuity", "first_window", "first_audio", "plan"],
        help_heading = heading::OUTPUT)]
    pub resume: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub lm_weights: LmWeightsArgs,
    #[command(flatten)]
    pub codec_weights: CodecWeightsArgs,
    #[command(flatten)]
    pub placement: PlacementArgs,
    /// The most memory that may be taken of the machine and of each GPU, such as 8GB, 11.5GiB or 900MB, or of one of
    /// them (cuda:0=8GB); of a GPU it is at most what is free. Where it is too little, the codec is stored in f16,
    /// unless --codec-weights says how; then the language model writes the whole song and is let go before the codec is
    /// loaded, so that nothing sounds before
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = heading::MACHINE)]
    pub memory_limit: Option<MemoryLimits>,
    #[command(flatten)]
    pub workers: WorkersArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DecodeArgs {
    /// A file that --save-codes wrote
    #[arg(value_name = "FILE")]
    pub codes: PathBuf,
    #[command(flatten)]
    pub sound: SoundArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub codec_weights: CodecWeightsArgs,
    #[command(flatten)]
    pub placement: PlacementArgs,
    /// The most memory that may be taken of the machine and of each GPU, such as 8GB, 11.5GiB or 900MB, or of one of
    /// them (cuda:0=8GB): where it is too little, the codec is stored in f16, unless --codec-weights says how
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = heading::MACHINE)]
    pub memory_limit: Option<MemoryLimits>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PlayArgs {
    #[command(flatten)]
    pub render: RenderArgs,
    /// The loudspeaker: its name or a part of it, as `heartstream devices` lists them [default: the system's]
    #[arg(long, value_name = "NAME", help_heading = heading::OUTPUT)]
    pub speaker: Option<String>,
    /// The rate to play at [default: 48000, or what the device has that is nearest]
    #[arg(long, value_name = "RATE", value_parser = rate, allow_hyphen_values = true, help_heading = heading::OUTPUT)]
    pub device_rate: Option<u32>,
    /// When to start: with the first sound, or when what remains cannot run dry
    #[arg(long, value_enum, default_value_t = Start::Gapless, help_heading = heading::SPEED)]
    pub start: Start,
    /// When the device goes away: wait for it, or end the song
    #[arg(long, value_enum, default_value_t = DeviceLossAnswer::Wait, help_heading = heading::OUTPUT)]
    pub on_device_loss: DeviceLossAnswer,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Start {
    /// With the first sound; what the machine is too slow for is silence
    Now,
    /// When what remains cannot run dry: at once on a machine that is fast enough
    Gapless,
}

impl From<Start> for StartPolicy {
    fn from(start: Start) -> Self {
        match start {
            Start::Now => Self::Now,
            Start::Gapless => Self::Gapless,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DeviceLossAnswer {
    /// Hold the song back, look for the device each second, and go on where it stopped
    Wait,
    /// End the song with an error
    End,
}

impl From<DeviceLossAnswer> for OnDeviceLoss {
    fn from(answer: DeviceLossAnswer) -> Self {
        match answer {
            DeviceLossAnswer::Wait => Self::Wait,
            DeviceLossAnswer::End => Self::End,
        }
    }
}
