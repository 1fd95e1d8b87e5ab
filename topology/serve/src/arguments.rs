//! The command line of `heartstream-serve`.

use std::{fs, net::SocketAddr, path::PathBuf};

use clap::Parser;
use heartstream::Checkpoint;
use heartstream_serve::ServeOptions;

/// The gain of the built-in demo model, in decibels: what brings its songs to -16 LUFS, as its card says
/// (`docs/demo-model.md`).
const DEMO_GAIN: f64 = 3.2;
/// A token file is one line.
const MOST_TOKEN_BYTES: u64 = 4096;

/// Serves songs that are heard while they are written: a page, an HTTP API, a library on disk.
#[derive(Debug, Parser)]
#[command(name = "heartstream-serve", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Where to listen; beyond this machine a token is demanded
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7878")]
    listen: SocketAddr,
    /// A name that the server is reached by, besides the address, such as that of a reverse proxy; may be given again
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// Directory with HeartMuLa-oss-3B/, HeartCodec-oss/, tokenizer.json and gen_config.json; or demo, the built-in model,
    /// or noise, a small one of random weights
    #[arg(long, value_name = "DIR|demo|noise", env = "HEARTSTREAM_MODEL", default_value = "demo")]
    model: String,
    /// Songs that are written at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    max_songs: usize,
    /// Songs that wait
    #[arg(long, value_name = "N", default_value_t = 32)]
    queue: usize,
    /// Songs of one client that wait or are written
    #[arg(long, value_name = "N", default_value_t = 16)]
    songs_per_client: usize,
    /// The longest song, in seconds
    #[arg(long, value_name = "S", default_value_t = 240.0)]
    max_seconds: f64,
    /// File with the secret that clients have to know
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Where songs are kept
    #[arg(long, value_name = "DIR", default_value = "songs")]
    library: PathBuf,
    /// The level that songs are brought to by a fixed gain and a limiter: -16, where the model's card names a gain, or off
    #[arg(long, value_name = "-16|off", default_value = "-16", allow_hyphen_values = true, value_parser = ["-16", "off"])]
    loudness: String,
}

/// Why the server does not run.
pub(crate) struct Failed(pub String);

impl<E: std::error::Error> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl Arguments {
    /// The model that is asked for.
    pub fn checkpoint(&self) -> Result<Checkpoint, Failed> {
        Ok(match self.model.as_str() {
            "demo" => Checkpoint::demo(),
            "noise" => Checkpoint::noise(),
            directory => Checkpoint::open(directory)?,
        })
    }

    /// How the server is run.
    pub fn options(&self) -> Result<ServeOptions, Failed> {
        let mut options = ServeOptions::new(self.listen, self.library.clone());
        options.hosts = self.hosts.clone();
        options.token = self.token()?;
        options.model_name = match self.model.as_str() {
            name @ ("demo" | "noise") => name.to_owned(),
            directory => PathBuf::from(directory)
                .file_name()
                .map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned()),
        };
        options.gain = (self.model == "demo" && self.loudness != "off").then_some(DEMO_GAIN);
        options.limits.songs = self.max_songs;
        options.limits.queue = self.queue;
        options.limits.songs_per_client = self.songs_per_client;
        options.limits.seconds = self.max_seconds;
        Ok(options)
    }

    fn token(&self) -> Result<Option<String>, Failed> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let unreadable = |reason: String| {
            Failed(format!("the token file {} cannot be used: {reason}. Give a file with one line", path.display()))
        };
        let found = fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if !found.is_file() || found.len() > MOST_TOKEN_BYTES {
            return Err(unreadable("it is no file, or longer than 4096 bytes".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Ok(Some(text.trim().to_owned()))
    }
}
