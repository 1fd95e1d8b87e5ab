//! Which options are there? The whole command line, as clap reads it.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use heartstream_models::synth::SynthSize;

use crate::{OnDeviceLoss, StartPolicy};

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

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a song to a WAV file
    Render(RenderArgs),
    /// Play a song on the loudspeakers
    Play(PlayArgs),
    /// List the loudspeakers that there are
    Devices(DevicesArgs),
    /// Say what a model is, what it needs, and what is wrong with it
    Inspect(InspectArgs),
    /// Compare the engine with what the reference implementation computed
    Check(CheckArgs),
    /// Write a checkpoint of random weights in the published layout
    Synth(SynthArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WordsArgs {
    /// What it should sound like: words with commas between, or a file of them [default: a sample]
    #[arg(long, value_name = "TEXT|FILE")]
    pub tags: Option<String>,
    /// What is sung: text, a file, or - for standard input [default: a sample]
    #[arg(long, value_name = "TEXT|FILE|-")]
    pub lyrics: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ModelArgs {
    /// Directory with HeartMuLa-oss-3B/, HeartCodec-oss/, tokenizer.json and gen_config.json; "demo" is the model inside the program
    #[arg(long, value_name = "DIR", default_value = "demo")]
    pub model: String,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RenderArgs {
    /// The WAV file; - writes to standard output [default: song.wav; for play, nothing]
    #[arg(long, short, value_name = "FILE|-")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub words: WordsArgs,
    #[command(flatten)]
    pub model: ModelArgs,
    /// The same words with the same seed are the same song [default: another one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Longest song; the model may end it before
    #[arg(long, value_name = "S", default_value_t = 240.0, allow_negative_numbers = true)]
    pub max_seconds: f64,
    /// How adventurous: 0 takes the likeliest code always
    #[arg(long, value_name = "T", default_value_t = 1.0, allow_negative_numbers = true)]
    pub temperature: f32,
    /// Draw only from the K likeliest codes
    #[arg(long, value_name = "K", default_value_t = 50)]
    pub top_k: usize,
    /// How far the words lead the song: 1 not at all
    #[arg(long, value_name = "C", default_value_t = 1.5, allow_negative_numbers = true)]
    pub cfg_scale: f64,
    /// Steps of flow matching: fewer are faster, more are finer
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub flow_steps: usize,
    /// How far the codes lead the sound: 1 not at all
    #[arg(long, value_name = "G", default_value_t = 1.25, allow_negative_numbers = true)]
    pub flow_guidance: f32,
    /// Workers that decode segments
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub flow_workers: usize,
    /// Threads of each stage that computes [default: its cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Cores of the language model, such as 0-5 or 0,2,4 [default: half of a machine with four or more]
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    pub lm_cores: Option<CoreList>,
    /// Cores of the flow workers [default: the other half]
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    pub flow_cores: Option<CoreList>,
    /// Cores of the vocoder [default: those of the flow workers]
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    pub vocoder_cores: Option<CoreList>,
    /// Write what was done and how long it took, as JSON
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PlayArgs {
    #[command(flatten)]
    pub render: RenderArgs,
    /// The output device: its name or a part of it [default: the system's]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// The rate to play at [default: 48000, or what the device has that is nearest]
    #[arg(long, value_name = "HZ", value_parser = clap::value_parser!(u32).range(8_000..=768_000))]
    pub device_rate: Option<u32>,
    /// When to start: with the first sound, or when what remains cannot run dry
    #[arg(long, value_enum, default_value_t = Start::Gapless)]
    pub start: Start,
    /// When the device goes away: wait for it, or end the song
    #[arg(long, value_enum, default_value_t = DeviceLossAnswer::Wait)]
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
    pub words: WordsArgs,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// A model directory with a file goldens.safetensors
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
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
    #[arg(long, value_name = "N", default_value_t = heartstream_models::demo::SEED)]
    pub seed: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Size {
    /// The model inside the program
    Demo,
    /// As small as can be
    Tiny,
}

impl From<Size> for SynthSize {
    fn from(size: Size) -> Self {
        match size {
            Size::Demo => Self::Demo,
            Size::Tiny => Self::Tiny,
        }
    }
}

/// Numbers of cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoreList(pub Vec<usize>);

/// Reads `0-5,8`.
fn core_list(text: &str) -> Result<CoreList, String> {
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|core| *core < 4096);
    let range = |text: &str| match text.split_once('-') {
        None => number(text).map(|core| core..=core),
        Some((from, to)) => Some(number(from)?..=number(to)?).filter(|range| !range.is_empty()),
    };
    let ranges = text.split(',').map(range).collect::<Option<Vec<_>>>();
    let cores: Option<Vec<usize>> = ranges.map(|ranges| ranges.into_iter().flatten().collect());
    cores.map(CoreList).ok_or_else(|| "expected numbers of cores such as 0-5 or 0,2,4".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn lists_of_cores_are_numbers_and_ranges() {
        let cores = |text| core_list(text).map(|list| list.0);
        assert_eq!(cores("0-3,7"), Ok(vec![0, 1, 2, 3, 7]));
        assert_eq!(cores("5"), Ok(vec![5]));
        for wrong in ["", "a", "3-1", "1-", "-1", "0,,1", "99999999999999999999", "0-99999"] {
            assert!(cores(wrong).is_err(), "{wrong}");
        }
    }
}
