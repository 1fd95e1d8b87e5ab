//! Shows: an axum handler that streams a song as a WAV, and cancels it when the client leaves, also before its first sound.
//!
//! Run with: `cargo run --release --example axum_wav`, then `curl -N http://127.0.0.1:3000/?tags=piano | aplay`. For what a
//! server on a network needs beside that, see the example `http_stream`.

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use heartstream::{Heartstream, SongRequest, wav::SampleFormat};

/// What a client may ask for.
#[allow(dead_code)] // a test has `answer` alone
#[derive(serde::Deserialize)]
struct Words {
    #[serde(default)]
    tags: String,
    #[serde(default = "Words::lyrics")]
    lyrics: String,
}

impl Words {
    fn lyrics() -> String {
        "[Verse]\nThe window clears".to_owned()
    }
}

#[allow(dead_code)] // a test has `answer` alone
async fn handle(State(engine): State<Heartstream>, Query(words): Query<Words>) -> Response {
    answer(&engine, SongRequest::new(words.tags, words.lyrics)).await
}

/// The song that is asked for. When the client leaves, axum drops the body, and that cancels the song.
pub async fn answer(engine: &Heartstream, request: SongRequest) -> Response {
    match engine.sing(request).await {
        Ok(song) => {
            let body = Body::from_stream(song.into_wav(SampleFormat::S16));
            ([(CONTENT_TYPE, "audio/wav")], body).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

#[allow(dead_code)] // a test has the rest of this file without it
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Heartstream::builder(heartstream_demo::checkpoint()).build().await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, Router::new().route("/", get(handle)).with_state(engine)).await?)
}
