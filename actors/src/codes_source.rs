//! Codes source: a saved song's codes, in the place of the language model when a song is decoded again.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use heartstream_messages::{CodeFrame, Stage, units::FrameIndex};
use heartstream_models::SongCodes;

use crate::{
    song_context::SongContext,
    stage::{Failure, StageWork},
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

    fn work(&mut self, kept: &Arc<SongCodes>, _: &mut VecDeque<CodeFrame>) -> Result<(), Failure> {
        self.kept = Some(Arc::clone(kept));
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| self.next < kept.frames())
    }

    fn continue_work(&mut self, outputs: &mut VecDeque<CodeFrame>) -> Result<(), Failure> {
        let Some(kept) = &self.kept else { return Ok(()) };
        let codes = kept.codes[self.next * kept.codebooks..][..kept.codebooks].to_vec();
        let meter = &self.song.meter;
        if self.next == 0 {
            meter.frames_took(meter.seconds(), 0.0);
        }
        outputs.push_back(CodeFrame { index: FrameIndex(self.next as u64), codes });
        self.next += 1;
        // A song that was written in this run already has all its frames.
        meter.frames.fetch_max(self.next as u64, Ordering::Relaxed);
        meter.publish();
        if self.next == kept.frames() {
            meter.all_written.store(true, Ordering::Release);
        }
        meter.stage(Self::STAGE).did_one();
        Ok(())
    }
}
