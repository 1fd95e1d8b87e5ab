//! Options of the commands that a model is handled with: `inspect`, `check`, `convert`, `distill`, `pull`, `synth`, and
//! those that list or print.

use std::path::PathBuf;

use clap::ValueEnum;
use heartstream::pull;
use heartstream_models::{DeviceName, WeightDtype};
use heartstream_tools::synth::{NOISE_SEED, SynthSize};

use super::{
    arg_groups::{CodecWeightsArgs, FlowPrecisionArgs, KvType, LmWeightsArgs, ModelArgs, WordsArgs},
    values::{count, device, number, time, whole},
};

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
    #[command(flatten)]
    pub flow_precision: FlowPrecisionArgs,
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
    #[arg(long, value_name = "N", default_value_t = NOISE_SEED,
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
