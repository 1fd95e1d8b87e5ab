//! Codes source: a saved song's codes, in the place of the language model when a song is decoded again.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use heartstream_messages::{
    CodeFrame, Stage,
    units::{FrameIndex, Frames, Seconds},
};
use heartstream_models::SongCodes;

use crate::{
    song_context::{FrameRate, SongContext},
    stage::{Event, Failure, Next, StageWork},
};

/// Sends the frames of a saved song.
pub struct CodesSourceStage {
    kept: Option<Arc<SongCodes>>,
    next: usize,
    song: SongContext,
}

impl CodesSourceStage {
    /// A stage that waits for a saved song.
    pub fn new(song: SongContext) -> Self {
        Self { kept: None, next: 0, song }
    }
}

impl StageWork for CodesSourceStage {
    const STAGE: Stage = Stage::CodesSource;
    type Input = Arc<SongCodes>;
    type Output = CodeFrame;

    fn step(&mut self, event: Event<Arc<SongCodes>>, outputs: &mut VecDeque<CodeFrame>) -> Result<Next, Failure> {
        if let Event::Input(kept) = event {
            self.kept = Some(kept);
        }
        let Some(kept) = self.kept.as_ref().filter(|kept| self.next < kept.frames()) else { return Ok(Next::Input) };
        let codes = kept.codes[self.next * kept.codebooks..][..kept.codebooks].to_vec();
        let meter = &self.song.meter;
        if self.next == 0 {
            self.song.facts.frames_take(FrameRate { first: Seconds(self.song.clock.seconds()), each: Seconds(0.0) });
        }
        outputs.push_back(CodeFrame { index: FrameIndex(self.next as u64), codes });
        self.next += 1;
        // A song that was written in this run already has all its frames.
        meter.frames.fetch_max(self.next as u64, Ordering::Relaxed);
        meter.publish();
        meter.stage(Self::STAGE).did_one();
        if self.next < kept.frames() {
            return Ok(Next::Continue);
        }
        self.song.facts.length_is(Frames(self.next as u64));
        Ok(Next::Input)
    }
}
