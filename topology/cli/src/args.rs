//! The commands and their options, as clap reads them; what several commands share is in [`super::arg_groups`].

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use heartstream::{
    memory::MemoryLimits,
    pull,
    speaker::{OnDeviceLoss, StartPolicy},
};
use heartstream_models::{DeviceName, WeightDtype, speculation::Speculation, synth::SynthSize};

use super::{
    arg_groups::{
        CodecWeightsArgs, KvType, LmWeightsArgs, ModelArgs, OutputArgs, PlacementArgs, SoundArgs, WordsArgs, heading,
    },
    bench::args::BenchArgs,
    serve::ServeArgs,
    status::Loudness,
    values::{count, device, number, rate, time, whole},
};

/// Makes music from words, and plays it while it is still being written.
#[derive(Debug, Parser)]
#[command(name = "heartstream", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub command: Command,
    /// Say nothing but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say more (-vv: still more)
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Args {
    /// How much is said.
    pub fn loudness(&self) -> Loudness {
        Loudness { quiet: self.quiet, verbose: self.verbose > 0 }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a song to a WAV file
    #[command(after_help = RENDER_EXAMPLES)]
    Render(RenderArgs),
    /// Play a song on the loudspeakers
    #[command(after_help = PLAY_EXAMPLES)]
    Play(PlayArgs),
    /// List the tags that a model is known to take
    Tags(TagsArgs),
    /// List the loudspeakers that there are
    Devices(DevicesArgs),
    /// Decode a song again whose codes were kept, with other settings
    Decode(DecodeArgs),
    /// Say what a model is, what it needs, and what is wrong with it
    Inspect(InspectArgs),
    /// Compare the engine with what the reference implementation computed
    Check(CheckArgs),
    /// Write a checkpoint of random weights in the published layout
    Synth(SynthArgs),
    /// Write a model once more as it is computed with: smaller, and faster to load
    ///
    /// The language model in bf16, the codec without its encoder in f16 or f32, in the published layout. Its songs are
    /// those of the original loaded with --lm-weights bf16 and the same --codec-weights, bit for bit.
    Convert(ConvertArgs),
    /// Download a published model: 22 GB, resumed where it was interrupted, verified by its hashes
    ///
    /// Language model, codec and tokenizer come into one directory, for --model of the other commands. Files that are
    /// there already, in it, in a directory beside it or in the hub's cache, are not fetched again and take no room
    /// twice. HF_ENDPOINT (a mirror), HF_TOKEN, HF_HOME and HF_HUB_CACHE mean what they mean to the hub's own programs.
    #[command(after_help = PULL_EXAMPLES)]
    Pull(PullArgs),
    /// Train a drafter for a model, on songs that it writes for the purpose; from then on it is found and used
    ///
    /// The song does not depend on it: it only comes sooner where the drafter is right often enough.
    Distill(DistillArgs),
    /// Serve songs that are heard while they are written: a page, an HTTP API, a library on disk
    Serve(ServeArgs),
    /// Measure what a way of making a song costs
    Bench(BenchArgs),
    /// Print what a shell needs to complete commands and options
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
}

// Lines of at most 70 columns: manual pages are indented, and terminals have 80.
const PLAY_EXAMPLES: &str = "\
Examples:
  heartstream play --tags flute,guitar,calm         # the sample's words
  heartstream play --lyrics words.txt --seed 7      # yours; 7 again: the same
  heartstream play --lyrics words.txt -o song.wav   # played, and written";
const RENDER_EXAMPLES: &str = "\
Examples:
  heartstream render --tags violin,irish,reel --lyrics words.txt
  heartstream render --model DIR --tags pop,female --max-seconds 3m
  heartstream render --seed 7 -o - | ffmpeg -i - song.mp3";
const PULL_EXAMPLES: &str = "\
Examples:
  heartstream pull                                  # the newest release
  heartstream pull --out models/heartmula           # to a place of your own
  HF_ENDPOINT=https://mirror.example heartstream pull";
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  heartstream completions bash > /etc/bash_completion.d/heartstream
  heartstream completions zsh > ~/.zfunc/_heartstream
  heartstream completions fish > ~/.config/fish/completions/heartstream.fish";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TagsArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ManArgs {
    /// The directory to write them to, a file for each command
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DistillArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The file to write [default: drafter.safetensors beside the language model]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// A drafter to begin with, such as that of a model that this one was trained on from: it is made fit in fewer
    /// steps
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub words: WordsArgs,
    /// What the songs are about: a line for each, tags | lyrics, \n for a new line of these [default: the words that
    /// are given, and a choice of what the model knows]
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    /// Songs that are written; one in eight only says how good the drafter is
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = count, allow_hyphen_values = true)]
    pub songs: usize,
    /// Length of each; the model may end it before
    #[arg(long, value_name = "TIME", default_value = "24", value_parser = time, allow_hyphen_values = true)]
    pub seconds: f64,
    /// How far the words lead the songs, as they will when the drafter is at work
    #[arg(long, value_name = "C", default_value_t = 1.5, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub cfg_scale: f64,
    /// Steps of training; it ends before when the drafter gets no better
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = count, allow_hyphen_values = true)]
    pub steps: usize,
    /// Frames ahead that are trained for
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count, allow_hyphen_values = true)]
    pub heads: usize,
    /// Seed of the songs and of the training
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0..=u64::MAX), allow_hyphen_values = true)]
    pub seed: u64,
    /// Threads [default: the cores of this machine]
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    pub threads: Option<usize>,
    /// What trains: the processor, or an NVIDIA GPU by its number (in a program built with --features cuda)
    #[arg(long, value_name = "cpu|cuda:N", default_value_t = DeviceName::Cpu, value_parser = device)]
    pub device: DeviceName,
    /// What writes the songs; a small model is fastest on many cores [default: --device]
    #[arg(long, value_name = "cpu|cuda:N", value_parser = device)]
    pub lm_device: Option<DeviceName>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RenderArgs {
    #[command(flatten)]
    pub words: WordsArgs,
    /// The same words with the same seed are the same song [default: another one each time]
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX), allow_hyphen_values = true,
        help_heading = heading::WORDS)]
    pub seed: Option<u64>,
    /// Longest song, such as 240, 4m or 1m30s; the model may end it before [default: 240, or what a song that is
    /// resumed was asked for with]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true,
        help_heading = heading::WORDS)]
    pub max_seconds: Option<f64>,
    /// How far the words lead the song: 1 not at all
    #[arg(long, value_name = "C", default_value_t = 1.5, value_parser = number::<f64>, allow_hyphen_values = true, help_heading = heading::WORDS)]
    pub cfg_scale: f64,
    /// How adventurous: 0 takes the likeliest code always
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = number::<f32>, allow_hyphen_values = true, help_heading = heading::SOUND)]
    pub temperature: f32,
    /// Draw only from the K likeliest codes
    #[arg(long, value_name = "K", default_value_t = 50, value_parser = count, allow_hyphen_values = true,
        help_heading = heading::SOUND)]
    pub top_k: usize,
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
    /// The most memory that may be taken of the machine and of each GPU, such as 8GB, 11.5GiB or 900MB, or of one of them
    /// (cuda:0=8GB); of a GPU it is at most what is free. Where it is too little, the codec is stored in f16, unless
    /// --codec-weights says how; then the language model writes the whole song and is let go before the codec is loaded,
    /// so that nothing sounds before
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = heading::MACHINE)]
    pub memory_limit: Option<MemoryLimits>,
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
    /// The most memory that may be taken of the machine and of each GPU, such as 8GB, 11.5GiB or 900MB, or of one of them
    /// (cuda:0=8GB): where it is too little, the codec is stored in f16, unless --codec-weights says how
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

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DevicesArgs {
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub lm_weights: LmWeightsArgs,
    #[command(flatten)]
    pub codec_weights: CodecWeightsArgs,
    #[command(flatten)]
    pub words: WordsArgs,
    /// Length of the song whose memory is estimated
    #[arg(long, value_name = "TIME", default_value = "240", value_parser = time, allow_hyphen_values = true)]
    pub max_seconds: f64,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// A model directory with a file goldens.safetensors
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    #[command(flatten)]
    pub lm_weights: LmWeightsArgs,
    #[command(flatten)]
    pub codec_weights: CodecWeightsArgs,
    /// How keys and values are stored in memory; auto: as in a song, f16 where a 16-bit language model is large
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = KvType::Auto)]
    pub kv: KvType,
    /// What computes: the processor, or an NVIDIA GPU by its number, which may be ten times as far off
    #[arg(long, value_name = "cpu|cuda:N", default_value_t = DeviceName::Cpu, value_parser = device)]
    pub device: DeviceName,
    /// Compare nothing, but write what the processor computes with f32 keys and values as golden data: for comparing
    /// devices, kernels and dtypes with one another, not with the reference
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kv", "device", "json"])]
    pub write_goldens: Option<PathBuf>,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SynthArgs {
    /// How large
    #[arg(long, value_enum)]
    pub size: Size,
    /// The directory to write
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// The seed of the weights
    #[arg(long, value_name = "N", default_value_t = heartstream_models::synth::NOISE_SEED,
        value_parser = whole(0..=u64::MAX), allow_hyphen_values = true)]
    pub seed: u64,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConvertArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// The directory to write; it must not be there yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How the codec's weights are stored: f16 is half as large, and its rounding is hardly heard
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CodecFile::F16)]
    pub codec: CodecFile,
}

/// The help of the option says what each is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CodecFile {
    F16,
    F32,
}

impl From<CodecFile> for WeightDtype {
    fn from(codec: CodecFile) -> Self {
        match codec {
            CodecFile::F16 => Self::F16,
            CodecFile::F32 => Self::F32,
        }
    }
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PullArgs {
    /// Which release of the language model
    #[arg(value_enum, default_value = "happy-new-year")]
    pub version: Version,
    /// The directory to fill [default: heartstream/VERSION in HF_HOME, which is ~/.cache/huggingface if unset]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Version {
    /// The first release, of 14 January 2026
    #[value(name = "oss-3b")]
    Oss3b,
    /// Tuned by reinforcement learning to follow styles and tags, 23 January 2026
    Rl,
    /// Recommended: follows lyrics best, 13 February 2026
    HappyNewYear,
}

impl From<Version> for pull::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::Oss3b => Self::Oss3b,
            Version::Rl => Self::Rl,
            Version::HappyNewYear => Self::HappyNewYear,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Size {
    /// As the model of noise
    Noise,
    /// As small as can be
    Tiny,
    /// The published shapes at a hundredth of their size
    Small,
    /// The published shapes at a tenth of their size
    Medium,
    /// As published: 22 GB
    Full,
}

impl From<Size> for SynthSize {
    fn from(size: Size) -> Self {
        match size {
            Size::Noise => Self::Noise,
            Size::Tiny => Self::Tiny,
            Size::Small => Self::Small,
            Size::Medium => Self::Medium,
            Size::Full => Self::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
