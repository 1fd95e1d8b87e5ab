//! Samples of segments to one song: cross-fades, cuts the filling off, and gives small blocks.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use heartstream_messages::{
    PcmBlock, PcmSegment, Stage,
    units::{CHANNELS, SampleIndex},
};
use heartstream_models::signal::{OverlapAdd, ReferenceWindows};

use crate::{
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// Samples of each channel in a block: 240 ms, three frames.
pub const BLOCK_SAMPLES: usize = 11_520;

/// Joins segments.
pub struct StitcherStage {
    join: Option<OverlapAdd>,
    /// Where the next block starts.
    next: SampleIndex,
    /// Where the song ends, once that is known.
    end: SampleIndex,
    song: SongContext,
}

impl StitcherStage {
    /// A stage for segments that share `overlap` samples of each channel with the next.
    pub fn new(overlap: usize, song: SongContext) -> Self {
        Self { join: Some(OverlapAdd::new(overlap)), next: SampleIndex(0), end: SampleIndex(u64::MAX), song }
    }

    fn give(&mut self, interleaved: &[f32], outputs: &mut VecDeque<Arc<PcmBlock>>) {
        for samples in interleaved.chunks(BLOCK_SAMPLES * CHANNELS) {
            let left = self.end.0.saturating_sub(self.next.0).saturating_mul(CHANNELS as u64);
            let keep = samples.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if keep == 0 {
                return;
            }
            let block = PcmBlock { start: self.next, samples: samples[..keep].to_vec() };
            self.next = block.end();
            outputs.push_back(Arc::new(block));
        }
    }
}

impl StageWork for StitcherStage {
    const STAGE: Stage = Stage::Stitcher;
    type Input = PcmSegment;
    type Output = Arc<PcmBlock>;

    fn work(&mut self, segment: &PcmSegment, outputs: &mut VecDeque<Arc<PcmBlock>>) -> Result<(), Failure> {
        let Some(join) = &mut self.join else { return Ok(()) };
        self.end = segment.song_end.unwrap_or(self.end);
        let joined = join.push(&segment.left, &segment.right)?;
        self.give(&joined, outputs);
        self.song.meter.stage(Self::STAGE).did_one();
        Ok(())
    }

    fn finish(&mut self, outputs: &mut VecDeque<Arc<PcmBlock>>) -> Result<(), Failure> {
        let rest = self.join.take().map(OverlapAdd::finish).unwrap_or_default();
        if self.song.interrupt.is_raised() {
            // In the whole song the next segment would have been faded in here: what was kept back is not part of it.
            return Ok(());
        }
        if self.end == SampleIndex(u64::MAX) {
            // The last segment was complete before anybody knew that it is the last.
            let frames = self.song.meter.frames.load(Ordering::Relaxed) as usize;
            self.end = SampleIndex(ReferenceWindows::song_samples(frames));
        }
        self.give(&rest, outputs);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::song_context::Faults;
    use heartstream_messages::units::SegmentIndex;

    #[test]
    fn blocks_follow_each_other_without_a_gap_and_end_with_the_song() {
        let mut stage = StitcherStage::new(100, SongContext::new(0, Faults::default()));
        let mut blocks = VecDeque::new();
        for index in 0..3 {
            let end = (index == 2).then_some(SampleIndex(110_000));
            let segment = PcmSegment {
                index: SegmentIndex(index),
                left: vec![0.5; 40_000],
                right: vec![-0.5; 40_000],
                song_end: end,
            };
            stage.work(&segment, &mut blocks).expect("a segment");
        }
        stage.finish(&mut blocks).expect("the end");
        let mut place = SampleIndex(0);
        for block in &blocks {
            assert_eq!(block.start, place);
            assert!(block.samples.len() <= BLOCK_SAMPLES * CHANNELS);
            assert!(block.samples.chunks(2).all(|pair| pair == [0.5, -0.5]));
            place = block.end();
        }
        assert_eq!(place, SampleIndex(110_000));
    }

    /// The blocks of a song that is one segment of 10 frames, of which nobody has said that it is the last.
    fn song_of_one_segment(context: &SongContext) -> u64 {
        let mut stage = StitcherStage::new(100, context.clone());
        let mut blocks = VecDeque::new();
        let samples = vec![0.5; 38_400];
        let segment = PcmSegment { index: SegmentIndex(0), left: samples.clone(), right: samples, song_end: None };
        stage.work(&segment, &mut blocks).expect("a segment");
        stage.finish(&mut blocks).expect("the end");
        blocks.iter().map(|block| block.samples.len() as u64 / 2).sum()
    }

    #[test]
    fn a_song_that_ends_with_a_whole_segment_is_as_long_as_its_frames() {
        let context = SongContext::new(0, Faults::default());
        context.meter.frames.store(10, Ordering::Relaxed);
        assert_eq!(song_of_one_segment(&context), 38_400);
    }

    #[test]
    fn of_a_song_that_was_ended_nothing_is_given_that_the_next_segment_would_change() {
        let context = SongContext::new(0, Faults::default());
        context.meter.frames.store(10, Ordering::Relaxed);
        context.interrupt.raise();
        assert_eq!(song_of_one_segment(&context), 38_300);
    }
}
