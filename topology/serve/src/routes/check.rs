//! Check of an order before it is given: what the model would see.

use std::sync::Arc;

use axum::{Json, extract::State as With};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    app::App,
    body::{Body, BodyRefusals},
    error::ApiError,
    forecast::{Length, SecondsPerLine},
    order::Order,
};

/// What the model would see of an order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Seen {
    /// Tokens of tags and words.
    tokens: usize,
    /// The longest that the song can be, in seconds.
    max_seconds: f64,
    /// How long it will probably be; none where no line is sung, or where nothing is known of the model's songs.
    length: Option<Length>,
    /// What the model will see otherwise than it was written, and tags that it does not know, in sentences.
    notes: Vec<String>,
}

/// Check words and options without ordering a song
#[utoipa::path(post, path = "/v1/check", request_body = Order, tag = "songs", responses(
    (status = 200, description = "The model can sing it", body = Seen),
    BodyRefusals,
))]
pub(crate) async fn check(With(app): With<Arc<App>>, Body(order): Body<Order>) -> Result<Json<Seen>, ApiError> {
    let checked = app.jukebox.checked(&order)?;
    let request = checked.requests.into_iter().next();
    let request = request.ok_or_else(|| ApiError::Internal("an order without songs".to_owned()))?;
    let engine = app.jukebox.engine.clone();
    let max_seconds = request.max_frames.seconds().0;
    let sung = app.jukebox.library.sung(engine.fingerprint().to_owned()).await?;
    let seconds_per_line = SecondsPerLine::of(&sung).or(app.seconds_per_line);
    let length = seconds_per_line.and_then(|seconds| seconds.length(&request.lyrics, max_seconds));
    let seen = move || Ok::<_, ApiError>((engine.prompt_positions(&request)?, engine.check(&request)?));
    let (tokens, notes) = tokio::task::spawn_blocking(seen).await??;
    Ok(Json(Seen { tokens, max_seconds, length, notes }))
}
