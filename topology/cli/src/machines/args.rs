//! Options for more than one machine.

use std::{net::SocketAddr, path::PathBuf};

use heartstream_models::DeviceName;

use crate::{
    arg_groups::{CodecWeightsArgs, FlowPrecisionArgs, ModelArgs, heading},
    values::{CoreList, address, core_list, count, device},
};

/// Workers of other machines.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = heading::MACHINE)]
pub(crate) struct WorkersArgs {
    /// Workers on other machines, beside those of this one: HOST:PORT of each `heartstream worker`, listen:ADDRESS:PORT for
    /// those that join this machine, mdns for those that are found in the local network (docs/machines.md). They decode
    /// windows side by side with --continuity parallel; those with --songs make whole songs for `serve`
    #[arg(long, value_name = "HOST:PORT,…|mdns", value_delimiter = ',', requires = "workers_token_file")]
    pub workers: Vec<String>,
    /// File with the secret that all machines share, as `openssl rand -hex 32` makes one
    #[arg(long, value_name = "FILE", requires = "workers")]
    pub workers_token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct WorkerArgs {
    /// Decode windows of songs; this is what a worker does unless it is told otherwise
    #[arg(long)]
    pub flow: bool,
    /// Make whole songs of a `heartstream serve` that has the same model; it takes the memory of all of the model
    #[arg(long, conflicts_with = "flow")]
    pub songs: bool,
    /// Songs that are made at once, from 1 to 8
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, allow_hyphen_values = true, requires = "songs")]
    pub max_songs: usize,
    /// Where to listen for machines that name this one with --workers
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = address, required_unless_present = "join")]
    pub listen: Option<SocketAddr>,
    /// A machine to join, which listens with --workers listen:ADDRESS:PORT; or mdns, to be found in the local network. It is
    /// joined again when the connection ends
    #[arg(long, value_name = "HOST:PORT|mdns", value_delimiter = ',')]
    pub join: Vec<String>,
    /// File with the secret that all machines share, as `openssl rand -hex 32` makes one
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub codec_weights: CodecWeightsArgs,
    /// Windows that are decoded at once, each by a worker with its share of the cores
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, allow_hyphen_values = true,
        help_heading = heading::MACHINE)]
    pub flow_workers: usize,
    /// What computes: the processor, or NVIDIA GPUs by their numbers, which take turns (in a program built with --features
    /// cuda)
    #[arg(long, value_name = "cpu|cuda:N", default_value = "cpu", value_delimiter = ',', value_parser = device,
        help_heading = heading::MACHINE)]
    pub device: Vec<DeviceName>,
    /// Threads of each worker [default: its cores]
    #[arg(long, value_name = "N", value_parser = count, allow_hyphen_values = true, help_heading = heading::MACHINE)]
    pub threads: Option<usize>,
    /// Cores of all workers together, such as 0-5 or 0,2,4 [default: all]
    #[arg(long, value_name = "LIST", value_parser = core_list, allow_hyphen_values = true, help_heading = heading::MACHINE)]
    pub flow_cores: Option<CoreList>,
    #[command(flatten)]
    pub flow_precision: FlowPrecisionArgs,
}
