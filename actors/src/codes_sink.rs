//! Codes sink: writes the song's codes to a file while it is made, so that a killed run can be resumed.

use std::{
    collections::VecDeque,
    convert::Infallible,
    path::PathBuf,
    time::{Duration, Instant},
};

use heartstream_messages::{CodeFrame, Stage, units::Frames};
use heartstream_models::SongCodes;

use crate::{
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
};

/// Between two writings of the file: a kill loses at most what was written in this time.
const BETWEEN_WRITINGS: Duration = Duration::from_secs(1);
/// Under this name the file says how long the first window was, so that the song can be cut the same way again.
pub const FIRST_WINDOW: &str = "first_window";

/// Saves a song's codes.
pub struct CodesSinkStage {
    path: PathBuf,
    kept: SongCodes,
    /// Codes that the file may have already; it is not replaced by fewer.
    already: usize,
    written: Instant,
    song: SongContext,
}

impl CodesSinkStage {
    /// A stage that saves a song in the file `path`: `kept` has the count of codebooks and the metadata. In a song that
    /// is resumed, the first `already` codes were written before.
    pub fn new(path: PathBuf, kept: SongCodes, already: usize, song: SongContext) -> Self {
        Self { path, kept, already, written: Instant::now(), song }
    }

    /// Writes the file. A failed write costs the copy and not the song: it is reported, and tried again.
    fn write(&mut self) {
        if self.kept.codes.len() < self.already.max(1) {
            return;
        }
        if let Some(Frames(first)) = self.song.facts.first_window() {
            self.kept.notes.insert(FIRST_WINDOW.to_owned(), first.to_string());
        }
        self.written = Instant::now();
        if let Err(error) = self.kept.write(&self.path) {
            self.song.mishaps.note(format!("the song goes on without its codes being kept: {error}"));
        }
    }
}

impl StageWork for CodesSinkStage {
    const STAGE: Stage = Stage::CodesSink;
    type Input = CodeFrame;
    type Output = Infallible;

    fn step(&mut self, event: Event<CodeFrame>, _: &mut VecDeque<Infallible>) -> Result<Next, Failure> {
        match event {
            Event::Input(frame) => {
                self.kept.codes.extend(&frame.codes);
                if self.written.elapsed() >= BETWEEN_WRITINGS {
                    self.write();
                }
                self.song.meter.stage(Self::STAGE).did_one();
            }
            Event::End => self.write(),
            Event::Begin | Event::Continue => (),
        }
        Ok(Next::Input)
    }
}
