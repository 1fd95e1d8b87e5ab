//! Options of the benches.

use std::path::PathBuf;

use clap::Subcommand;
use heartstream_models::DeviceName;

use crate::{
    arg_groups::{CodecWeightsArgs, FlowPrecisionArgs, LmWeightsArgs, ModelArgs, WordsArgs},
    model_args::Size,
    values::{CoreList, core_list, count, device, number, time, time_or_none, whole},
};

#[derive(Debug, Clone, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub speed: SpeedArgs,
    #[command(subcommand)]
    pub bench: Option<Bench>,
}

/// Without a subcommand: how fast is each stage, beside what this machine can do?
/// The model that is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SubjectArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Measure a model of this size with weights from a seed, which needs no files, in place of --model's
    #[arg(long, value_enum, value_name = "SIZE")]
    pub random: Option<Size>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SpeedArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    pub lm_weights: LmWeightsArgs,
    #[command(flatten)]
    pub codec_weights: CodecWeightsArgs,
    /// Measure each stage on this device, beside what the device can do
    #[arg(long, value_name = "cpu|cuda:N", default_value_t = DeviceName::Cpu, value_parser = device)]
    pub device: DeviceName,
    #[command(flatten)]
    pub flow_precision: FlowPrecisionArgs,
    /// Measure each stage with so many threads; several numbers with commas between show how each stage scales, and the
    /// song then has the machine's usual plan [default: one for each core]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = count, allow_hyphen_values = true)]
    pub threads: Vec<usize>,
    /// Measure each stage so often, and take the best
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count, allow_hyphen_values = true)]
    pub repeats: usize,
    /// Length of the song that is made from words to sound; 0 leaves it out
    #[arg(long, value_name = "TIME", default_value = "8", value_parser = time_or_none, allow_hyphen_values = true)]
    pub seconds: f64,
    /// When the first sound of that song shall be there: the longest first window that meets it is taken [default: 48 frames]
    #[arg(long, value_name = "TIME", value_parser = time, allow_hyphen_values = true)]
    pub first_audio: Option<f64>,
    /// Frames of that song's first window, which its first sound waits for [default: 48]
    #[arg(long, value_name = "FRAMES", conflicts_with = "first_audio", value_parser = count, allow_hyphen_values = true)]
    pub first_window: Option<usize>,
    /// Measure flow matching and the vocoder beside the keys and values of a song of this length, for the peak of memory:
    /// one frame over and over, without heads and depth decoder, is read for them
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = time_or_none, allow_hyphen_values = true)]
    pub kv_seconds: f64,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Bench {
    /// Decode one song in every way it can be cut, and say what each way costs
    Continuity(ContinuityArgs),
    /// Write one song with every way of drafting its frames, and say what each earns
    Speculation(SpeculationArgs),
    /// Write several songs in one pass over the weights, and say what each count of them earns
    Songs(SongsArgs),
    /// Play plans with workers on 1 to 1000 other machines, without any: first sound, speed, waste, and the bottleneck
    Machines(MachinesArgs),
}

/// Defaults are a model of the published size on two cores (docs/performance.md), with as good workers.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MachinesArgs {
    /// Workers, with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,5,10,20,50,100,200,500,1000")]
    pub workers: Vec<usize>,
    /// Songs that the engine writes at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, allow_hyphen_values = true)]
    pub songs: usize,
    /// Length of each song
    #[arg(long, value_name = "TIME", default_value = "240", value_parser = time, allow_hyphen_values = true)]
    pub seconds: f64,
    /// Frames of the first window
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = whole(1..=372_usize), allow_hyphen_values = true)]
    pub first_window: usize,
    /// Seconds of the language model for a second of music, as `heartstream bench` says
    #[arg(long, value_name = "S", default_value_t = 2.1, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub lm: f64,
    /// What each further song adds to a frame of the language model, of its time for one, as `heartstream bench songs` says
    #[arg(long, value_name = "SHARE", default_value_t = 0.15, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub further_song: f64,
    /// Seconds of flow matching for a second of music
    #[arg(long, value_name = "S", default_value_t = 3.3, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub flow: f64,
    /// Seconds of the vocoder for a second of music
    #[arg(long, value_name = "S", default_value_t = 0.3, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub vocoder: f64,
    /// How often a worker is as fast as the engine's machine
    #[arg(long, value_name = "TIMES", default_value_t = 1.0, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub worker_speed: f64,
    /// Time to a worker and back
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = time_or_none, allow_hyphen_values = true)]
    pub round_trip: f64,
    /// The engine's line to all workers, in Mbit/s
    #[arg(long, value_name = "MBIT", default_value_t = 1000.0, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub bandwidth: f64,
    /// Packets that are lost, of all
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub loss: f64,
    /// Mean time between two deaths of a worker, in hours
    #[arg(long, value_name = "HOURS", default_value_t = 1000.0, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub lifetime: f64,
    /// Simulate nothing, but measure how fast workers decode windows of the codec of --model, all together: HOST:PORT of
    /// each `heartstream worker`
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',', requires = "workers_token_file")]
    pub measure: Vec<String>,
    /// Windows that are measured
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = count, allow_hyphen_values = true)]
    pub windows: usize,
    /// File with the secret that all machines share
    #[arg(long, value_name = "FILE", requires = "measure")]
    pub workers_token_file: Option<PathBuf>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub codec_weights: CodecWeightsArgs,
    /// How long a worker is gone that has died
    #[arg(long, value_name = "TIME", default_value = "30", value_parser = time_or_none, allow_hyphen_values = true)]
    pub restart: f64,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SongsArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    pub words: WordsArgs,
    /// Songs that are written at once, with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4,8,16")]
    pub counts: Vec<usize>,
    /// Length of each song
    #[arg(long, value_name = "TIME", default_value = "4", value_parser = time, allow_hyphen_values = true)]
    pub seconds: f64,
    /// How far the words lead the songs: 1 not at all
    #[arg(long, value_name = "C", default_value_t = 1.5, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub cfg_scale: f64,
    /// Runs of every count, of which the fastest counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count, allow_hyphen_values = true)]
    pub repeats: usize,
    /// Threads [default: the cores of this machine]
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    pub threads: Option<usize>,
    /// What computes the language model
    #[arg(long, value_name = "cpu|cuda:N", default_value_t = DeviceName::Cpu, value_parser = device)]
    pub device: DeviceName,
    /// Make the songs from words to sound, too: when the last to join sounds while all others do, and the memory of all.
    /// The model is loaded once more, with its codec
    #[arg(long)]
    pub sound: bool,
    /// How the codec's weights are stored, with --sound
    #[command(flatten)]
    pub codec_weights: CodecWeightsArgs,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SpeculationArgs {
    #[command(flatten)]
    pub subject: SubjectArgs,
    #[command(flatten)]
    pub words: WordsArgs,
    /// The seed of the song
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole(0..=u64::MAX), allow_hyphen_values = true)]
    pub seed: u64,
    /// Length of the song
    #[arg(long, value_name = "TIME", default_value = "8", value_parser = time, allow_hyphen_values = true)]
    pub seconds: f64,
    /// How far the words lead the song: 1 not at all
    #[arg(long, value_name = "C", default_value_t = 1.5, value_parser = number::<f64>, allow_hyphen_values = true)]
    pub cfg_scale: f64,
    /// Drafted frames of a round, with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,2,4,8")]
    pub counts: Vec<usize>,
    /// Probabilities of oracles: drafters that know the song and are right so often
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0,0.3,0.5,0.7,0.9,1")]
    pub oracles: Vec<f64>,
    /// Runs of every way, of which the fastest counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = count, allow_hyphen_values = true)]
    pub repeats: usize,
    /// Threads [default: the cores of this machine]
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true)]
    pub threads: Option<usize>,
    /// Cores on which drafts are prepared meanwhile, for the drafters that are worth it [default: none are prepared]
    #[arg(long, value_name = "LIST", value_parser = core_list, allow_hyphen_values = true)]
    pub draft_cores: Option<CoreList>,
    /// What computes the language model
    #[arg(long, value_name = "cpu|cuda:N", default_value_t = DeviceName::Cpu, value_parser = device)]
    pub device: DeviceName,
    /// What prepares these drafts [default: the processor, on --draft-cores]
    #[arg(long, value_name = "cpu|cuda:N", value_parser = device)]
    pub draft_device: Option<DeviceName>,
    /// Bits of weights, with commas between, with which the model is asked again for every code of the song; 0 leaves it out
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "8,4")]
    pub bits: Vec<u32>,
    /// For programs
    #[arg(long)]
    pub json: bool,
    /// Draw the speed-up against how often drafts are right
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ContinuityArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub words: WordsArgs,
    /// The seeds of the songs, with commas between: a song for each
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1")]
    pub seeds: Vec<u64>,
    /// Eight songs of different instruments for each seed, in place of one with the tags
    #[arg(long)]
    pub instruments: bool,
    /// Length of each song; the model may end it before. A minute shows windows of every length and takes three times as long
    #[arg(long, value_name = "TIME", default_value = "20", value_parser = time, allow_hyphen_values = true)]
    pub seconds: f64,
    /// Steps of flow matching of the decoding that all others are compared with
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = count, allow_hyphen_values = true)]
    pub reference_steps: usize,
    /// Frames of the first window, with commas between [default: those of 8,16,32,48,93,186,372 that the song has]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub first_windows: Option<Vec<u64>>,
    /// Frames of look-ahead that chained windows are tried with beside the usual one, with commas between
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub look_aheads: Vec<u64>,
    /// Steps of flow matching, with commas between: the first for every first window, the others for the usual one only
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "10,1,4,5,20")]
    pub flow_steps: Vec<usize>,
    /// For programs
    #[arg(long)]
    pub json: bool,
    /// Draw the mel distance over the song, with its seams
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
}
