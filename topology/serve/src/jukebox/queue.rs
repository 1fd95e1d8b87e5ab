//! Queue: who may order, whose turn it is, and who is at which place.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    error::ApiError,
    library_id::LibraryId,
    live_song::{LiveSong, State},
    options::Limits,
};

/// Songs that wait or are written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Arc<LiveSong>>,
    live: HashMap<LibraryId, Arc<LiveSong>>,
    /// Places that are promised to songs which are being noted in the library, for each client.
    promised: HashMap<String, usize>,
    writing: usize,
    /// Those of them that this machine makes.
    local: usize,
    /// Songs that were written and wait for another machine; they go before the others.
    displaced: usize,
    closed: bool,
}

impl Queue {
    /// Promises `songs` places to `client`: all or none. Other machines write `elsewhere` songs at once.
    pub fn promise(&mut self, client: &str, songs: usize, limits: &Limits, elsewhere: usize) -> Result<(), ApiError> {
        if self.closed {
            return Err(ApiError::Full("the server is ending. Ask again when it is back".to_owned()));
        }
        let promised: usize = self.promised.values().sum();
        let free = (limits.songs + elsewhere).saturating_sub(self.writing) + limits.queue;
        if self.waiting.len() + promised + songs > free {
            return Err(ApiError::Full(format!(
                "{} songs wait already, and no more than {} may. Ask again later",
                self.waiting.len(),
                limits.queue
            )));
        }
        let own = self.live.values().filter(|song| song.client == client).count();
        let own = own + self.promised.get(client).copied().unwrap_or(0);
        if own + songs > limits.songs_per_client {
            return Err(ApiError::Full(format!(
                "{own} songs of this client wait or are written, and no more than {} may. Ask again later",
                limits.songs_per_client
            )));
        }
        *self.promised.entry(client.to_owned()).or_default() += songs;
        Ok(())
    }

    /// Takes a promise back, or makes it good.
    pub fn settle(&mut self, client: &str, songs: usize) {
        if let Some(promised) = self.promised.get_mut(client) {
            *promised = promised.saturating_sub(songs);
            if *promised == 0 {
                self.promised.remove(client);
            }
        }
    }

    /// Puts a song at the end.
    pub fn join(&mut self, song: Arc<LiveSong>) {
        self.live.insert(song.id, Arc::clone(&song));
        self.waiting.push_back(song);
        self.tell_places();
    }

    /// The song whose turn it is, and its place, as [`Queue::place`] gives it; from now on it is written.
    pub fn next<P>(
        &mut self,
        limits: &Limits,
        elsewhere: impl FnOnce(Option<usize>) -> Option<P>,
    ) -> Option<(Arc<LiveSong>, Option<P>)> {
        if self.closed || self.displaced > 0 || self.waiting.is_empty() {
            return None;
        }
        let place = self.place(limits, elsewhere)?;
        let song = self.waiting.pop_front()?;
        self.writing += 1;
        song.set(|status| (status.state, status.place) = (State::Writing, None));
        self.tell_places();
        Some((song, place))
    }

    /// A place for a song, if there is one: the one that `elsewhere` gives, or none of those, which is a place on this
    /// machine. It is told how many songs this machine makes, if it can make another one.
    pub fn place<P>(
        &mut self,
        limits: &Limits,
        elsewhere: impl FnOnce(Option<usize>) -> Option<P>,
    ) -> Option<Option<P>> {
        let is_free = self.local < limits.songs;
        match elsewhere(is_free.then_some(self.local)) {
            Some(place) => Some(Some(place)),
            None if is_free => {
                self.local += 1;
                Some(None)
            }
            None => None,
        }
    }

    /// This machine makes a song less.
    pub fn left_here(&mut self) {
        self.local = self.local.saturating_sub(1);
    }

    /// A song waits for another machine, or does not any more.
    pub fn displaced(&mut self, waits: bool) {
        self.displaced = if waits { self.displaced + 1 } else { self.displaced.saturating_sub(1) };
    }

    /// Takes out a song that waits; `None` when its turn has come.
    pub fn leave(&mut self, id: LibraryId) -> Option<Arc<LiveSong>> {
        let place = self.waiting.iter().position(|song| song.id == id)?;
        let song = self.waiting.remove(place);
        self.tell_places();
        song
    }

    /// A song that was written is over.
    pub fn ended(&mut self) {
        self.writing = self.writing.saturating_sub(1);
    }

    /// Nothing is known of the song any more but what the library says.
    pub fn forget(&mut self, id: LibraryId) {
        self.live.remove(&id);
    }

    pub fn live(&self, id: LibraryId) -> Option<Arc<LiveSong>> {
        self.live.get(&id).cloned()
    }

    /// Takes no more songs; those that there are.
    pub fn close(&mut self) -> Vec<Arc<LiveSong>> {
        self.closed = true;
        self.all_live()
    }

    pub fn is_closed(&self) -> bool {
        self.closed && self.live.is_empty()
    }

    pub fn all_live(&self) -> Vec<Arc<LiveSong>> {
        self.live.values().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Songs that wait, and songs that are written.
    pub fn counts(&self) -> (usize, usize) {
        (self.waiting.len(), self.writing)
    }

    /// Whether places are promised to songs that are still being noted.
    #[cfg(test)]
    pub fn has_promised(&self) -> bool {
        !self.promised.is_empty()
    }

    fn tell_places(&self) {
        for (place, song) in self.waiting.iter().enumerate() {
            song.status.send_if_modified(|status| status.place.replace(place) != Some(place));
        }
    }
}

#[cfg(test)]
mod tests {
    use heartstream::SongRequest;
    use heartstream_formats::Format;

    use super::*;
    use crate::{library::SongFiles, live_song::NewSong};

    fn song(client: &str) -> Arc<LiveSong> {
        let new = NewSong {
            id: LibraryId::new().unwrap(),
            request: SongRequest::new("piano", "la"),
            format: "wav".parse::<Format>().unwrap(),
            client: client.to_owned(),
            files: SongFiles::new("nowhere".into()),
            resumed: false,
            while_listened: false,
        };
        LiveSong::new(new, "").unwrap()
    }

    fn place(song: &LiveSong) -> Option<usize> {
        song.status.borrow().place
    }

    #[test]
    fn songs_have_their_turn_in_order_and_know_their_places() {
        let limits = Limits { songs: 2, ..Limits::default() };
        let (mut queue, songs) = (Queue::default(), [song("a"), song("a"), song("b"), song("a")]);
        songs.iter().for_each(|song| queue.join(Arc::clone(song)));
        assert_eq!(songs.each_ref().map(|song| place(song)), [Some(0), Some(1), Some(2), Some(3)]);
        let next = |queue: &mut Queue| queue.next(&limits, |_| None::<()>).map(|(song, _)| song.id);
        assert_eq!([next(&mut queue), next(&mut queue)], [Some(songs[0].id), Some(songs[1].id)]);
        assert!(next(&mut queue).is_none(), "two are written");
        assert_eq!(queue.leave(songs[2].id).unwrap().id, songs[2].id);
        assert!(queue.leave(songs[0].id).is_none(), "its turn has come");
        assert_eq!(place(&songs[3]), Some(0));
        queue.ended();
        queue.left_here();
        assert_eq!(next(&mut queue), Some(songs[3].id));
        assert_eq!(queue.counts(), (0, 2));
    }

    #[test]
    fn songs_go_elsewhere_where_there_are_places_and_displaced_ones_go_before_those_that_wait() {
        let limits = Limits { songs: 1, ..Limits::default() };
        let mut queue = Queue::default();
        (0..4).for_each(|_| queue.join(song("a")));
        let there = queue.next(&limits, |local| local.map(|songs| songs + 10));
        assert_eq!(there.unwrap().1, Some(10), "none is made here");
        assert_eq!(queue.next(&limits, |_| None::<()>).unwrap().1, None, "here");
        assert!(queue.next(&limits, |_| None::<()>).is_none());
        queue.displaced(true);
        assert!(queue.next(&limits, |_| Some(())).is_none());
        assert_eq!(queue.place(&limits, |local| local.is_none().then_some(7)), Some(Some(7)));
        queue.displaced(false);
        assert_eq!(queue.next(&limits, |_| Some(())).unwrap().1, Some(()));
    }

    #[test]
    fn neither_the_queue_nor_a_client_gets_more_than_its_places_even_while_they_are_only_promised() {
        let limits = Limits { songs: 1, queue: 2, songs_per_client: 2, ..Limits::default() };
        let mut queue = Queue::default();
        queue.promise("a", 2, &limits, 0).unwrap();
        assert!(queue.promise("a", 1, &limits, 0).unwrap_err().to_string().contains("this client"));
        queue.promise("b", 1, &limits, 0).unwrap();
        assert!(queue.promise("c", 1, &limits, 0).unwrap_err().to_string().contains("wait already"));
        queue.settle("b", 1);
        queue.promise("c", 1, &limits, 0).unwrap();
        queue.settle("a", 2);
        for _ in 0..2 {
            queue.join(song("a"));
        }
        assert!(queue.promise("a", 1, &limits, 0).is_err());
        queue.close();
        assert!(queue.promise("d", 1, &limits, 0).is_err() && queue.next(&limits, |_| Some(())).is_none());
    }
}
