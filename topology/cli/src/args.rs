//! Commands of the program, as clap reads them. Their options are in [`super::song_args`] and [`super::model_args`],
//! what several commands share in [`super::arg_groups`].

use clap::{ArgAction, Parser, Subcommand};

use super::{
    bench::args::BenchArgs,
    machines::WorkerArgs,
    model_args::{
        CheckArgs, CompletionsArgs, ConvertArgs, DevicesArgs, DistillArgs, InspectArgs, ManArgs, PullArgs, SynthArgs,
        TagsArgs,
    },
    serve::ServeArgs,
    song_args::{DecodeArgs, PlayArgs, RenderArgs},
    status::Verbosity,
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
    pub fn verbosity(&self) -> Verbosity {
        Verbosity { quiet: self.quiet, verbose: self.verbose > 0 }
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
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Work for other machines: decode windows of their songs, or make whole songs; they come sooner and are the same
    Worker(WorkerArgs),
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
const SERVE_EXAMPLES: &str = "\
Examples:
  heartstream serve                                 # 127.0.0.1:7878
  heartstream serve --model DIR --library ~/songs --max-songs 2
  heartstream serve --listen 0.0.0.0:7878 --token-file secret";
const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  heartstream completions bash > /etc/bash_completion.d/heartstream
  heartstream completions zsh > ~/.zfunc/_heartstream
  heartstream completions fish > ~/.config/fish/completions/heartstream.fish";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
