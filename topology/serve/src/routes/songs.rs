//! Songs: ordered, shown, paused, resumed, ended.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State as With},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    app::App,
    body::{Body, BodyRefusals},
    client::Client,
    error::{ApiError, ErrorBody},
    jukebox::Jukebox,
    library::Row,
    library_id::LibraryId,
    live_song::{End, LiveSong, State},
    order::Order,
    views::{Ordered, SongView},
};

/// Order a song, or several takes of it
#[utoipa::path(post, path = "/v1/songs", request_body = Order, tag = "songs", responses(
    (status = 201, description = "Ordered", body = Ordered),
    BodyRefusals,
    (status = 429, description = "No place in the queue", body = ErrorBody),
))]
pub(crate) async fn order(
    With(app): With<Arc<App>>,
    Client(client): Client,
    Body(order): Body<Order>,
) -> Result<Response, ApiError> {
    let checked = app.jukebox.checked(&order)?;
    let songs = app.jukebox.order(checked, &client).await?;
    let mut views = Vec::new();
    for song in &songs {
        views.push(view_of(&app.jukebox, song).await?);
    }
    let first = views.first().ok_or_else(|| ApiError::Internal("an order without songs".to_owned()))?;
    let place = HeaderValue::try_from(format!("/v1/songs/{}", first.id));
    let ordered = Ordered { id: first.id.clone(), place: first.place, songs: views };
    let mut response = (StatusCode::CREATED, Json(ordered)).into_response();
    if let Ok(place) = place {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// Show a song
#[utoipa::path(get, path = "/v1/songs/{id}", params(("id" = String, Path)), tag = "songs", responses(
    (status = 200, description = "The song", body = SongView),
    (status = 404, description = "No such song", body = ErrorBody),
))]
pub(crate) async fn show(With(app): With<Arc<App>>, Path(id): Path<String>) -> Result<Json<SongView>, ApiError> {
    view(&app.jukebox, id.parse()?).await.map(Json)
}

/// End a song that waits or is written; remove one that is over
#[utoipa::path(delete, path = "/v1/songs/{id}", params(("id" = String, Path)), tag = "songs", responses(
    (status = 202, description = "It ends within a frame"),
    (status = 204, description = "It was over, and is removed with its files"),
    (status = 404, description = "No such song", body = ErrorBody),
))]
pub(crate) async fn end(With(app): With<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id: LibraryId = id.parse()?;
    if let Some(song) = app.jukebox.live(id) {
        app.jukebox.end(&song, End::Cancelled).await?;
        return Ok(StatusCode::ACCEPTED);
    }
    app.jukebox.library.row(id).await?;
    app.jukebox.library.remove(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hold a song
#[utoipa::path(post, path = "/v1/songs/{id}/pause", params(("id" = String, Path)), tag = "songs", responses(
    (status = 202, description = "No further frame is written"),
    (status = 404, description = "No such song", body = ErrorBody),
    (status = 409, description = "It is over", body = ErrorBody),
))]
pub(crate) async fn pause(With(app): With<Arc<App>>, Path(id): Path<String>) -> Result<StatusCode, ApiError> {
    let id: LibraryId = id.parse()?;
    match app.jukebox.live(id) {
        Some(song) => Ok(set_paused(&song, true)),
        None => Err(over(&app.jukebox.library.row(id).await?)),
    }
}

/// Go on with a song that is held, or that was interrupted by the end of the server
#[utoipa::path(post, path = "/v1/songs/{id}/resume", params(("id" = String, Path)), tag = "songs", responses(
    (status = 202, description = "It goes on"),
    (status = 404, description = "No such song", body = ErrorBody),
    (status = 409, description = "It is over, or another model wrote it", body = ErrorBody),
    (status = 429, description = "No place in the queue", body = ErrorBody),
))]
pub(crate) async fn resume(
    With(app): With<Arc<App>>,
    Client(client): Client,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let id: LibraryId = id.parse()?;
    if let Some(song) = app.jukebox.live(id) {
        return Ok(set_paused(&song, false));
    }
    let row = app.jukebox.library.row(id).await?;
    if row.ending.state != State::Interrupted {
        return Err(over(&row));
    }
    app.jukebox.resume(&row, &client).await?;
    Ok(StatusCode::ACCEPTED)
}

fn set_paused(song: &LiveSong, paused: bool) -> StatusCode {
    song.wish.send_modify(|wish| wish.paused = paused);
    StatusCode::ACCEPTED
}

fn over(row: &Row) -> ApiError {
    let state = row.ending.state.name();
    ApiError::Conflict(format!("the song is {state}. Order it again with its seed to hear it written"))
}

/// What is known about a song, wherever it is.
pub(super) async fn view(jukebox: &Jukebox, id: LibraryId) -> Result<SongView, ApiError> {
    // Live first: what ends in between is in the library when it is no longer live.
    match jukebox.live(id) {
        Some(song) => view_of(jukebox, &song).await,
        None => Ok(SongView::new(jukebox.library.row(id).await?, None)),
    }
}

async fn view_of(jukebox: &Jukebox, song: &LiveSong) -> Result<SongView, ApiError> {
    let row = jukebox.library.row(song.id).await?;
    let status = song.status.borrow().clone();
    // Once the index says that it is over, it knows more.
    Ok(SongView::new(row.clone(), Some(&status).filter(|_| !row.ending.state.is_over())))
}
