//! Shows: the engine behind an HTTP handler that streams each song as a WAV while it is written.
//!
//! What a server on a network needs is here, too: a limit of songs at once, GET alone (a HEAD would make a
//! song), and an end for clients that never ask or never read.
//!
//! Run with: `cargo run --release --example http_stream`, then open <http://127.0.0.1:3000/?tags=piano,calm&seconds=20>

#[path = "http_stream/patient.rs"]
mod patient;

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Query,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use heartstream::{
    Heartstream, Sink, SongRequest,
    units::Seconds,
    wav::{SampleFormat, WavTarget},
};
use patient::PatientListener;
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// Songs at once. Each takes its share of the cores; further listeners are asked to come again.
const MOST_SONGS: usize = 4;
/// Connections at once, songs and others.
const MOST_CONNECTIONS: usize = 64;
/// The longest song.
const MOST_SECONDS: f64 = 240.0;
/// A listener that takes nothing for so long, or a client that sends no request, is disconnected.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Heartstream::builder(heartstream_demo::checkpoint()).build().await?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = PatientListener::new(TcpListener::bind(address).await?, MOST_CONNECTIONS, PATIENCE);
    println!("listening on http://{}", listener.address()?);
    Ok(axum::serve(listener, service(engine)).await?)
}

/// What is served: at `/` a song for each listener.
pub fn service(engine: Heartstream) -> Router {
    let songs = Arc::new(Semaphore::new(MOST_SONGS));
    let songs = get(move |Query(query): Query<HashMap<String, String>>| stream(engine.clone(), songs.clone(), query))
        // Without this, a HEAD is a GET whose song is thrown away.
        .head(|| async { StatusCode::METHOD_NOT_ALLOWED });
    Router::new().route("/", songs)
}

/// One song for one listener. A listener that is slow holds the song back; one that leaves ends it.
async fn stream(engine: Heartstream, songs: Arc<Semaphore>, query: HashMap<String, String>) -> Response {
    let Ok(permit) = songs.try_acquire_owned() else {
        let again = [(header::RETRY_AFTER, "30")];
        return (StatusCode::SERVICE_UNAVAILABLE, again, "all songs are taken: come again soon").into_response();
    };
    let text = |name: &str, default: &str| query.get(name).cloned().unwrap_or_else(|| default.to_owned());
    let mut request = SongRequest::new(text("tags", "piano,calm"), text("lyrics", "[Verse]\nThe window clears"));
    let seconds = text("seconds", "20").parse().unwrap_or(20.0);
    request.max_frames = Seconds(f64::min(seconds, MOST_SECONDS)).frames();
    let (bytes, body) = flume::bounded(8);
    let target = WavTarget::stream("the response", ToBody { bytes, _permit: permit }, SampleFormat::S16);
    match engine.sing_to(request, Sink::Wav(target)).await {
        Ok(song) => {
            tokio::spawn(song.finished());
            ([(header::CONTENT_TYPE, "audio/wav")], Body::from_stream(body.into_stream())).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

/// Where the song goes; dropped with the song, and with it the place that the song took.
struct ToBody {
    bytes: flume::Sender<io::Result<Vec<u8>>>,
    _permit: OwnedSemaphorePermit,
}

impl io::Write for ToBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The sink has a thread of its own, so it may wait here for the listener.
        self.bytes.send_timeout(Ok(bytes.to_vec()), PATIENCE).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
