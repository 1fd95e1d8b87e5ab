//! Events of a song, as they happen (server-sent events).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Path, State as With},
    response::{IntoResponse, Response, Sse, sse},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::watch;

use crate::{
    app::App,
    error::{ApiError, ErrorBody},
    library_id::LibraryId,
    live_song::{State, Status},
};

use super::songs;

/// Between two reports of how far a song is. Each has all there is to know, so none is missed.
const BETWEEN_REPORTS: Duration = Duration::from_millis(100);
/// Between two signs of life, by which a proxy knows that the connection is in use.
pub(super) const SIGNS_OF_LIFE: Duration = Duration::from_secs(15);

/// Follow a song
///
/// The stream begins with `song` (all that is known of it) and ends with `done`, `cancelled`, `interrupted` or
/// `failed`. Between them come `queued` (the place), `writing`, `paused`, `first_sound`, and `progress` (frames, seconds
/// that can be heard).
#[utoipa::path(get, path = "/v1/songs/{id}/events", params(("id" = String, Path)), tag = "songs", responses(
    (status = 200, description = "Events", content_type = "text/event-stream"),
    (status = 404, description = "No such song", body = ErrorBody),
))]
pub(crate) async fn events(With(app): With<Arc<App>>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let id: LibraryId = id.parse()?;
    let live = app.jukebox.live(id);
    let view = songs::view(&app.jukebox, id).await?;
    let first = event("song", &view);
    let rest = match live {
        Some(song) => following(song.status.subscribe()).left_stream(),
        None => {
            let name = ending_name(view.state);
            stream::iter(vec![event(name, &view)]).right_stream()
        }
    };
    let events = stream::iter([first]).chain(rest).map(Ok::<_, Infallible>);
    Ok(Sse::new(events).keep_alive(sse::KeepAlive::new().interval(SIGNS_OF_LIFE)).into_response())
}

pub(super) fn event(name: &str, data: &impl serde::Serialize) -> sse::Event {
    let event = sse::Event::default().event(name);
    event.json_data(data).unwrap_or_else(|_| sse::Event::default().event(name))
}

/// The name of the last event of a song.
fn ending_name(state: State) -> &'static str {
    if state == State::Finished { "done" } else { state.name() }
}

struct Following {
    status: watch::Receiver<Status>,
    said: Option<Status>,
    over: bool,
}

/// Events of a live song to its end. What a slow reader misses is in the next report.
fn following(status: watch::Receiver<Status>) -> impl Stream<Item = sse::Event> + Send {
    let following = Following { status, said: None, over: false };
    let batches = stream::unfold(following, |mut following| async move {
        let batch = following.next().await?;
        Some((stream::iter(batch), following))
    });
    batches.flatten()
}

impl Following {
    async fn next(&mut self) -> Option<Vec<sse::Event>> {
        if self.over {
            return None;
        }
        if let Some(said) = &self.said {
            tokio::time::sleep(BETWEEN_REPORTS).await;
            let said = said.clone();
            if self.status.wait_for(|status| *status != said).await.is_err() {
                return None;
            }
        }
        let now = self.status.borrow_and_update().clone();
        let names = names(self.said.as_ref(), &now);
        self.over = now.state.is_over();
        let events = names.into_iter().map(|name| event(name, &now)).collect();
        self.said = Some(now);
        Some(events)
    }
}

/// What has happened from one status to the next.
pub(super) fn names(before: Option<&Status>, now: &Status) -> Vec<&'static str> {
    let mut names = Vec::new();
    let began = before.is_none_or(|before| before.state != now.state);
    let moved = before.is_none_or(|before| before.place != now.place);
    if !now.state.is_over() && (began || (now.state == State::Queued && moved)) {
        names.push(now.state.name());
    }
    if now.first_sound.is_some() && before.is_none_or(|before| before.first_sound.is_none()) {
        names.push("first_sound");
    }
    let further = |before: &Status| before.frames != now.frames || before.buffered != now.buffered;
    if before.is_some_and(further) {
        names.push("progress");
    }
    if now.state.is_over() {
        names.push(ending_name(now.state));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: State, place: Option<usize>, frames: u64, first_sound: Option<f64>) -> Status {
        Status { state, place, frames, buffered: frames as f64, first_sound, error: None, machine: None }
    }

    #[test]
    fn every_change_has_its_event_and_what_was_passed_over_is_told_at_once() {
        let waits = status(State::Queued, Some(1), 0, None);
        let next = status(State::Queued, Some(0), 0, None);
        let writes = status(State::Writing, None, 3, None);
        let sounds = status(State::Writing, None, 9, Some(0.4));
        let done = status(State::Finished, None, 20, Some(0.4));
        assert_eq!(names(None, &waits), ["queued"]);
        assert_eq!(names(Some(&waits), &next), ["queued"]);
        assert_eq!(names(Some(&next), &writes), ["writing", "progress"]);
        assert_eq!(names(Some(&writes), &sounds), ["first_sound", "progress"]);
        assert_eq!(names(Some(&sounds), &done), ["progress", "done"]);
        assert_eq!(names(Some(&waits), &done), ["first_sound", "progress", "done"]);
        assert_eq!(names(None, &status(State::Cancelled, None, 0, None)), ["cancelled"]);
    }
}
