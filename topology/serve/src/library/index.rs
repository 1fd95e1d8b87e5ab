//! Index of the library: a SQLite table with a row for each song.

use std::{collections::HashSet, path::Path, time::Duration};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row as SqlRow, named_params, params};

use crate::{
    forecast::{self, Sung},
    library_id::LibraryId,
    live_song::State,
};

/// The version of the table, in `user_version`.
const VERSION: i64 = 1;
/// How long a previous server may take to release the index.
const BUSY: Duration = Duration::from_secs(1);

const TABLE: &str = "
    CREATE TABLE songs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        created REAL NOT NULL,
        request TEXT NOT NULL,
        format TEXT NOT NULL,
        title TEXT NOT NULL,
        tags TEXT NOT NULL,
        lyrics TEXT NOT NULL,
        seed TEXT NOT NULL,
        model TEXT NOT NULL,
        take_of TEXT,
        frames INTEGER NOT NULL DEFAULT 0,
        seconds REAL NOT NULL DEFAULT 0,
        bytes INTEGER NOT NULL DEFAULT 0,
        loudness REAL,
        true_peak REAL,
        error TEXT
    ) STRICT;
    CREATE INDEX songs_by_state ON songs (state);
    PRAGMA user_version = 1;
";

/// What the index says about a song.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub id: LibraryId,
    /// Seconds since 1970.
    pub created: f64,
    /// The request, as JSON.
    pub request: String,
    pub format: String,
    pub title: String,
    pub tags: String,
    pub lyrics: String,
    /// As text: JSON and SQLite have no unsigned 64 bits.
    pub seed: String,
    /// The fingerprint of the model.
    pub model: String,
    /// The first of the songs that were ordered together.
    pub take_of: Option<LibraryId>,
    pub ending: Ending,
}

/// What became of a song, or is known of it so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ending {
    pub state: State,
    pub frames: u64,
    /// Seconds of audio.
    pub seconds: f64,
    /// Bytes of the audio file.
    pub bytes: u64,
    /// Integrated loudness, in LUFS.
    pub loudness: Option<f64>,
    /// In dBTP.
    pub true_peak: Option<f64>,
    pub error: Option<String>,
}

impl Default for Ending {
    fn default() -> Self {
        let (loudness, true_peak, error) = (None, None, None);
        Self { state: State::Queued, frames: 0, seconds: 0.0, bytes: 0, loudness, true_peak, error }
    }
}

/// What to look for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    /// In title, tags, lyrics and seed; every word must be somewhere.
    pub text: String,
    pub state: Option<State>,
    pub limit: u32,
    pub offset: u32,
}

#[derive(Debug)]
pub(super) struct Index(Connection);

impl Index {
    /// Opens the index in `path`; what goes wrong, in words.
    pub fn open(path: &Path) -> Result<Self, String> {
        let opened = Self::opened(path).map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => "another server has it".to_owned(),
            _ => error.to_string(),
        })?;
        opened.ok_or_else(|| "a later version of this program made its index".to_owned())
    }

    fn opened(path: &Path) -> rusqlite::Result<Option<Self>> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        // One server at a time: the first that reads keeps the lock. With a write-ahead log a kill leaves the index as
        // it was after the last commit, and FULL keeps that through a power cut.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match version {
            0 => connection.execute_batch(&format!("BEGIN;{TABLE}COMMIT;"))?,
            VERSION => (),
            _ => return Ok(None),
        }
        connection
            .execute("UPDATE songs SET state = 'interrupted' WHERE state IN ('queued', 'writing', 'paused')", [])?;
        Ok(Some(Self(connection)))
    }

    pub fn add(&mut self, rows: &[Row]) -> rusqlite::Result<()> {
        let transaction = self.0.transaction()?;
        for row in rows {
            transaction.execute(
                "INSERT INTO songs (id, state, created, request, format, title, tags, lyrics, seed, model, take_of)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                params![
                    row.id.as_str(),
                    row.ending.state.name(),
                    row.created,
                    row.request,
                    row.format,
                    row.title,
                    row.tags,
                    row.lyrics,
                    row.seed,
                    row.model,
                    row.take_of.as_ref().map(LibraryId::as_str),
                ],
            )?;
        }
        transaction.commit()
    }

    pub fn update(&mut self, id: LibraryId, ending: &Ending) -> rusqlite::Result<()> {
        self.0.execute(
            "UPDATE songs SET state = :state, frames = :frames, seconds = :seconds, bytes = :bytes,
                 loudness = :loudness, true_peak = :true_peak, error = :error WHERE id = :id",
            named_params! {
                ":id": id.as_str(),
                ":state": ending.state.name(),
                ":frames": ending.frames.cast_signed(),
                ":seconds": ending.seconds,
                ":bytes": ending.bytes.cast_signed(),
                ":loudness": ending.loudness,
                ":true_peak": ending.true_peak,
                ":error": ending.error,
            },
        )?;
        Ok(())
    }

    pub fn set_state(&mut self, id: LibraryId, state: State) -> rusqlite::Result<()> {
        let sql = "UPDATE songs SET state = ?2, error = NULL WHERE id = ?1";
        self.0.execute(sql, params![id.as_str(), state.name()]).map(|_| ())
    }

    pub fn row(&mut self, id: LibraryId) -> rusqlite::Result<Option<Row>> {
        self.0.query_row("SELECT * FROM songs WHERE id = ?1", [id.as_str()], row).optional()
    }

    pub fn search(&mut self, search: &Search) -> rusqlite::Result<(Vec<Row>, u64)> {
        // As many conditions as there are words, at most eight; what is searched for is never part of the statement.
        let words: Vec<String> = search.text.split_whitespace().take(8).map(like).collect();
        let found = "(title LIKE ? ESCAPE '\\' OR tags LIKE ? ESCAPE '\\' OR lyrics LIKE ? ESCAPE '\\' OR seed = ?)";
        let mut conditions = vec![found; words.len()];
        let mut values: Vec<String> = Vec::new();
        for (pattern, word) in words.iter().zip(search.text.split_whitespace()) {
            values.extend([pattern.clone(), pattern.clone(), pattern.clone(), word.to_owned()]);
        }
        if let Some(state) = search.state {
            conditions.push("state = ?");
            values.push(state.name().to_owned());
        }
        let filter = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
        let count = format!("SELECT count(*) FROM songs WHERE {filter}");
        let count: i64 = self.0.query_row(&count, rusqlite::params_from_iter(&values), |row| row.get(0))?;
        let (limit, offset) = (search.limit, search.offset);
        let sql = format!("SELECT * FROM songs WHERE {filter} ORDER BY number DESC LIMIT {limit} OFFSET {offset}");
        let mut statement = self.0.prepare(&sql)?;
        let rows = statement.query_map(rusqlite::params_from_iter(&values), row)?;
        Ok((rows.collect::<rusqlite::Result<_>>()?, count.cast_unsigned()))
    }

    /// The ids of all songs.
    pub fn ids(&mut self) -> rusqlite::Result<HashSet<LibraryId>> {
        let mut statement = self.0.prepare("SELECT id FROM songs")?;
        let ids = statement.query_map([], |row| id(row.get("id")?, "id"))?;
        ids.collect()
    }

    /// The latest songs that `model` finished.
    pub fn sung(&mut self, model: &str) -> rusqlite::Result<Vec<Sung>> {
        let sql = "SELECT lyrics, seconds, request FROM songs WHERE state = 'finished' AND model = ?1
                   ORDER BY number DESC LIMIT ?2";
        let mut statement = self.0.prepare(sql)?;
        let sung = |row: &SqlRow<'_>| {
            Ok(Sung { lyrics: row.get("lyrics")?, seconds: row.get("seconds")?, request: row.get("request")? })
        };
        statement.query_map(params![model, forecast::LATEST], sung)?.collect()
    }

    pub fn remove(&mut self, id: LibraryId) -> rusqlite::Result<()> {
        self.0.execute("DELETE FROM songs WHERE id = ?1", [id.as_str()]).map(|_| ())
    }
}

/// A pattern of LIKE that finds `word` anywhere; its own signs mean themselves.
fn like(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    format!("%{escaped}%")
}

fn id(text: String, column: &str) -> rusqlite::Result<LibraryId> {
    text.parse().map_err(|_| rusqlite::Error::InvalidParameterName(format!("{column} is no id of a song")))
}

fn row(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    let state: String = row.get("state")?;
    let state = State::ALL.into_iter().find(|known| known.name() == state);
    Ok(Row {
        id: id(row.get("id")?, "id")?,
        created: row.get("created")?,
        request: row.get("request")?,
        format: row.get("format")?,
        title: row.get("title")?,
        tags: row.get("tags")?,
        lyrics: row.get("lyrics")?,
        seed: row.get("seed")?,
        model: row.get("model")?,
        take_of: row.get::<_, Option<String>>("take_of")?.map(|text| id(text, "take_of")).transpose()?,
        ending: Ending {
            state: state.ok_or_else(|| rusqlite::Error::InvalidParameterName("state".to_owned()))?,
            frames: row.get::<_, i64>("frames")?.cast_unsigned(),
            seconds: row.get("seconds")?,
            bytes: row.get::<_, i64>("bytes")?.cast_unsigned(),
            loudness: row.get("loudness")?,
            true_peak: row.get("true_peak")?,
            error: row.get("error")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn song(title: &str, state: State) -> Row {
        Row {
            id: LibraryId::new().unwrap(),
            created: 1.5,
            request: "{}".to_owned(),
            format: "wav".to_owned(),
            title: title.to_owned(),
            tags: "piano,100%_calm".to_owned(),
            lyrics: "[Verse]\nThe window clears".to_owned(),
            seed: u64::MAX.to_string(),
            model: "abc".to_owned(),
            take_of: None,
            ending: Ending { state, ..Ending::default() },
        }
    }

    fn found(index: &mut Index, text: &str) -> usize {
        let search = Search { text: text.to_owned(), limit: 10, ..Search::default() };
        let (rows, count) = index.search(&search).unwrap();
        assert_eq!(rows.len() as u64, count);
        rows.len()
    }

    #[test]
    fn what_was_not_finished_is_interrupted_at_the_next_start_and_the_rest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.sqlite");
        let songs: Vec<Row> = State::ALL.map(|state| song("a", state)).into();
        Index::open(&path).unwrap().add(&songs).unwrap();
        let mut index = Index::open(&path).unwrap();
        for song in songs {
            let state = song.ending.state;
            let expected = if state.is_over() { state } else { State::Interrupted };
            assert_eq!(index.row(song.id).unwrap().unwrap().ending.state, expected);
        }
    }

    #[test]
    fn songs_are_found_by_their_words_and_signs_mean_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let mut index = Index::open(&folder.path().join("index.sqlite")).unwrap();
        index.add(&[song("Kettle", State::Finished), song("Rain", State::Failed)]).unwrap();
        assert_eq!(found(&mut index, ""), 2);
        assert_eq!(found(&mut index, "window kettle"), 1);
        assert_eq!(found(&mut index, "100%_calm"), 2);
        for none in ["%ettle", "_ain", "\\", "' OR 1=1 --", "window snow"] {
            assert_eq!(found(&mut index, none), 0, "{none}");
        }
        let failed = Search { state: Some(State::Failed), limit: 10, ..Search::default() };
        assert_eq!(index.search(&failed).unwrap().0[0].title, "Rain");
    }

    #[test]
    fn forecasts_look_at_finished_songs_of_the_model_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut index = Index::open(&folder.path().join("index.sqlite")).unwrap();
        let mut other = song("another model's", State::Finished);
        other.model = "def".to_owned();
        index.add(&[song("Kettle", State::Finished), song("Rain", State::Failed), other]).unwrap();
        assert_eq!(index.sung("abc").unwrap().len(), 1);
    }

    #[test]
    fn two_servers_do_not_share_a_library_and_a_later_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.sqlite");
        let first = Index::open(&path).unwrap();
        assert!(Index::open(&path).unwrap_err().contains("another server"));
        first.0.pragma_update(None, "user_version", 99).unwrap();
        drop(first);
        assert!(Index::open(&path).unwrap_err().contains("later version"));
    }
}
