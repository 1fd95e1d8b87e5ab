//! Events of all songs in one stream: a browser opens few connections to a server, and a page shows many songs.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State as With,
    response::{IntoResponse, Response, Sse, sse},
};
use futures_util::{Stream, StreamExt, stream};
use serde::Serialize;

use super::{
    events::{SIGNS_OF_LIFE, event, names},
    songs,
};
use crate::{
    app::App,
    library_id::LibraryId,
    live_song::{LiveSong, Status},
};

/// Between two looks at the songs that wait or are written.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

/// Follow all songs
///
/// The events of each song that waits or is written, as in the stream of one, with its `id` in each; songs that are
/// ordered later join. The stream ends with the server.
#[utoipa::path(get, path = "/v1/events", tag = "songs", responses(
    (status = 200, description = "Events", content_type = "text/event-stream"),
))]
pub(crate) async fn all_events(With(app): With<Arc<App>>) -> Response {
    let events = following_all(app).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(sse::KeepAlive::new().interval(SIGNS_OF_LIFE)).into_response()
}

/// What an event says, and of which song.
#[derive(Serialize)]
struct OfSong<'a> {
    id: String,
    #[serde(flatten)]
    status: &'a Status,
}

#[derive(Default)]
struct FollowingAll {
    /// The songs that are not over yet, and what was last said of each.
    said: HashMap<LibraryId, (Arc<LiveSong>, Option<Status>)>,
}

fn following_all(app: Arc<App>) -> impl Stream<Item = sse::Event> + Send {
    let batches = stream::unfold((app, FollowingAll::default(), true), |(app, mut following, first)| async move {
        if !first {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        let batch = following.look(&app).await;
        let over = batch.is_empty() && app.jukebox.is_closed();
        (!over).then_some((stream::iter(batch), (app, following, false)))
    });
    batches.flatten()
}

impl FollowingAll {
    /// What has happened since the last look.
    async fn look(&mut self, app: &App) -> Vec<sse::Event> {
        let mut events = Vec::new();
        for song in app.jukebox.all_live() {
            if self.said.contains_key(&song.id) {
                continue;
            }
            // Where the library cannot be read, the next look tries again.
            let Ok(view) = songs::view(&app.jukebox, song.id).await else { continue };
            events.push(event("song", &view));
            self.said.insert(song.id, (song, None));
        }
        self.said.retain(|id, (song, said)| {
            let now = song.status.borrow().clone();
            if said.as_ref() != Some(&now) {
                let of_song = OfSong { id: id.to_string(), status: &now };
                events.extend(names(said.as_ref(), &now).into_iter().map(|name| event(name, &of_song)));
                *said = Some(now.clone());
            }
            !now.state.is_over()
        });
        events
    }
}
