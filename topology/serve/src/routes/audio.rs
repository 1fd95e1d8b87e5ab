//! Audio of a song: a stream while it is written, a file with byte ranges when it is over.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Query, State as With, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::fs::File;
use utoipa::{IntoParams, ToSchema};

use crate::{
    app::App,
    error::{ApiError, ErrorBody},
    growing_file,
    library::Row,
    library_id::LibraryId,
    live_song::{Listener, LiveSong},
};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Where a listener of a song that is being written begins.
    #[serde(default)]
    from: From,
    /// Whether a browser is to keep the file instead of playing it.
    #[serde(default)]
    download: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum From {
    /// With its first sound.
    #[default]
    Start,
    /// With the sound that comes next.
    Now,
}

/// Hear a song, also while it is written
#[utoipa::path(get, path = "/v1/songs/{id}/audio", params(("id" = String, Path), Wanted), tag = "songs", responses(
    (status = 200, description = "All of it, as far as it is written and then as it is written", content_type = "audio/*"),
    (status = 206, description = "A range of a finished song", content_type = "audio/*"),
    (status = 404, description = "No such song, or nothing of it was written", body = ErrorBody),
    (status = 416, description = "Nothing in the range", body = ErrorBody),
    (status = 422, description = "A parameter out of range", body = ErrorBody),
))]
pub(crate) async fn audio(
    With(app): With<Arc<App>>,
    Path(id): Path<String>,
    wanted: Result<Query<Wanted>, QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(wanted) = wanted.map_err(|error| ApiError::Refused(error.body_text()))?;
    let id: LibraryId = id.parse()?;
    if let Some(song) = app.jukebox.live(id) {
        // Who asks for the head alone does not listen, and ends no song by leaving.
        return Ok(if method == Method::HEAD {
            live_head(&song)
        } else {
            live(Listener::of(song), wanted.from == From::Now)
        });
    }
    let row = app.jukebox.library.row(id).await?;
    finished(&app, &row, &headers, wanted.download).await
}

/// A stream that ends with the song. Its length is not known.
pub(super) fn live(listener: Listener, from_now: bool) -> Response {
    let head = live_head(listener.song());
    let recording = listener.song().recording();
    // The listener lives as long as the body: it is dropped when the client leaves, or has heard all of it.
    let bytes = recording.listen(from_now).map(move |bytes| {
        let _ = &listener;
        bytes
    });
    head.map(|_| Body::from_stream(bytes))
}

fn live_head(song: &LiveSong) -> Response {
    let media_type = song.format.media_type();
    [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-store"), (header::ACCEPT_RANGES, "none")]
        .into_response()
}

async fn finished(app: &App, row: &Row, headers: &HeaderMap, download: bool) -> Result<Response, ApiError> {
    let (path, format) = app.jukebox.audio_of(row)?;
    let file = File::open(path).await.map_err(|_| ApiError::NoSong)?;
    let bytes = file.metadata().await?.len();
    // A file is written once, but for one that is resumed; then it has another length.
    let tag = format!("\"{}-{bytes}\"", row.id);
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let same = headers.get(header::IF_RANGE).is_none_or(|other| other.as_bytes() == tag.as_bytes());
    let range = match asked.filter(|_| same).map(|range| range_of(range, bytes)) {
        None | Some(Asked::All) => None,
        Some(Asked::Part(start, end)) => Some((start, end)),
        Some(Asked::Nothing) => return Err(ApiError::Range(bytes)),
    };
    let (start, end) = range.unwrap_or((0, bytes));
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, Body::from_stream(growing_file::part(file, start, end))).into_response();
    let own = response.headers_mut();
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            own.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, format.media_type().to_owned());
    set(header::CONTENT_LENGTH, (end - start).to_string());
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    set(header::CACHE_CONTROL, "private, no-cache".to_owned());
    set(header::ETAG, tag);
    if range.is_some() {
        set(header::CONTENT_RANGE, format!("bytes {start}-{}/{bytes}", end - 1));
    }
    if download {
        let name = file_name(&row.title);
        set(header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.{}\"", format.suffix()));
    }
    Ok(response)
}

/// What a `Range` header asks for of a file.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    /// From a byte to before another.
    Part(u64, u64),
    Nothing,
}

/// RFC 9110, section 14: one range of bytes. Several, or what cannot be read, may be passed over.
fn range_of(header: &str, bytes: u64) -> Asked {
    let Some(range) = header.strip_prefix("bytes=") else { return Asked::All };
    let Some((first, last)) = range.trim().split_once('-') else { return Asked::All };
    // Digits only: `parse` would take a sign.
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().unwrap_or(u64::MAX));
    let (start, end) = match (number(first), number(last)) {
        _ if first.is_empty() && last.is_empty() => return Asked::All,
        (Some(_), Some(count)) if first.is_empty() => (bytes.saturating_sub(count), bytes),
        (Some(start), Some(_)) if last.is_empty() => (start, bytes),
        (Some(start), Some(last)) if last >= start => (start, last.saturating_add(1).min(bytes)),
        _ => return Asked::All,
    };
    if start < end { Asked::Part(start, end) } else { Asked::Nothing }
}

/// A title as the name of a file, for any system.
fn file_name(title: &str) -> String {
    let letters = title.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { ' ' });
    let words = letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join("-");
    if words.is_empty() { "song".to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_of_bytes_is_understood_and_anything_else_is_all_of_it() {
        for (header, expected) in [
            ("bytes=0-", Asked::Part(0, 100)),
            ("bytes=10-19", Asked::Part(10, 20)),
            ("bytes=10-1000", Asked::Part(10, 100)),
            ("bytes=-30", Asked::Part(70, 100)),
            ("bytes=-1000", Asked::Part(0, 100)),
            ("bytes=99-99", Asked::Part(99, 100)),
            ("bytes=5-18446744073709551615", Asked::Part(5, 100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=-", Asked::All),
            ("bytes=5-2", Asked::All),
            ("bytes=+5-", Asked::All),
            ("bytes=0-1,5-6", Asked::All),
            ("lines=0-1", Asked::All),
            ("bytes=a-b", Asked::All),
        ] {
            assert_eq!(range_of(header, 100), expected, "{header}");
        }
        assert_eq!(range_of("bytes=0-", 0), Asked::Nothing);
    }

    #[test]
    fn the_name_of_a_download_has_no_signs() {
        assert_eq!(file_name("../../\"; rm -rf *\r\nété"), "rm-rf-t");
        assert_eq!(file_name("¡!"), "song");
    }
}
