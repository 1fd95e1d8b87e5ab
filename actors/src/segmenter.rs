//! Codes to segments: gathers the reference's windows, and fills the last one with the song's own beginning.

use std::collections::VecDeque;

use flume::Sender;
use heartstream_messages::{
    CodeFrame, CodeSegment, LatentSegment, Stage,
    units::{FrameIndex, SampleIndex, SegmentIndex},
};
use heartstream_models::signal::ReferenceWindows;

use crate::{
    channel::Outlet,
    flow_worker::FlowTask,
    song_context::SongContext,
    stage::{Failure, StageWork},
};

/// Cuts a song into windows. A window goes out as soon as its last frame is there.
pub struct SegmenterStage {
    windows: ReferenceWindows,
    codebooks: usize,
    /// All codes of the song (16 bytes for each 80 ms): its beginning fills the last window.
    codes: Vec<u16>,
    /// Windows that went out.
    done: usize,
    song: SongContext,
}

impl SegmenterStage {
    /// A stage for a song of frames with `codebooks` codes.
    pub fn new(windows: ReferenceWindows, codebooks: usize, song: SongContext) -> Self {
        Self { windows, codebooks, codes: Vec::new(), done: 0, song }
    }

    fn frames(&self) -> usize {
        self.codes.len() / self.codebooks
    }

    fn segment(&self, index: usize) -> CodeSegment {
        let frame = |place| self.windows.source(place, self.frames()) * self.codebooks;
        let places = self.windows.frames(index);
        CodeSegment {
            index: SegmentIndex(index as u32),
            first_frame: FrameIndex(places.start as u64),
            codes: places.flat_map(|place| &self.codes[frame(place)..][..self.codebooks]).copied().collect(),
            shared_frames: if index == 0 { 0 } else { self.windows.overlap() },
            song_end: None,
        }
    }
}

impl StageWork for SegmenterStage {
    const STAGE: Stage = Stage::Segmenter;
    type Input = CodeFrame;
    type Output = CodeSegment;

    fn work(&mut self, frame: &CodeFrame, outputs: &mut VecDeque<CodeSegment>) -> Result<(), Failure> {
        self.codes.extend(&frame.codes);
        if self.frames() == self.windows.frames(self.done).end {
            outputs.push_back(self.segment(self.done));
            self.done += 1;
        }
        self.song.meter.stage(Self::STAGE).did_one();
        Ok(())
    }

    fn finish(&mut self, outputs: &mut VecDeque<CodeSegment>) -> Result<(), Failure> {
        let count = self.windows.count(self.frames());
        for index in self.done..count {
            let mut segment = self.segment(index);
            if index + 1 == count {
                segment.song_end = Some(SampleIndex(ReferenceWindows::song_samples(self.frames())));
            }
            outputs.push_back(segment);
        }
        Ok(())
    }
}

/// Hands segments to the pool of flow workers. Before the work can begin, its place in the order is reserved at the
/// vocoder; and each worker gets the means to hand the end of its latents to whoever has the next segment.
pub struct Dispatch {
    tasks: Sender<FlowTask>,
    places: Sender<flume::Receiver<LatentSegment>>,
    /// Where the latents of the segment before will come from.
    previous: Option<flume::Receiver<Vec<f32>>>,
}

impl Dispatch {
    /// Between the queue of the flow workers and the order of the vocoder.
    pub fn new(tasks: Sender<FlowTask>, places: Sender<flume::Receiver<LatentSegment>>) -> Self {
        Self { tasks, places, previous: None }
    }
}

impl Outlet for Dispatch {
    type Item = CodeSegment;

    async fn give(&mut self, segment: CodeSegment) -> bool {
        let (place, reserved) = flume::bounded(1);
        let (hand_on, handed) = flume::bounded(1);
        let previous = self.previous.replace(handed);
        let previous = if segment.shared_frames > 0 { previous } else { None };
        self.places.send_async(reserved).await.is_ok()
            && self.tasks.send_async(FlowTask { segment, previous, known: Vec::new(), hand_on, place }).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::song_context::Faults;

    fn segments(frames: usize) -> Vec<CodeSegment> {
        let windows = ReferenceWindows::new(93).expect("one quantum");
        let mut stage = SegmenterStage::new(windows, 1, SongContext::new(0, Faults::default()));
        let mut out = VecDeque::new();
        for index in 0..frames {
            let frame = CodeFrame { index: FrameIndex(index as u64), codes: vec![index as u16] };
            stage.work(&frame, &mut out).expect("a frame");
        }
        stage.finish(&mut out).expect("the end");
        out.into()
    }

    #[test]
    fn a_window_goes_out_with_its_last_frame() {
        let windows = ReferenceWindows::new(93).expect("one quantum");
        let mut stage = SegmenterStage::new(windows, 1, SongContext::new(0, Faults::default()));
        let mut out = VecDeque::new();
        for index in 0..93 {
            assert!(out.is_empty(), "before frame {index}");
            stage.work(&CodeFrame { index: FrameIndex(index), codes: vec![index as u16] }, &mut out).expect("a frame");
        }
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn a_short_song_is_repeated_and_its_end_is_marked() {
        let short = segments(40);
        assert_eq!(short.len(), 1);
        assert_eq!(short[0].codes[..], (0..93).map(|i| i % 40).collect::<Vec<u16>>()[..]);
        assert_eq!(short[0].song_end, Some(SampleIndex(40 * 3840)));
    }

    #[test]
    fn segments_share_what_the_reference_hands_on() {
        let song = segments(200);
        assert_eq!(song.iter().map(|s| s.first_frame.0).collect::<Vec<_>>(), [0, 80, 160]);
        assert_eq!(song.iter().map(|s| s.shared_frames).collect::<Vec<_>>(), [0, 13, 13]);
        assert_eq!(song.iter().map(|s| s.song_end.is_some()).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn a_song_without_frames_has_no_segments() {
        assert!(segments(0).is_empty());
    }
}
