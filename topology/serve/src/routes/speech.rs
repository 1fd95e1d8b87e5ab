//! Songs for clients of OpenAI's speech endpoint, which take a song for speech.

use std::sync::Arc;

use axum::{extract::State as With, response::Response};
use heartstream::FirstWindow;
use serde::Deserialize;
use utoipa::ToSchema;

use super::audio;
use crate::{
    app::App,
    body::{Body, BodyRefusals},
    client::Client,
    error::{ApiError, ErrorBody},
    order::Order,
    whole_number::whole_number,
};

/// A song in the shape of OpenAI's `audio.speech.create`. Fields that mean nothing for a song are passed over.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Speech {
    /// What is sung.
    #[schema(example = "[Verse]\nThe window clears", min_length = 1, pattern = "\\S")]
    input: String,
    /// What it should sound like.
    #[schema(example = "piano,calm")]
    instructions: Option<String>,
    /// `wav`, `flac`, `opus` or `mp3`; here `wav` where nothing is said.
    response_format: Option<String>,
    /// A tag where there are no instructions and the model is known to take it; passed over otherwise.
    voice: Option<String>,
    /// The seed.
    #[serde(default, deserialize_with = "whole_number")]
    seed: Option<u64>,
    /// The longest song, in seconds.
    #[schema(minimum = 0.08, maximum = 240.0)]
    seconds: Option<f64>,
}

/// Hear a song with a client of OpenAI's API
///
/// It is streamed while it is written, and ends when the client leaves.
#[utoipa::path(post, path = "/v1/audio/speech", request_body = Speech, tag = "openai", responses(
    (status = 200, description = "The song", content_type = "audio/*"),
    BodyRefusals,
    (status = 429, description = "No place in the queue", body = ErrorBody),
))]
pub(crate) async fn speech(
    With(app): With<Arc<App>>,
    Client(client): Client,
    Body(speech): Body<Speech>,
) -> Result<Response, ApiError> {
    let Speech { input, instructions, response_format, voice, seed, seconds } = speech;
    let order = Order {
        tags: instructions.or(voice.filter(|voice| app.knows_tag(voice))).unwrap_or_default(),
        lyrics: input,
        seed,
        seconds,
        first_window: Some(FirstWindow::USUAL.0),
        format: response_format,
        while_listened: true,
        ..Order::default()
    };
    let listener = app.jukebox.order_and_listen(app.jukebox.checked(&order)?, &client).await?;
    Ok(audio::live(listener, false))
}
