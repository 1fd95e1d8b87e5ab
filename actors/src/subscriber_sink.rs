//! Subscriber sink: hands each block to the embedding program, at the pace of its reader.

use std::{collections::VecDeque, sync::Arc};

use heartstream_messages::{PcmBlock, Stage};

use crate::{
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// Hands blocks to the subscriber.
pub struct SubscriberSinkStage {
    sink: usize,
    song: SongContext,
}

impl SubscriberSinkStage {
    /// Sink number `sink` of the song.
    pub fn new(sink: usize, song: SongContext) -> Self {
        Self { sink, song }
    }
}

impl StageWork for SubscriberSinkStage {
    const STAGE: Stage = Stage::SubscriberSink;
    type Input = Arc<PcmBlock>;
    type Output = Arc<PcmBlock>;

    fn work(&mut self, block: &Arc<PcmBlock>, outputs: &mut VecDeque<Arc<PcmBlock>>) -> Result<(), Failure> {
        self.song.meter.audio_arrives();
        outputs.push_back(Arc::clone(block));
        self.song.meter.delivered(self.sink, block.end());
        self.song.meter.stage(Self::STAGE).did_one();
        Ok(())
    }
}
