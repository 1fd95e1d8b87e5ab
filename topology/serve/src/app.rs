//! Application: what every answer is made from, and which address leads where.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use heartstream::words::KnownTags;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use crate::{
    error::ApiError,
    forecast::SecondsPerLine,
    guard::{self, Guard},
    jukebox::Jukebox,
    page::Page,
    routes::{all_events, audio, check, events, history, info, openapi, songs, speech},
};

/// What every answer is made from.
pub(crate) struct App {
    pub jukebox: Arc<Jukebox>,
    pub guard: Guard,
    pub page: Page,
    pub model_name: String,
    pub tags: Option<KnownTags>,
    /// What the model's card says.
    pub seconds_per_line: Option<SecondsPerLine>,
}

impl App {
    /// Whether the model is known to take a tag.
    pub fn knows_tag(&self, tag: &str) -> bool {
        self.tags.iter().flat_map(KnownTags::all).any(|known| known == tag)
    }
}

/// Which address leads where.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (body, body_time) = (app.jukebox.limits.body, app.jukebox.limits.body_time);
    Router::new()
        .route("/", get(info::page))
        .route("/healthz", get(info::health))
        .route("/metrics", get(info::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/session", post(info::session))
        .route("/v1/models", get(info::models))
        .route("/v1/tags", get(info::tags))
        .route("/v1/check", post(check::check))
        .route("/v1/events", get(all_events::all_events))
        .route("/v1/songs", get(history::list).post(songs::order))
        .route("/v1/songs/{id}", get(songs::show).delete(songs::end))
        .route("/v1/songs/{id}/pause", post(songs::pause))
        .route("/v1/songs/{id}/resume", post(songs::resume))
        .route("/v1/songs/{id}/audio", get(audio::audio))
        .route("/v1/songs/{id}/events", get(events::events))
        .route("/v1/audio/speech", post(speech::speech))
        .fallback(async || ApiError::NoPlace)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), guard::guard))
        // Until the head of an answer is there; a stream may then take as long as it takes.
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, body_time))
        .layer(DefaultBodyLimit::max(body))
        .layer(CatchPanicLayer::new())
        .with_state(app)
}
