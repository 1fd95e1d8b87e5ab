//! Subscriber sink: hands each block to the embedding program, at the pace of its reader.

use std::{collections::VecDeque, sync::Arc};

use heartstream_messages::{PcmBlock, Stage};

use crate::{
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
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

    fn step(&mut self, event: Event<Arc<PcmBlock>>, outputs: &mut VecDeque<Arc<PcmBlock>>) -> Result<Next, Failure> {
        if let Event::Input(block) = event {
            self.song.meter.audio_arrives();
            let end = block.end();
            outputs.push_back(block);
            self.song.meter.delivered(self.sink, end);
            self.song.meter.stage(Self::STAGE).did_one();
        }
        Ok(Next::Input)
    }
}
