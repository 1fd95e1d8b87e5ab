//! Latents to samples: one segment after the other, each from silence, as the reference does it.

use std::{collections::VecDeque, sync::Arc};

use heartstream_messages::{
    LatentSegment, PcmSegment, Stage,
    units::{LATENTS_PER_FRAME, SAMPLES_PER_FRAME, SAMPLES_PER_LATENT},
};
use heartstream_models::{heartcodec::HeartCodec, signal::ReferenceWindows};

use crate::{
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// Latent frames between two looks at the interrupt: 1.28 s of music.
const FRAMES_BETWEEN_LOOKS: usize = 32;

/// Decodes segments.
pub struct VocoderStage {
    codec: Arc<HeartCodec>,
    windows: ReferenceWindows,
    song: SongContext,
}

impl VocoderStage {
    /// A stage around the shared weights, for segments that are `windows`.
    pub fn new(codec: Arc<HeartCodec>, windows: ReferenceWindows, song: SongContext) -> Self {
        Self { codec, windows, song }
    }

    /// How many of a segment's latents are heard. What fills the last segment up is not, and since the vocoder looks
    /// only a little ahead, leaving it away changes nothing before it.
    fn latents_heard(&self, segment: &LatentSegment) -> usize {
        let all = segment.latents.len() / self.codec.flow.channels();
        let Some(end) = segment.song_end else { return all };
        let start = self.windows.frames(segment.index.0 as usize).start as u64 * SAMPLES_PER_FRAME;
        let heard = end.0.saturating_sub(start).div_ceil(SAMPLES_PER_LATENT) as usize;
        // The cross-fade wants the whole overlap, whatever of it is heard.
        let wanted = heard.max(self.windows.overlap() * LATENTS_PER_FRAME as usize);
        self.codec.vocoder.latents_to_feed(wanted).min(all)
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
        let channels = self.codec.flow.channels();
        let heard = &segment.latents[..self.latents_heard(segment) * channels];
        for latents in heard.chunks(FRAMES_BETWEEN_LOOKS * channels) {
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
