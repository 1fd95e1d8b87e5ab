//! Stitcher: pieces of segments to one song: cross-fades, cuts the filling off, and sends blocks.

use std::{collections::VecDeque, sync::Arc};

use heartstream_messages::{
    PcmBlock, PcmPiece, Stage,
    units::{CHANNELS, SampleIndex},
};
use heartstream_models::signal::{OverlapAdd, fade_edges};

use crate::{
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
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
    /// Samples of each channel over which the song comes in and goes out.
    edge_fade: usize,
    song: SongContext,
}

impl StitcherStage {
    /// A stage at the beginning of a song, which comes in and goes out over `edge_fade` samples of each channel. Its
    /// last segment is longer than that and says where the song ends, so nothing has to be kept back for it.
    pub fn new(edge_fade: usize, song: SongContext) -> Self {
        Self { join: Some(OverlapAdd::new()), next: SampleIndex(0), end: SampleIndex(u64::MAX), edge_fade, song }
    }

    fn give(&mut self, interleaved: &[f32], outputs: &mut VecDeque<Arc<PcmBlock>>) {
        for samples in interleaved.chunks(BLOCK_SAMPLES * CHANNELS) {
            let left = self.end.0.saturating_sub(self.next.0).saturating_mul(CHANNELS as u64);
            let keep = samples.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if keep == 0 {
                return;
            }
            let mut samples = samples[..keep].to_vec();
            fade_edges(&mut samples, self.next.0, self.end.0, self.edge_fade);
            let block = PcmBlock { start: self.next, samples };
            self.next = block.end();
            outputs.push_back(Arc::new(block));
        }
    }
}

impl StageWork for StitcherStage {
    const STAGE: Stage = Stage::Stitcher;
    type Input = PcmPiece;
    type Output = Arc<PcmBlock>;

    fn step(&mut self, event: Event<PcmPiece>, outputs: &mut VecDeque<Arc<PcmBlock>>) -> Result<Next, Failure> {
        match event {
            Event::Input(piece) => self.add(&piece, outputs)?,
            Event::End => self.finish(outputs),
            Event::Begin | Event::Continue => (),
        }
        Ok(Next::Input)
    }
}

impl StitcherStage {
    fn add(&mut self, piece: &PcmPiece, outputs: &mut VecDeque<Arc<PcmBlock>>) -> Result<(), Failure> {
        let Some(join) = &mut self.join else { return Ok(()) };
        self.end = piece.song_end.unwrap_or(self.end);
        if let Some(window) = piece.window {
            join.begin(usize::try_from(window.samples).unwrap_or(usize::MAX), window.fade_out as usize)?;
        }
        let joined = join.push(&piece.left, &piece.right)?;
        self.give(&joined, outputs);
        self.song.meter.stage(Self::STAGE).did_one();
        Ok(())
    }

    fn finish(&mut self, outputs: &mut VecDeque<Arc<PcmBlock>>) {
        let rest = self.join.take().map(OverlapAdd::finish).unwrap_or_default();
        if self.song.stop.is_set() {
            // In the whole song the next segment would have been faded in here: what was kept back is not part of it.
            return;
        }
        // The last segment may have been complete before the end of the song was known.
        self.end = self.song.facts.song_end().unwrap_or(self.next).min(self.end);
        self.give(&rest, outputs);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::song_context::Faults;
    use heartstream_messages::PcmWindow;

    #[test]
    fn blocks_follow_each_other_without_a_gap_and_end_with_the_song() {
        let context = SongContext::new(0, Faults::default());
        context.facts.song_ends_at(SampleIndex(110_000));
        let mut stage = StitcherStage::new(0, context);
        let mut blocks = VecDeque::new();
        for index in 0..3 {
            for half in 0..2 {
                let piece = PcmPiece {
                    window: (half == 0).then_some(PcmWindow { samples: 40_000, fade_out: 100 }),
                    left: vec![0.5; 20_000],
                    right: vec![-0.5; 20_000],
                    song_end: (index == 2).then_some(SampleIndex(110_000)),
                };
                stage.step(Event::Input(piece), &mut blocks).expect("a piece");
            }
        }
        stage.step(Event::End, &mut blocks).expect("the end");
        let mut place = SampleIndex(0);
        for block in &blocks {
            assert_eq!(block.start, place);
            assert!(block.samples.len() <= BLOCK_SAMPLES * CHANNELS);
            assert!(block.samples.chunks(2).all(|pair| pair == [0.5, -0.5]));
            place = block.end();
        }
        assert_eq!(place, SampleIndex(110_000));
    }

    /// The samples given of a song that is one segment of 38 400, which is not marked as the last.
    fn song_of_one_segment(context: &SongContext) -> u64 {
        let mut stage = StitcherStage::new(0, context.clone());
        let mut blocks = VecDeque::new();
        let samples = vec![0.5; 38_400];
        let window = Some(PcmWindow { samples: 38_400, fade_out: 100 });
        let piece = PcmPiece { window, left: samples.clone(), right: samples, song_end: None };
        stage.step(Event::Input(piece), &mut blocks).expect("a piece");
        context.facts.song_ends_at(SampleIndex(38_399));
        stage.step(Event::End, &mut blocks).expect("the end");
        blocks.iter().map(|block| block.samples.len() as u64 / 2).sum()
    }

    #[test]
    fn a_song_that_ends_with_a_whole_segment_ends_at_its_own_sample() {
        assert_eq!(song_of_one_segment(&SongContext::new(0, Faults::default())), 38_399);
    }

    #[test]
    fn of_a_song_that_was_ended_nothing_is_given_that_the_next_segment_would_change() {
        let context = SongContext::new(0, Faults::default());
        context.stop.set();
        assert_eq!(song_of_one_segment(&context), 38_300);
    }
}
