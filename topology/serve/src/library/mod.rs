//! Library on disk: the songs that were ordered, what became of them, and their files.
//!
//! `index.sqlite` says which songs there are; each has a directory of its own under `songs/`. A song is in the index
//! before the order is answered, and called finished there only when its audio is on the disk. So a kill at any moment
//! loses nothing that was finished, and what was not finished is found at the next start and can be resumed.

mod files;
mod index;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    error::{ApiError, ServeError},
    forecast::Sung,
    library_id::LibraryId,
    live_song::State,
};
pub(crate) use files::SongFiles;
use index::Index;
pub(crate) use index::{Ending, Row, Search};

/// The songs of a server.
#[derive(Debug, Clone)]
pub(crate) struct Library {
    directory: PathBuf,
    index: Arc<Mutex<Index>>,
}

impl Library {
    /// Opens a library, which is made where there is none. Songs that a server before this one did not finish are
    /// interrupted from now on.
    ///
    /// # Errors
    /// When the directory cannot be written to, another server has it, or its index is of a later version.
    pub fn open(directory: &Path) -> Result<Self, ServeError> {
        let unusable = |reason: String| ServeError::Library { path: directory.to_owned(), reason };
        std::fs::create_dir_all(directory.join("songs")).map_err(|error| unusable(error.to_string()))?;
        let directory = directory.canonicalize().map_err(|error| unusable(error.to_string()))?;
        let mut index = Index::open(&directory.join("index.sqlite")).map_err(unusable)?;
        let songs = index.ids().map_err(|error| unusable(error.to_string()))?;
        remove_all_but(&directory.join("songs"), &songs);
        Ok(Self { directory, index: Arc::new(Mutex::new(index)) })
    }

    /// Where the files of a song are.
    pub fn files(&self, id: LibraryId) -> SongFiles {
        SongFiles::new(self.directory.join("songs").join(id.as_str()))
    }

    /// Notes new songs, all of them or none.
    pub async fn add(&self, rows: Vec<Row>) -> Result<(), ApiError> {
        self.with(move |index| index.add(&rows)).await
    }

    /// Notes what became of a song.
    pub async fn update(&self, id: LibraryId, ending: Ending) -> Result<(), ApiError> {
        self.with(move |index| index.update(id, &ending)).await
    }

    /// Notes that a song has another state.
    pub async fn set_state(&self, id: LibraryId, state: State) -> Result<(), ApiError> {
        self.with(move |index| index.set_state(id, state)).await
    }

    /// What is known about a song.
    pub async fn row(&self, id: LibraryId) -> Result<Row, ApiError> {
        self.with(move |index| index.row(id)).await?.ok_or(ApiError::NoSong)
    }

    /// The songs that a search finds, the latest first, and how many there are.
    pub async fn search(&self, search: Search) -> Result<(Vec<Row>, u64), ApiError> {
        self.with(move |index| index.search(&search)).await
    }

    /// The latest songs that a model finished.
    pub async fn sung(&self, model: String) -> Result<Vec<Sung>, ApiError> {
        self.with(move |index| index.sung(&model)).await
    }

    /// Removes a song and its files.
    pub async fn remove(&self, id: LibraryId) -> Result<(), ApiError> {
        let files = self.files(id);
        // The index first: a song whose files are gone would be a broken one, files without a song are only in the way.
        self.with(move |index| index.remove(id)).await?;
        tokio::task::spawn_blocking(move || files.remove()).await??;
        Ok(())
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Index) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ApiError> {
        let index = Arc::clone(&self.index);
        let work = move || work(&mut index.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(work).await??)
    }
}

/// Removes directories of songs that the index does not know: a kill between the two steps of [`Library::remove`] leaves
/// one. What has another name than a song's id stays.
fn remove_all_but(directory: &Path, songs: &HashSet<LibraryId>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<LibraryId>().ok());
        if id.is_some_and(|id| !songs.contains(&id))
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!("{} belongs to no song and cannot be removed: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_of_a_removed_song_goes_at_the_next_start_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        drop(Library::open(folder.path()).unwrap());
        let songs = folder.path().join("songs");
        let left = songs.join(LibraryId::new().unwrap().as_str());
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("audio.wav"), "RIFF").unwrap();
        let mine = songs.join("my notes");
        std::fs::create_dir(&mine).unwrap();
        drop(Library::open(folder.path()).unwrap());
        assert!(!left.exists() && mine.exists());
    }
}
