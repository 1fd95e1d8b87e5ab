//! Places: where a song is made, on this machine or on another one.

use std::sync::Arc;

use heartstream::plan::{SongLease, SongWorkers};

use super::Jukebox;
use crate::live_song::LiveSong;

/// A place for a song that is written; free again when this is dropped.
pub(super) enum Place {
    Here(LocalPlace),
    Elsewhere(SongLease),
}

impl Place {
    /// The machine, where it is another one.
    pub fn machine(&self) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::Elsewhere(lease) => Some(lease.name().to_string()),
        }
    }
}

/// A place on this machine.
pub(super) struct LocalPlace(Arc<Jukebox>);

impl Drop for LocalPlace {
    fn drop(&mut self) {
        self.0.lock().left_here();
        self.0.freed.notify_waiters();
    }
}

/// A song that waits for a place after its machine was lost; those that wait for their turn go after it.
struct Displaced<'a>(&'a Arc<Jukebox>);

impl<'a> Displaced<'a> {
    fn of(jukebox: &'a Arc<Jukebox>) -> Self {
        jukebox.lock().displaced(true);
        Self(jukebox)
    }
}

impl Drop for Displaced<'_> {
    fn drop(&mut self) {
        self.0.lock().displaced(false);
        self.0.start_waiting();
    }
}

impl Jukebox {
    /// The song whose turn it is, and its place.
    pub(super) fn next(self: &Arc<Self>) -> Option<(Arc<LiveSong>, Place)> {
        let next = self.lock().next(&self.limits, |local| self.lease(local));
        next.map(|(song, lease)| (song, self.place_of(lease)))
    }

    /// A place for a song whose machine was lost, on this machine or, where it may be, on `another`; `None` when the song
    /// was ended meanwhile.
    pub(super) async fn another_place(self: &Arc<Self>, song: &LiveSong, another: bool) -> Option<Place> {
        let _waits = Displaced::of(self);
        let mut wish = song.wish.subscribe();
        let mut changes = self.elsewhere.as_ref().map(SongWorkers::changes);
        loop {
            let freed = self.freed.notified();
            // A lease that is dropped again would wake those that wait for one.
            let lease = |local| if another { self.lease(local) } else { None };
            let place = self.lock().place(&self.limits, lease);
            if let Some(lease) = place {
                return Some(self.place_of(lease));
            }
            let changed = async {
                match &mut changes {
                    Some(changes) => drop(changes.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = freed => (),
                () = changed => (),
                _ = wish.wait_for(|wish| wish.end.is_some()) => return None,
            }
        }
    }

    /// How many songs other machines make at once.
    pub fn places_elsewhere(&self) -> usize {
        self.elsewhere.as_ref().map_or(0, SongWorkers::places)
    }

    fn lease(&self, local: Option<usize>) -> Option<SongLease> {
        self.elsewhere.as_ref()?.lease(local)
    }

    fn place_of(self: &Arc<Self>, lease: Option<SongLease>) -> Place {
        match lease {
            Some(lease) => Place::Elsewhere(lease),
            None => Place::Here(LocalPlace(Arc::clone(self))),
        }
    }
}
