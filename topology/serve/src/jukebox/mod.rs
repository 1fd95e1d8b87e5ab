//! Jukebox: takes orders, gives each song its turn, and lets clients pause and end them.

mod places;
mod queue;
mod song_task;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use heartstream::{Heartstream, SongRequest, plan::SongWorkers};
use heartstream_formats::Format;
use tokio::sync::Notify;

use crate::{
    error::ApiError,
    library::{Ending, Library, Row},
    library_id::LibraryId,
    live_song::{End, Listener, LiveSong, NewSong, State},
    metrics::Metrics,
    options::Limits,
    order::{Checked, Order},
};
use queue::Queue;

/// How long the songs that are written have to end when the server does.
const FAREWELL: Duration = Duration::from_secs(10);

/// Everything that is needed to make songs.
pub(crate) struct Jukebox {
    pub engine: Heartstream,
    pub library: Library,
    pub metrics: Metrics,
    pub limits: Limits,
    /// Gain of the model's card in decibels, where songs are levelled.
    pub gain: Option<f64>,
    /// Machines that make songs beside this one.
    elsewhere: Option<SongWorkers>,
    queue: Mutex<Queue>,
    /// A song has ended.
    ended: Notify,
    /// A place on this machine is free.
    freed: Notify,
}

impl Jukebox {
    pub fn new(engine: Heartstream, library: Library, limits: Limits, gain: Option<f64>) -> Arc<Self> {
        // What the model does by default a client may ask for, too: a song is ordered again with all of its options.
        let limits = Limits { flow_steps: limits.flow_steps.max(engine.defaults().flow.steps), ..limits };
        let elsewhere = engine.song_workers();
        let (queue, ended, freed) = (Mutex::default(), Notify::new(), Notify::new());
        let metrics = Metrics::default();
        let jukebox = Arc::new(Self { engine, library, metrics, limits, gain, elsewhere, queue, ended, freed });
        if let Some(workers) = &jukebox.elsewhere {
            let (mut changes, jukebox) = (workers.changes(), Arc::downgrade(&jukebox));
            tokio::spawn(async move {
                while changes.changed().await.is_ok() {
                    let Some(jukebox) = jukebox.upgrade() else { return };
                    jukebox.start_waiting();
                }
            });
        }
        jukebox
    }

    /// The songs that an order means, with the model's defaults where it leaves something out.
    pub fn checked(&self, order: &Order) -> Result<Checked, ApiError> {
        order.check(&self.limits, &self.engine.defaults())
    }

    /// Takes the songs of an order, all of them or none.
    pub async fn order(self: &Arc<Self>, order: Checked, client: &str) -> Result<Vec<Arc<LiveSong>>, ApiError> {
        self.order_and(order, client, |songs| songs).await
    }

    /// Takes an order whose client listens to its first song from now on: where it has left before the song has its
    /// place, it has left the song.
    pub async fn order_and_listen(self: &Arc<Self>, order: Checked, client: &str) -> Result<Listener, ApiError> {
        let listened = self.order_and(order, client, |songs| songs.into_iter().next().map(Listener::of)).await?;
        listened.ok_or_else(|| ApiError::Internal("an order without songs".to_owned()))
    }

    async fn order_and<T: Send + 'static>(
        self: &Arc<Self>,
        order: Checked,
        client: &str,
        placed: impl FnOnce(Vec<Arc<LiveSong>>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let Checked { requests, format, while_listened } = order;
        let engine = self.engine.clone();
        let first = requests.first().cloned().ok_or_else(|| ApiError::Internal("an order without songs".to_owned()))?;
        // All takes have the same words. Tokenizing them computes, so not here.
        tokio::task::spawn_blocking(move || engine.check(&first)).await??;
        let songs: Vec<Arc<LiveSong>> = requests
            .into_iter()
            .map(|request| self.song(LibraryId::new()?, request, format, client, while_listened, false))
            .collect::<Result<_, ApiError>>()?;
        let (first, created) = (songs.first().map(|song| song.id), now());
        let rows = songs
            .iter()
            .map(|song| row(song, created, first.filter(|first| *first != song.id)))
            .collect::<Result<_, ApiError>>()?;
        let jukebox = Arc::clone(self);
        self.enqueue(songs, client, async move { jukebox.library.add(rows).await }, placed).await
    }

    /// Resumes an interrupted song.
    pub async fn resume(self: &Arc<Self>, row: &Row, client: &str) -> Result<Arc<LiveSong>, ApiError> {
        if row.model != self.engine.fingerprint() {
            return Err(ApiError::Conflict(format!(
                "the model {} wrote this song, and this server has {}. Start it with that model",
                row.model,
                self.engine.fingerprint()
            )));
        }
        let unreadable = |error: &dyn std::fmt::Display| ApiError::Internal(format!("its entry in the index: {error}"));
        let request: SongRequest = serde_json::from_str(&row.request).map_err(|error| unreadable(&error))?;
        let format: Format = row.format.parse().map_err(|error| unreadable(&error))?;
        let song = self.song(row.id, request, format, client, false, true)?;
        let (jukebox, id) = (Arc::clone(self), row.id);
        let queued = async move { jukebox.library.set_state(id, State::Queued).await };
        let queued = self.enqueue(vec![song], client, queued, |songs| songs).await?;
        queued.into_iter().next().ok_or_else(|| ApiError::Internal("a song without a place".to_owned()))
    }

    /// Gives songs their places, once the library has `noted` them, and the songs to `placed`. All but the first moment of
    /// it is a task of its own: the future of a request is dropped when its client leaves, and would leave places taken.
    async fn enqueue<T: Send + 'static>(
        self: &Arc<Self>,
        songs: Vec<Arc<LiveSong>>,
        client: &str,
        noted: impl Future<Output = Result<(), ApiError>> + Send + 'static,
        placed: impl FnOnce(Vec<Arc<LiveSong>>) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.lock().promise(client, songs.len(), &self.limits, self.places_elsewhere())?;
        let (jukebox, client) = (Arc::clone(self), client.to_owned());
        let placing = async move {
            let noted = noted.await;
            let mut queue = jukebox.lock();
            queue.settle(&client, songs.len());
            noted?;
            let mut with_places = Vec::with_capacity(songs.len());
            for song in songs {
                let already = queue.live(song.id); // where two clients resume it at once
                if already.is_none() {
                    queue.join(Arc::clone(&song));
                }
                with_places.push(already.unwrap_or(song));
            }
            drop(queue);
            let placed = placed(with_places);
            jukebox.start_waiting();
            Ok(placed)
        };
        tokio::spawn(placing).await?
    }

    fn song(
        &self,
        id: LibraryId,
        request: SongRequest,
        format: Format,
        client: &str,
        while_listened: bool,
        resumed: bool,
    ) -> Result<Arc<LiveSong>, ApiError> {
        let (client, files) = (client.to_owned(), self.library.files(id));
        let new = NewSong { id, request, format, client, files, resumed, while_listened };
        Ok(LiveSong::new(new, self.engine.fingerprint())?)
    }

    /// A song that waits or is written.
    pub fn live(&self, id: LibraryId) -> Option<Arc<LiveSong>> {
        self.lock().live(id)
    }

    /// Whether no song will come any more.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed()
    }

    /// The songs that wait or are written.
    pub fn all_live(&self) -> Vec<Arc<LiveSong>> {
        self.lock().all_live()
    }

    /// Songs that wait, and songs that are written.
    pub fn counts(&self) -> (usize, usize) {
        self.lock().counts()
    }

    /// Ends a song, whether it waits or is written.
    pub async fn end(self: &Arc<Self>, song: &Arc<LiveSong>, end: End) -> Result<(), ApiError> {
        song.end(end);
        let Some(song) = self.lock().leave(song.id) else { return Ok(()) };
        let jukebox = Arc::clone(self);
        // A task of its own, as in `enqueue`.
        tokio::spawn(async move { jukebox.over(&song, song_task::unplayed(end), || ()).await }).await?
    }

    /// Ends all songs so that they can be resumed, and waits for it.
    pub async fn close(self: &Arc<Self>) {
        let songs = self.lock().close();
        for song in songs {
            if let Err(error) = self.end(&song, End::Interrupted).await {
                tracing::error!("the song {} was not noted as interrupted: {error}", song.id);
            }
        }
        let all = async {
            loop {
                let ended = self.ended.notified();
                if self.lock().is_empty() {
                    return;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("a song did not end in time; the next start finds it interrupted");
        }
    }

    /// Gives their turn to as many songs as may be written at once.
    fn start_waiting(self: &Arc<Self>) {
        while let Some((song, place)) = self.next() {
            let jukebox = Arc::clone(self);
            tokio::spawn(async move {
                let ending = song_task::perform(&jukebox, &song, place).await;
                let free = || jukebox.lock().ended();
                if let Err(error) = jukebox.over(&song, ending, free).await {
                    tracing::error!("the end of the song {} was not noted: {error}", song.id);
                }
                jukebox.start_waiting();
            });
        }
    }

    /// Notes what became of a song and tells its listeners. From then on the library has it.
    async fn over(&self, song: &LiveSong, ending: Ending, free: impl FnOnce()) -> Result<(), ApiError> {
        let (state, error) = (ending.state, ending.error.clone());
        let noted = self.library.update(song.id, ending).await;
        self.metrics.ended(state);
        self.lock().forget(song.id);
        free();
        song.set(|status| (status.state, status.place, status.error) = (state, None, error));
        song.grown.send_modify(|grown| grown.over = true);
        self.ended.notify_waiters();
        noted
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the audio of a song is, and in which format.
    pub fn audio_of(&self, row: &Row) -> Result<(PathBuf, Format), ApiError> {
        let format: Format = row.format.parse().map_err(|error| ApiError::Internal(format!("the index: {error}")))?;
        Ok((self.library.files(row.id).audio(format), format))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The entry of a song that waits.
fn row(song: &LiveSong, created: f64, take_of: Option<LibraryId>) -> Result<Row, ApiError> {
    let request = serde_json::to_string(&song.request).map_err(|error| ApiError::Internal(error.to_string()))?;
    Ok(Row {
        id: song.id,
        created,
        request,
        format: song.format.name().to_owned(),
        title: song.metadata.title.clone(),
        tags: song.request.tags.clone(),
        lyrics: song.request.lyrics.clone(),
        seed: song.request.seed.to_string(),
        model: song.metadata.model.clone(),
        take_of,
        ending: Ending::default(),
    })
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll, time::Duration};

    use heartstream_tools::synth;

    use super::*;

    /// A promise that is not settled by then is kept for ever.
    const HANGS: Duration = Duration::from_secs(60);

    #[tokio::test(flavor = "multi_thread")]
    async fn a_listener_who_leaves_while_the_order_is_noted_has_left_the_song() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Heartstream::builder(synth::noise()).build().await.unwrap();
        let jukebox = Jukebox::new(engine, Library::open(folder.path()).unwrap(), Limits::default(), None);
        let order = r#"{"lyrics":"la","seconds":240,"while_listened":true}"#;
        let order = serde_json::from_str::<Order>(order).unwrap();
        let order = jukebox.checked(&order).unwrap();
        let mut ordering = Box::pin(jukebox.order_and_listen(order, "a client"));
        poll_fn(|context| {
            let answered = ordering.as_mut().poll(context).is_ready();
            if answered || jukebox.lock().has_promised() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(ordering);
        let settled = async {
            while jukebox.lock().has_promised() || !jukebox.lock().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANGS, settled).await.expect("the song has ended");
        let (songs, _) =
            jukebox.library.search(crate::library::Search { limit: 1, ..Default::default() }).await.unwrap();
        assert_eq!(songs[0].ending.state, State::Cancelled);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_order_whose_client_leaves_while_it_is_noted_takes_no_place_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Heartstream::builder(synth::noise()).build().await.unwrap();
        let jukebox = Jukebox::new(engine, Library::open(folder.path()).unwrap(), Limits::default(), None);
        let order: Order = serde_json::from_str(r#"{"lyrics":"la","seconds":0.5}"#).unwrap();
        let order = jukebox.checked(&order).unwrap();
        let mut ordering = Box::pin(jukebox.order(order, "a client"));
        poll_fn(|context| {
            let answered = ordering.as_mut().poll(context).is_ready();
            if answered || jukebox.lock().has_promised() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        drop(ordering); // as a server does when the client has left
        let settled = async {
            while jukebox.lock().has_promised() || !jukebox.lock().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(HANGS, settled).await.expect("the places are free again");
    }
}
