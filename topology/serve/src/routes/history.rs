//! History: the songs of the library, searched.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State as With, rejection::QueryRejection},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    app::App,
    error::{ApiError, ErrorBody},
    library::Search,
    live_song::State,
    views::{History, SongView},
};

/// Songs in a page of the history where nothing is said.
const USUAL: u32 = 50;
/// The most songs in a page.
const MOST: u32 = 200;
/// The most songs that can be left out: what the document's integers of 32 bits hold.
const MOST_BEFORE: u32 = i32::MAX as u32;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Question {
    /// Words, each of which is in title, tags or lyrics, or is the seed.
    #[serde(default)]
    q: String,
    /// Songs of this state only.
    state: Option<State>,
    /// Songs in the answer.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// Songs to leave out before.
    #[param(minimum = 0, maximum = 2147483647)]
    offset: Option<u32>,
}

/// List songs, the latest first
#[utoipa::path(get, path = "/v1/songs", params(Question), tag = "songs", responses(
    (status = 200, description = "Songs", body = History),
    (status = 422, description = "Out of range", body = ErrorBody),
))]
pub(crate) async fn list(
    With(app): With<Arc<App>>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<History>, ApiError> {
    let Query(Question { q, state, limit, offset }) = question.map_err(|error| ApiError::Refused(error.body_text()))?;
    let limit = limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::Refused(format!("limit must be from 1 to {MOST}, but is {limit}")));
    }
    let offset = offset.unwrap_or(0);
    if offset > MOST_BEFORE {
        return Err(ApiError::Refused(format!("offset must be at most {MOST_BEFORE}, but is {offset}")));
    }
    let search = Search { text: q.chars().take(200).collect(), state, limit, offset };
    let (rows, count) = app.jukebox.library.search(search).await?;
    let songs = rows.into_iter().map(|row| {
        let live = app.jukebox.live(row.id).map(|song| song.status.borrow().clone());
        let over = row.ending.state.is_over();
        SongView::new(row, live.as_ref().filter(|_| !over))
    });
    let (waiting, writing) = app.jukebox.counts();
    Ok(Json(History { count, writing, waiting, songs: songs.collect() }))
}
