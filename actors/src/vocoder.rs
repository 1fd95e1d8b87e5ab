//! Latents to samples: one segment after the other, each from silence, as the reference does it.

use std::{collections::VecDeque, sync::Arc};

use heartstream_messages::{LatentSegment, PcmSegment, Stage};
use heartstream_models::heartcodec::HeartCodec;

use crate::{
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// Latent frames between two looks at the interrupt: 1.28 s of music.
const FRAMES_BETWEEN_LOOKS: usize = 32;

/// Decodes segments.
pub struct VocoderStage {
    codec: Arc<HeartCodec>,
    song: SongContext,
}

impl VocoderStage {
    /// A stage around the shared weights.
    pub fn new(codec: Arc<HeartCodec>, song: SongContext) -> Self {
        Self { codec, song }
    }
}

impl StageWork for VocoderStage {
    const STAGE: Stage = Stage::Vocoder;
    type Input = LatentSegment;
    type Output = PcmSegment;

    fn work(&mut self, segment: &LatentSegment, outputs: &mut VecDeque<PcmSegment>) -> Result<(), Failure> {
        let vocoder = &self.codec.vocoder;
        let mut state = vocoder.start()?;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for latents in segment.latents.chunks(FRAMES_BETWEEN_LOOKS * self.codec.flow.channels()) {
            if self.song.interrupt.is_raised() {
                return Ok(());
            }
            let [more_left, more_right] = vocoder.push(&mut state, latents)?;
            left.extend(more_left);
            right.extend(more_right);
        }
        let [last_left, last_right] = vocoder.finish(state)?;
        left.extend(last_left);
        right.extend(last_right);
        outputs.push_back(PcmSegment { index: segment.index, left, right, song_end: segment.song_end });
        self.song.meter.stage(Self::STAGE).did_one();
        Ok(())
    }
}
