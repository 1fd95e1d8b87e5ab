//! `serve`: songs that are heard while they are written, over HTTP.

use std::{net::SocketAddr, path::PathBuf};

use heartstream::Heartstream;
use heartstream_serve::{SecondsPerLine, ServeOptions, Server, known_tags};

use crate::{
    Failed,
    arg_groups::{ModelArgs, heading},
    asked::checkpoint,
    card::card,
    interrupts::Interrupts,
    machines::{self, WorkersArgs},
    preflight::cores,
    render::runtime_of,
    token_file, values,
};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ServeArgs {
    /// Where to listen; beyond this machine a token is demanded
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7878", value_parser = values::address,
        help_heading = heading::CLIENTS)]
    listen: SocketAddr,
    /// A name that the server is reached by, besides the address, such as that of a reverse proxy; may be given again
    #[arg(long = "host", value_name = "NAME", value_parser = values::host, help_heading = heading::CLIENTS)]
    hosts: Vec<String>,
    /// File with the secret that clients have to know
    #[arg(long, value_name = "FILE", help_heading = heading::CLIENTS)]
    token_file: Option<PathBuf>,
    /// Songs that are written at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = values::count, allow_hyphen_values = true,
        help_heading = heading::LIMITS)]
    max_songs: usize,
    /// Songs that wait
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = values::count, allow_hyphen_values = true,
        help_heading = heading::LIMITS)]
    queue: usize,
    /// Songs of one client that wait or are written
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = values::count, allow_hyphen_values = true,
        help_heading = heading::LIMITS)]
    songs_per_client: usize,
    /// The longest song
    #[arg(long, value_name = "TIME", default_value = "240s", value_parser = values::time, allow_hyphen_values = true,
        help_heading = heading::LIMITS)]
    max_seconds: f64,
    /// Where songs are kept
    #[arg(long, value_name = "DIR", default_value = "songs", help_heading = heading::OUTPUT)]
    library: PathBuf,
    /// The level of songs: -16 (LUFS), by the gain that the model's card names, which follows the song slowly, and a limiter;
    /// or off
    #[arg(long, value_name = "-16|off", default_value = "-16", allow_hyphen_values = true, value_parser = ["-16", "off"],
        help_heading = heading::OUTPUT)]
    loudness: String,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    workers: WorkersArgs,
}

/// Serves until the process is asked to end.
pub(super) fn serve(args: &ServeArgs) -> Result<(), Failed> {
    let (checkpoint, mut options) = (checkpoint(&args.model.model)?, args.options()?);
    options.tags = known_tags(&checkpoint);
    let card = card(&checkpoint);
    let is_unlevelled = args.loudness != "off" && card.gain_db.is_none();
    options.gain = card.gain_db.filter(|_| args.loudness != "off");
    options.seconds_per_line = card.seconds_per_line.map(|[low, median, high]| SecondsPerLine::new(low, median, high));
    let library = options.library.clone();
    runtime_of(cores())?.block_on(async {
        let builder = Heartstream::builder(checkpoint);
        let engine = machines::with_workers(builder, &args.workers).await?.build().await?;
        let server = Server::bind(engine, options).await?;
        let interrupts = Interrupts::listen();
        out!("heartstream listens on http://{} (songs in {})", server.address(), library.display());
        if is_unlevelled {
            note!("songs keep the level that the model gives them: it has no card.json with a gain (\"gain_db\")");
        }
        Ok(server.run(stopped(interrupts)).await?)
    })
}

/// Done when the process is asked to end. Asked a second time, it ends at once: what songs have on the disk is resumed.
async fn stopped(mut interrupts: Interrupts) {
    interrupts.next().await;
    interrupts.came(&mut None);
    tokio::spawn(async move {
        loop {
            interrupts.next().await;
            interrupts.came(&mut None);
        }
    });
}

impl ServeArgs {
    /// How the server is run.
    fn options(&self) -> Result<ServeOptions, Failed> {
        let mut options = ServeOptions::new(self.listen, self.library.clone());
        options.hosts = self.hosts.clone();
        options.token = self.token_file.as_deref().map(token_file::read).transpose()?;
        options.model_name = match self.model.model.as_str() {
            name @ ("demo" | "noise") => name.to_owned(),
            directory => PathBuf::from(directory)
                .file_name()
                .map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned()),
        };
        options.limits.songs = self.max_songs;
        options.limits.queue = self.queue;
        options.limits.songs_per_client = self.songs_per_client;
        options.limits.seconds = self.max_seconds;
        Ok(options)
    }
}
