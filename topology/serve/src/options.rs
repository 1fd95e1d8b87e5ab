//! Options of the server: where it listens, whom it trusts, and how much it takes on.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use heartstream::{Checkpoint, words::KnownTags};

use crate::{error::ServeError, forecast::SecondsPerLine};

/// How a server is run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServeOptions {
    /// Where to listen. Beyond loopback a token is demanded.
    pub listen: SocketAddr,
    /// Further names, besides the address, that the server is reached by: what a `Host` header may say.
    pub hosts: Vec<String>,
    /// What a client has to know. Behind a proxy on this machine, which listens for others, there should be one too.
    pub token: Option<String>,
    /// The directory of the library.
    pub library: PathBuf,
    /// What the model is called in answers.
    pub model_name: String,
    /// Tags that the model is known to take, to choose from ([`known_tags`]).
    pub tags: Option<KnownTags>,
    /// Gain of the model's card in decibels, with which songs begin that are brought to -16 LUFS; `None` leaves the samples as
    /// they are.
    pub gain: Option<f64>,
    /// What the model's card says of the lengths of its songs: forecasts go by it until the library has songs enough.
    pub seconds_per_line: Option<SecondsPerLine>,
    /// How much is taken on.
    pub limits: Limits,
}

/// How much a server takes on. Everything that a client can make grow has a number here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Songs that are written at once; each has threads of its own, and the weights are shared.
    pub songs: usize,
    /// Songs that wait.
    pub queue: usize,
    /// Songs of one client, by its address, that wait or are written.
    pub songs_per_client: usize,
    /// Takes of one order.
    pub takes: usize,
    /// The longest song, in seconds.
    pub seconds: f64,
    /// The most steps of flow matching: a song takes as much longer as it has more of them.
    pub flow_steps: usize,
    /// Bytes of a body: words are short.
    pub body: usize,
    /// Connections that are open at once; further ones wait to be accepted.
    pub connections: usize,
    /// How long a client may take to send the head of a request, and how long a connection may lie idle.
    pub head_time: Duration,
    /// How long a client may take to send a body.
    pub body_time: Duration,
    /// How long a client may take nothing of what is sent before it is dropped.
    pub stall_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            songs: 1,
            queue: 32,
            songs_per_client: 16,
            takes: 4,
            seconds: 240.0,  // the longest song of the reference's command line
            flow_steps: 100, // ten times the usual
            body: 64 << 10,
            connections: 512,
            head_time: Duration::from_secs(10),
            body_time: Duration::from_secs(15),
            // A browser that has buffered enough takes nothing until some of it has been played.
            stall_time: Duration::from_secs(120),
        }
    }
}

impl ServeOptions {
    /// A server on `listen` with the songs in `library`.
    pub fn new(listen: SocketAddr, library: PathBuf) -> Self {
        Self {
            listen,
            hosts: Vec::new(),
            token: None,
            library,
            model_name: "demo".to_owned(),
            tags: None,
            gain: None,
            seconds_per_line: None,
            limits: Limits::default(),
        }
    }

    /// Checks what can be checked before anything is opened.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        match &self.token {
            None if !self.listen.ip().is_loopback() => return Err(ServeError::Unprotected(self.listen)),
            Some(token) if !(16..=512).contains(&token.len()) => {
                return Err(ServeError::Token(format!("it has {} bytes", token.len())));
            }
            Some(token) if !token.bytes().all(|byte| byte.is_ascii_graphic() && !b"\";,\\".contains(&byte)) => {
                return Err(ServeError::Token(
                    "it has another byte, a quote, a comma, a semicolon or a backslash".to_owned(),
                ));
            }
            _ => (),
        }
        let Limits { songs, songs_per_client, connections, .. } = self.limits;
        for (option, found, expected) in [
            ("max-songs", songs, "from 1 to 64"),
            ("songs-per-client", songs_per_client, "from 1 to 65536"),
            ("connections", connections, "from 1 to 65536"),
        ] {
            if found == 0 || (option == "max-songs" && found > 64) || found > 65_536 {
                return Err(ServeError::Option { option, expected, found });
            }
        }
        Ok(())
    }
}

/// Tags that a checkpoint lists; else those that the authors of the published models name.
pub fn known_tags(checkpoint: &Checkpoint) -> Option<KnownTags> {
    const FILE: &str = "tags.json";
    if !checkpoint.has(FILE) {
        return KnownTags::published();
    }
    let known = checkpoint.file(FILE).map_err(|error| error.to_string()).and_then(|bytes| KnownTags::parse(&bytes));
    known.inspect_err(|reason| tracing::warn!("the model's list of tags is ignored: {reason}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(listen: &str, token: Option<&str>) -> Result<(), ServeError> {
        let mut options = ServeOptions::new(listen.parse().unwrap(), "x".into());
        options.token = token.map(str::to_owned);
        options.check()
    }

    #[test]
    fn beyond_loopback_a_token_is_demanded() {
        assert!(options("127.0.0.1:0", None).is_ok() && options("[::1]:0", None).is_ok());
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
            assert!(matches!(options(open, None), Err(ServeError::Unprotected(_))), "{open}");
            assert!(options(open, Some("0123456789abcdef")).is_ok());
        }
    }

    #[test]
    fn a_token_is_long_and_fits_a_header_and_a_cookie() {
        for wrong in ["", "short", "has a space in it ok", "quote\"quote\"quote\"", "semicolon;semicolon;"] {
            assert!(matches!(options("127.0.0.1:0", Some(wrong)), Err(ServeError::Token(_))), "{wrong}");
        }
    }
}
