//! The OpenAPI document.

use std::sync::LazyLock;

use axum::{
    body::Bytes,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::OpenApi;

use super::{audio, check, events, history, info, songs, speech};

#[derive(OpenApi)]
#[openapi(
    info(title = "heartstream", description = "Songs that are heard while they are written."),
    paths(
        songs::order,
        history::list,
        songs::show,
        songs::end,
        songs::pause,
        songs::resume,
        audio::audio,
        events::events,
        check::check,
        speech::speech,
        info::health,
        info::metrics,
        info::models,
        info::tags,
        info::session,
    )
)]
struct Document;

/// The document, as JSON.
pub(crate) async fn document() -> Response {
    static JSON: LazyLock<Bytes> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default().into());
    ([(header::CONTENT_TYPE, "application/json")], JSON.clone()).into_response()
}
