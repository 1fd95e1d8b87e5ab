//! Options that several commands share: words, model, weights, where a song goes, how it sounds, and where it is computed.

use std::path::PathBuf;

use clap::ValueEnum;
use heartstream::Continuity;
use heartstream_models::{
    DeviceName, WeightDtype,
    weights::{FlowPrecision, Storage},
};

use super::{
    song_format::FormatName,
    values::{CoreList, core_list, count, device, number, time, whole},
};

/// The headings that help lists options under.
pub(crate) mod heading {
    pub(crate) const WORDS: &str = "Words";
    pub(crate) const SOUND: &str = "Sound";
    pub(crate) const SPEED: &str = "Speed";
    pub(crate) const OUTPUT: &str = "Output";
    pub(crate) const MODEL: &str = "Model";
    pub(crate) const MACHINE: &str = "Machine";
    pub(crate) const CLIENTS: &str = "Clients";
    pub(crate) const LIMITS: &str = "Limits";
}

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::WORDS)]
pub(crate) struct WordsArgs {
    /// What it should sound like: words with commas between, a file of them, or - for standard input; `heartstream tags`
    /// lists those that the model knows [default: a sample]
    #[arg(long, value_name = "TEXT|FILE|-")]
    pub tags: Option<String>,
    /// What is sung: text, a file, or - for standard input [default: a sample]
    #[arg(long, value_name = "TEXT|FILE|-")]
    pub lyrics: Option<String>,
}

/// Names the model where `--model` does not.
pub(crate) const MODEL_VARIABLE: &str = "HEARTSTREAM_MODEL";

#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::MODEL)]
pub(crate) struct ModelArgs {
    /// Directory with HeartMuLa-oss-3B/, HeartCodec-oss/, tokenizer.json and gen_config.json; or one that needs no files:
    /// demo, the built-in demo model, or noise, a small one whose random weights never change
    #[arg(long, value_name = "DIR|demo|noise", env = MODEL_VARIABLE, default_value = heartstream_demo::NAME)]
    pub model: String,
}

/// How the language model's weights are stored in memory.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::MODEL)]
pub(crate) struct LmWeightsArgs {
    /// How the language model's weights are stored in memory; auto: as in the file, but a large f32 model as bf16
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = LmWeights::Auto)]
    pub lm_weights: LmWeights,
}

/// How the codec's weights are stored in memory.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::MODEL)]
pub(crate) struct CodecWeightsArgs {
    /// How the codec's weights are stored in memory; auto: as in the file
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = CodecWeights::Auto)]
    pub codec_weights: CodecWeights,
}

/// The help of the option says what each is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LmWeights {
    Auto,
    Stored,
    F32,
    Bf16,
    F16,
}

impl From<LmWeights> for Storage {
    fn from(weights: LmWeights) -> Self {
        match weights {
            LmWeights::Auto => Self::Auto,
            LmWeights::Stored => Self::Stored,
            LmWeights::F32 => Self::As(WeightDtype::F32),
            LmWeights::Bf16 => Self::As(WeightDtype::Bf16),
            LmWeights::F16 => Self::As(WeightDtype::F16),
        }
    }
}

/// Accuracy of flow matching's products on a GPU.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::MACHINE)]
pub(crate) struct FlowPrecisionArgs {
    /// Accuracy of flow matching's products on a GPU; f16: one pass of tensor cores, faster, and another song
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Precision::F32)]
    pub flow_precision: Precision,
}

/// The help of the option says what each is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Precision {
    F32,
    F16,
}

impl From<Precision> for FlowPrecision {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32,
            Precision::F16 => Self::F16,
        }
    }
}

/// As for the language model, but never bf16: its 8 bits can be heard.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CodecWeights {
    Auto,
    Stored,
    F32,
    F16,
}

impl From<CodecWeights> for Storage {
    fn from(weights: CodecWeights) -> Self {
        match weights {
            CodecWeights::Auto => Self::Auto,
            CodecWeights::Stored => Self::Stored,
            CodecWeights::F32 => Self::As(WeightDtype::F32),
            CodecWeights::F16 => Self::As(WeightDtype::F16),
        }
    }
}

/// The help of the option says what each is.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KvType {
    Auto,
    F32,
    F16,
}

impl From<KvType> for Option<WeightDtype> {
    fn from(kv: KvType) -> Self {
        match kv {
            KvType::Auto => None,
            KvType::F32 => Some(WeightDtype::F32),
            KvType::F16 => Some(WeightDtype::F16),
        }
    }
}

/// Where a song goes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::OUTPUT)]
pub(crate) struct OutputArgs {
    /// The file, whose name says its format: song.wav, song.flac, song.opus, song.mp3; - writes to standard output [default:
    /// song.wav, or the next free of song-2.wav, song-3.wav, …; for play, nothing]
    #[arg(long, short, value_name = "FILE|-")]
    pub output: Option<PathBuf>,
    /// Without -o, write over song.wav
    #[arg(long)]
    pub force: bool,
    /// Samples in a WAV: f32 as they are made, s24 or, with dither, s16; in a FLAC s16 or s24. Or the format of a file
    /// whose name does not say it [default: what the name says; f32 in a WAV, s16 in a FLAC]
    #[arg(long, value_enum)]
    pub format: Option<FormatName>,
    /// The level of the file: -16 (LUFS), by the gain that the model's card names, which follows the song slowly, and a
    /// limiter; or off
    #[arg(long, value_name = "-16|off", default_value = "off", allow_hyphen_values = true, value_parser = ["-16", "off"])]
    pub loudness: String,
    /// Write what was done and how long it took, as JSON; - writes to standard output
    #[arg(long, value_name = "FILE|-")]
    pub record: Option<PathBuf>,
    /// How progress is shown on standard error: for people, or a JSON object a line for programs (docs/progress.md)
    #[arg(long, value_enum, value_name = "FORM", default_value_t = ProgressForm::Line)]
    pub progress: ProgressForm,
}

/// How codes become sound.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::SOUND)]
pub(crate) struct SoundArgs {
    /// Steps of flow matching: fewer are faster, more are finer [default: the model's own, or 10]
    #[arg(long, value_name = "N", value_parser = whole(1..=1000_usize), allow_hyphen_values = true)]
    pub flow_steps: Option<usize>,
    /// How far the codes lead the sound: 1 not at all [default: the model's own, or 1.25]
    #[arg(long, value_name = "G", value_parser = number::<f32>, allow_hyphen_values = true)]
    pub flow_guidance: Option<f32>,
    /// How the song is cut into windows and joined again
    #[arg(long, value_enum, default_value_t = ContinuityName::Chained)]
    pub continuity: ContinuityName,
    /// Frames of the first window (12.5 a second), whatever that means for the first sound
    #[arg(long, value_name = "N", value_parser = whole(1..=372_u64), allow_hyphen_values = true)]
    pub first_window: Option<u64>,
    /// When the first sound shall be there, such as 10s or 800ms: the longest first window that meets it is taken
    /// [default: 48 frames; when playing, fewer where 10s demand it]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true, help_heading = heading::SPEED)]
    pub first_audio: Option<f64>,
    /// Cut the song as it was cut before: a record, or the plan out of one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["continuity", "first_window", "first_audio"])]
    pub plan: Option<PathBuf>,
}

/// Where stages compute.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::MACHINE)]
pub(crate) struct PlacementArgs {
    /// Workers that decode segments
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, allow_hyphen_values = true)]
    pub flow_workers: usize,
    /// Threads of each stage that computes [default: its cores]
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    pub threads: Option<usize>,
    /// Cores of the language model, such as 0-5 or 0,2,4 [default: half of a machine with four or more]
    #[arg(long, value_name = "LIST", value_parser = core_list, allow_hyphen_values = true)]
    pub lm_cores: Option<CoreList>,
    /// Cores of the flow workers [default: the other half]
    #[arg(long, value_name = "LIST", value_parser = core_list, allow_hyphen_values = true)]
    pub flow_cores: Option<CoreList>,
    /// Cores of the vocoder [default: those of the flow workers]
    #[arg(long, value_name = "LIST", value_parser = core_list, allow_hyphen_values = true)]
    pub vocoder_cores: Option<CoreList>,
    /// Cores on which drafts are prepared while the language model verifies others [default: none are prepared]
    #[arg(long, value_name = "LIST", value_parser = core_list, allow_hyphen_values = true)]
    pub draft_cores: Option<CoreList>,
    /// What prepares these drafts, which has what it needs of the model in its own memory [default: what computes the
    /// language model, on --draft-cores]
    #[arg(long, value_name = "cpu|cuda:N", value_parser = device)]
    pub draft_device: Option<DeviceName>,
    /// What computes: the processor, or an NVIDIA GPU by its number (in a program built with --features cuda)
    #[arg(long, value_name = "cpu|cuda:N", default_value_t = DeviceName::Cpu, value_parser = device)]
    pub device: DeviceName,
    /// What computes the language model [default: --device]
    #[arg(long, value_name = "cpu|cuda:N", value_parser = device)]
    pub lm_device: Option<DeviceName>,
    /// What computes for the flow workers [default: --device]; several devices, such as cuda:0,cuda:1, take turns
    #[arg(long, value_name = "cpu|cuda:N", value_delimiter = ',', value_parser = device)]
    pub flow_device: Vec<DeviceName>,
    /// What computes the vocoder [default: --device]
    #[arg(long, value_name = "cpu|cuda:N", value_parser = device)]
    pub vocoder_device: Option<DeviceName>,
    #[command(flatten)]
    pub flow_precision: FlowPrecisionArgs,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressForm {
    /// A status line on a terminal, a line now and then elsewhere
    Line,
    /// One JSON object a line
    Json,
}

/// How a song is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ContinuityName {
    /// The reference's windows of 29.76 s, to the number
    Reference,
    /// Windows that start small and grow, each going on from the one before, without a seam
    Chained,
    /// Windows that start small and grow and are cross-faded; several workers decode them side by side
    Parallel,
}

impl From<ContinuityName> for Continuity {
    fn from(name: ContinuityName) -> Self {
        match name {
            ContinuityName::Reference => Self::Reference,
            ContinuityName::Chained => Self::Chained,
            ContinuityName::Parallel => Self::Parallel,
        }
    }
}
