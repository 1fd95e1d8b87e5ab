//! Segmenter: gathers codes into the windows of the plan, and cuts the first one for the latency of the first sound.

use std::{collections::VecDeque, convert::Infallible};

use flume::Sender;
use heartstream_messages::{
    CodeFrame, CodeSegment, Flow, LatentSegment, Stage,
    units::{FrameIndex, Frames, SAMPLES_PER_FRAME, SampleIndex, Seconds, SegmentIndex},
};
use heartstream_models::signal::{REFERENCE_WINDOW, SHORTEST_FIRST_WINDOW, SegmentPlan, Window, longest_first_window};

use crate::{
    channel::Outlet,
    flow_task::FlowTask,
    song_context::SongContext,
    stage::{Event, Failure, Next, StageWork},
};

/// When the first sound of a song shall come, and how the windows before it are decoded.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// Time since the request.
    pub within: Seconds,
    /// Options of flow matching, on which its rate depends.
    pub flow: Flow,
}

/// Cuts a song into windows. A window goes out as soon as its last frame is there.
pub struct SegmenterStage {
    plan: SegmentPlan,
    /// `None` once the first window is cut.
    deadline: Option<Deadline>,
    codebooks: usize,
    samples_per_frame: usize,
    /// All codes of the song (16 bytes for each 80 ms): its beginning fills the reference's last window.
    codes: Vec<u16>,
    /// The last window that went out.
    last: Option<Window>,
    song: SongContext,
}

impl SegmenterStage {
    /// A stage for a song of frames with `codebooks` codes. With a `deadline` the first window of the plan is cut short
    /// where that is needed for the first sound to come in time.
    pub fn new(plan: SegmentPlan, deadline: Option<Deadline>, codebooks: usize, song: SongContext) -> Self {
        let samples_per_frame = SAMPLES_PER_FRAME as usize;
        Self { plan, deadline, codebooks, samples_per_frame, codes: Vec::new(), last: None, song }
    }

    fn frames(&self) -> usize {
        self.codes.len() / self.codebooks
    }

    /// Cuts the first window here if one more frame would be too late for the deadline.
    fn keep_deadline(&mut self) {
        let Some(Deadline { within: Seconds(deadline), flow }) = self.deadline else { return };
        let (frames, rates) = (self.frames(), self.song.rates(flow));
        let enough = match rates {
            Some(rates) => longest_first_window(deadline, rates),
            // The other stages are not measured yet; half of the time must be enough for them.
            None if self.song.clock.seconds() > deadline / 2.0 => SHORTEST_FIRST_WINDOW,
            None => return,
        };
        if frames >= enough {
            tracing::debug!(frames, deadline, ?rates, "first window cut for the deadline");
            self.plan = self.plan.cut_first(frames);
        }
    }

    fn send(&mut self, window: Window, outputs: &mut VecDeque<CodeSegment>) {
        if window.index == 0 {
            self.deadline = None;
            self.song.meter.first_window_is_there();
            // A song that ended inside its first window has a run-out. Every longer first window gives the same cut,
            // one of exactly its length would not: so the longest is reported.
            let complete = window.run_out == 0;
            let first = if complete { window.frames } else { REFERENCE_WINDOW };
            self.song.facts.first_window_is(Frames(first as u64));
        }
        let frame = |source: usize| &self.codes[source * self.codebooks..][..self.codebooks];
        outputs.push_back(CodeSegment {
            index: SegmentIndex(window.index as u32),
            first_frame: FrameIndex(window.first as u64),
            codes: self.plan.sources(&window, self.frames()).flat_map(frame).copied().collect(),
            lead_in: Frames(window.lead_in as u64),
            known: Frames(window.known as u64),
            look_ahead: Frames(window.look_ahead as u64),
            fade_out: Frames(window.fade_out as u64),
            song_end: None,
        });
        self.last = Some(window);
    }
}

impl StageWork for SegmenterStage {
    const STAGE: Stage = Stage::Segmenter;
    type Input = CodeFrame;
    type Output = CodeSegment;

    fn step(&mut self, event: Event<CodeFrame>, outputs: &mut VecDeque<CodeSegment>) -> Result<Next, Failure> {
        match event {
            Event::Input(frame) => {
                self.codes.extend(&frame.codes);
                self.keep_deadline();
                let next = self.plan.next(self.last.as_ref());
                if self.frames() == next.end() {
                    self.send(next, outputs);
                }
                self.song.meter.stage(Self::STAGE).did_one();
            }
            Event::End => self.finish(outputs),
            Event::Begin | Event::Continue => (),
        }
        Ok(Next::Input)
    }
}

impl SegmenterStage {
    /// Sends the windows that are still missing, and says where the song ends.
    fn finish(&mut self, outputs: &mut VecDeque<CodeSegment>) {
        for window in self.plan.rest(self.last.as_ref(), self.frames()) {
            self.send(window, outputs);
        }
        let end = SampleIndex(self.plan.song_samples(self.frames(), self.samples_per_frame));
        // The last segment may have gone out before the end of the song was known.
        self.song.facts.song_ends_at(end);
        if let Some(last) = outputs.back_mut() {
            last.song_end = Some(end);
        }
    }
}

/// Dispatch of segments to the flow workers. It reserves the segment's place at the vocoder first, and links it to the
/// worker of the next segment, which needs the end of its latents.
pub struct Dispatch {
    tasks: Sender<FlowTask>,
    /// To the workers of this machine alone; there where others work beside them.
    local: Option<LocalQueue>,
    places: Sender<flume::Receiver<LatentSegment>>,
    /// Receives the latents of the segment before.
    previous: Option<flume::Receiver<Vec<f32>>>,
}

/// The queue of the workers of this machine, where others work beside them.
pub struct LocalQueue {
    /// The queue.
    pub tasks: Sender<FlowTask>,
    /// Dropped after the last segment was sent: stages that send segments elsewhere then wait for no worker.
    pub coming: Sender<Infallible>,
}

impl Dispatch {
    /// Between the queue of the flow workers and the order of the vocoder. The first segment goes to `local`, if that is
    /// given: the first sound waits for no other machine.
    pub fn new(
        tasks: Sender<FlowTask>,
        local: Option<LocalQueue>,
        places: Sender<flume::Receiver<LatentSegment>>,
    ) -> Self {
        Self { tasks, local, places, previous: None }
    }
}

impl Outlet for Dispatch {
    type Item = CodeSegment;

    async fn give(&mut self, segment: CodeSegment) -> bool {
        let (place, reserved) = flume::bounded(1);
        let (hand_on, handed) = flume::bounded(1);
        let previous = self.previous.replace(handed);
        let previous = if segment.known > Frames(0) { previous } else { None };
        let queue = if segment.index.0 == 0 {
            self.local.as_ref().map_or(&self.tasks, |local| &local.tasks)
        } else {
            &self.tasks
        };
        self.places.send_async(reserved).await.is_ok()
            && queue.send_async(FlowTask { segment, previous, known: Vec::new(), hand_on, place }).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::song_context::{Faults, FrameRate};
    use heartstream_models::signal::ReferenceWindows;

    const FLOW: Flow = Flow { steps: 10, guidance: 1.25 };

    fn stage(plan: SegmentPlan, deadline: Option<Seconds>) -> SegmenterStage {
        let deadline = deadline.map(|within| Deadline { within, flow: FLOW });
        SegmenterStage::new(plan, deadline, 1, SongContext::new(0, Faults::default()))
    }

    fn reference() -> SegmentPlan {
        SegmentPlan::reference(ReferenceWindows::new(93).expect("one quantum"))
    }

    fn feed(stage: &mut SegmenterStage, frames: std::ops::Range<usize>) -> VecDeque<CodeSegment> {
        let mut out = VecDeque::new();
        for index in frames {
            let frame = CodeFrame { index: FrameIndex(index as u64), codes: vec![index as u16] };
            stage.step(Event::Input(frame), &mut out).expect("a frame");
        }
        out
    }

    fn segments(plan: SegmentPlan, frames: usize) -> Vec<CodeSegment> {
        let mut stage = stage(plan, None);
        let mut out = feed(&mut stage, 0..frames);
        stage.step(Event::End, &mut out).expect("the end");
        out.into()
    }

    #[test]
    fn a_window_goes_out_with_its_last_frame() {
        let mut stage = stage(reference(), None);
        assert!(feed(&mut stage, 0..92).is_empty());
        assert_eq!(feed(&mut stage, 92..93).len(), 1);
    }

    #[test]
    fn a_short_song_is_repeated_by_the_reference_and_its_end_is_marked() {
        let short = segments(reference(), 40);
        assert_eq!(short.len(), 1);
        assert_eq!(short[0].codes[..], (0..93).map(|i| i % 40).collect::<Vec<u16>>()[..]);
        assert_eq!(short[0].song_end, Some(SampleIndex(40 * 3840)));
    }

    #[test]
    fn segments_share_what_the_reference_hands_on() {
        let song = segments(reference(), 200);
        assert_eq!(song.iter().map(|s| s.first_frame.0).collect::<Vec<_>>(), [0, 80, 160]);
        assert_eq!(song.iter().map(|s| s.known.0).collect::<Vec<_>>(), [0, 13, 13]);
        assert_eq!(song.iter().map(|s| s.song_end.is_some()).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn a_song_without_frames_has_no_segments() {
        assert!(segments(reference(), 0).is_empty());
        assert!(segments(SegmentPlan::chained(8, 2).expect("in range"), 0).is_empty());
    }

    #[test]
    fn a_deadline_cuts_the_first_window_and_the_rest_grows_from_there() {
        let mut stage = stage(SegmentPlan::chained(372, 0).expect("in range"), Some(Seconds(3600.0)));
        // As if a frame took a minute and flow matching another: within an hour there is time for 28 and the lead-in of
        // 4.
        stage.song.engine.rates.flow_step_measured(FLOW, 6.0);
        stage.song.engine.rates.sound_measured(0.0);
        stage.song.facts.frames_take(FrameRate { first: Seconds(0.0), each: Seconds(60.0) });
        let first = feed(&mut stage, 0..60);
        assert_eq!(first.iter().map(|s| s.codes.len()).collect::<Vec<_>>(), [28 + 4, 56]);
    }

    #[test]
    fn without_a_measurement_half_of_the_deadline_is_enough() {
        let mut stage = stage(SegmentPlan::chained(372, 0).expect("in range"), Some(Seconds(0.0)));
        assert_eq!(feed(&mut stage, 0..12).iter().map(|s| s.codes.len()).collect::<Vec<_>>(), [4 + 4, 8]);
    }
}
