//! Routes about the server: its page, its health, its model, its counters.

use std::sync::Arc;

use axum::{
    Json,
    extract::State as With,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use heartstream_formats::Format;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    app::App,
    body::Body,
    error::{ApiError, ErrorBody},
    guard::{cookie, is_encrypted},
    views::Options,
};

/// The page
pub(crate) async fn page(With(app): With<Arc<App>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY.as_str(), app.page.policy.as_str()),
        (header::CACHE_CONTROL.as_str(), "no-cache"),
    ];
    (headers, app.page.html.clone()).into_response()
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    status: &'static str,
    version: &'static str,
}

/// Whether the server answers
#[utoipa::path(get, path = "/healthz", tag = "server", responses((status = 200, description = "It does", body = Health)))]
pub(crate) async fn health() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Counters for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "server", responses(
    (status = 200, description = "Counters", content_type = "text/plain", body = String),
))]
pub(crate) async fn metrics(With(app): With<Arc<App>>) -> Response {
    let text = app.jukebox.metrics.text(app.jukebox.counts(), app.jukebox.places_elsewhere());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// A list in the shape of OpenAI's API.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Models {
    object: &'static str,
    data: Vec<Model>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Model {
    /// Its name.
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    /// A short name for the contents of its files.
    fingerprint: String,
    /// Formats that its songs can be ordered in.
    formats: Vec<&'static str>,
    /// The longest song of an order, in seconds.
    max_seconds: f64,
    /// The most takes of an order.
    max_takes: usize,
    /// Options of a song whose order leaves them out.
    defaults: Options,
}

/// The model that sings
#[utoipa::path(get, path = "/v1/models", tag = "server", responses((status = 200, description = "Models", body = Models)))]
pub(crate) async fn models(With(app): With<Arc<App>>) -> Json<Models> {
    let model = Model {
        id: app.model_name.clone(),
        object: "model",
        created: 0,
        owned_by: "heartstream",
        fingerprint: app.jukebox.engine.fingerprint().to_owned(),
        formats: Format::ALL.into_iter().filter(|format| format.check().is_ok()).map(Format::name).collect(),
        max_seconds: app.jukebox.limits.seconds,
        max_takes: app.jukebox.limits.takes,
        defaults: Options::of(&app.jukebox.engine.defaults().request("", "")),
    };
    Json(Models { object: "list", data: vec![model] })
}

/// Tags of one kind.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TagGroup {
    /// The kind.
    name: String,
    tags: Vec<String>,
}

/// Tags that the model is known to take
#[utoipa::path(get, path = "/v1/tags", tag = "server", responses((status = 200, description = "Tags", body = Vec<TagGroup>)))]
pub(crate) async fn tags(With(app): With<Arc<App>>) -> Json<Vec<TagGroup>> {
    let groups = app.tags.iter().flat_map(|known| known.groups.clone());
    Json(groups.map(|heartstream::words::TagGroup { name, tags }| TagGroup { name, tags }).collect())
}

/// What the page sends once, to be let in from then on.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Login {
    /// The server's token.
    token: String,
}

/// Trade the token for a cookie, for the page
#[utoipa::path(post, path = "/v1/session", request_body = Login, tag = "server", responses(
    (status = 204, description = "The cookie is set, or none is needed"),
    (status = 400, description = "No JSON", body = ErrorBody),
    (status = 401, description = "Another token", body = ErrorBody),
    (status = 415, description = "Another media type", body = ErrorBody),
    (status = 422, description = "No token in it", body = ErrorBody),
))]
pub(crate) async fn session(
    With(app): With<Arc<App>>,
    headers: HeaderMap,
    Body(Login { token }): Body<Login>,
) -> Result<Response, ApiError> {
    match &app.guard.token {
        None => Ok(StatusCode::NO_CONTENT.into_response()),
        Some(own) if own.is(&token) => {
            Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie(&token, is_encrypted(&headers)))]).into_response())
        }
        Some(_) => Err(ApiError::Token),
    }
}
