//! The OpenAPI document.

use std::sync::Arc;

use axum::{
    extract::State as With,
    http::header,
    response::{IntoResponse, Response},
};
use heartstream_formats::Format;
use serde_json::json;
use utoipa::OpenApi;

use super::{all_events, audio, check, events, history, info, songs, speech};
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
        all_events::all_events,
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

/// The document of a server with these limits, and of a program with its formats.
fn text(limits: &Limits) -> String {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    let formats: Vec<&str> =
        Format::ALL.into_iter().filter(|format| format.check().is_ok()).map(Format::name).collect();
    let formats = json!(format!("^({})$", formats.join("|")));
    for name in ["Order", "Speech"] {
        for (property, rule, value) in [
            ("seconds", "maximum", json!(limits.seconds)),
            ("seed", "maximum", json!(u64::MAX)),
            ("top_k", "maximum", json!(usize::MAX)),
            ("takes", "maximum", json!(limits.takes)),
            ("flow_steps", "maximum", json!(limits.flow_steps)),
            ("format", "pattern", formats.clone()),
            ("response_format", "pattern", formats.clone()),
        ] {
            if let Some(found) = document.pointer_mut(&format!("/components/schemas/{name}/properties/{property}")) {
                found[rule] = value;
            }
        }
    }
    document.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formats_are_those_that_this_program_writes() {
        let document: serde_json::Value = serde_json::from_str(&text(&Limits::default())).unwrap();
        for (name, property) in [("Order", "format"), ("Speech", "response_format")] {
            let pattern = document["components"]["schemas"][name]["properties"][property]["pattern"].as_str().unwrap();
            let named: Vec<&str> = pattern.trim_start_matches("^(").trim_end_matches(")$").split('|').collect();
            assert_eq!(named.contains(&"mp3"), Format::Mp3.check().is_ok(), "{pattern}");
            assert!(named.iter().all(|name| name.parse::<Format>().is_ok_and(|format| format.check().is_ok())));
        }
    }

    #[test]
    fn the_longest_song_is_the_servers_and_every_reference_leads_somewhere() {
        let text = text(&Limits { seconds: 17.5, ..Limits::default() });
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        for name in ["Order", "Speech"] {
            let seconds = &document["components"]["schemas"][name]["properties"]["seconds"];
            assert_eq!((&seconds["maximum"], &seconds["minimum"]), (&json!(17.5), &json!(0.08)), "{name}");
        }
        let order = &document["components"]["schemas"]["Order"]["properties"];
        let limits = Limits::default();
        assert_eq!(
            (&order["takes"]["maximum"], &order["flow_steps"]["maximum"]),
            (&json!(limits.takes), &json!(limits.flow_steps))
        );
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }
}
