//! Shows: the engine behind an HTTP handler that streams each song as a WAV while it is written.
//!
//! Run with: `cargo run --release --example http_stream`, then open <http://127.0.0.1:3000/?tags=piano,calm&seconds=20>

use std::{collections::HashMap, io};

use axum::{Router, body::Body, extract::Query, http::header, response::IntoResponse, routing::get};
use heartstream::{Heartstream, SampleFormat, Sink, SongRequest, WavTarget, units::Seconds};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Heartstream::builder().build().await?;
    let songs = get(move |Query(query): Query<HashMap<String, String>>| stream(engine.clone(), query));
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, Router::new().route("/", songs)).await?)
}

/// One song for one listener. Who listens slowly holds the song back; who leaves ends it.
async fn stream(engine: Heartstream, query: HashMap<String, String>) -> impl IntoResponse {
    let text = |name: &str, default: &str| query.get(name).cloned().unwrap_or_else(|| default.to_owned());
    let mut request = SongRequest::new(text("tags", "piano,calm"), text("lyrics", "[Verse]\nThe window clears"));
    request.max_frames = Seconds(text("seconds", "20").parse().unwrap_or(20.0)).frames();
    let (bytes, body) = flume::bounded(8);
    let target = WavTarget::stream("the response", ToBody(bytes), SampleFormat::S16);
    match engine.sing_to(request, Sink::Wav(target)).await {
        Ok(song) => {
            tokio::spawn(song.finished());
            ([(header::CONTENT_TYPE, "audio/wav")], Body::from_stream(body.into_stream())).into_response()
        }
        Err(error) => (axum::http::StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

struct ToBody(flume::Sender<io::Result<Vec<u8>>>);

impl io::Write for ToBody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The sink has a thread of its own, so it may wait here for the listener.
        self.0.send(Ok(bytes.to_vec())).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
