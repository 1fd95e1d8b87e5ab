//! The OpenAPI document.

use std::sync::Arc;

use axum::{
    extract::State as With,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;
use utoipa::OpenApi;

use super::{audio, check, events, history, info, songs, speech};
use crate::{app::App, options::Limits};

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
    ),
    components(schemas(audio::From))
)]
struct Document;

/// The document, as JSON.
pub(crate) async fn document(With(app): With<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text(&app.jukebox.limits)).into_response()
}

/// The document of a server with these limits.
fn text(limits: &Limits) -> String {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    for name in ["Order", "Speech"] {
        let most = [("seconds", json!(limits.seconds)), ("seed", json!(u64::MAX))];
        for (property, most) in most {
            if let Some(found) = document.pointer_mut(&format!("/components/schemas/{name}/properties/{property}")) {
                found["maximum"] = most;
            }
        }
    }
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_song_is_the_servers_and_every_reference_leads_somewhere() {
        let text = text(&Limits { seconds: 17.5, ..Limits::default() });
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for name in ["Order", "Speech"] {
            let seconds = &document["components"]["schemas"][name]["properties"]["seconds"];
            assert_eq!((&seconds["maximum"], &seconds["minimum"]), (&json!(17.5), &json!(0.08)), "{name}");
        }
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
