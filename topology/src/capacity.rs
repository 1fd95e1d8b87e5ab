//! Capacities of the channels between stages, in seconds of audio.
//!
//! Every channel is bounded: backpressure of a slow sink reaches every stage up to the language model, and memory does
//! not grow with the length of a song.

use heartstream_actors::{
    stitcher::BLOCK_SAMPLES,
    vocoder::{LONGEST_PIECE_SAMPLES, PIECE_SAMPLES},
};
use heartstream_messages::units::{SAMPLES_PER_FRAME, SAMPLES_PER_LATENT, Seconds};
use heartstream_models::{heartcodec::MOST_AT_ONCE, signal::ReferenceWindows, speculation::MOST_FRAMES};

use crate::error::EngineError;

/// Upper limit of a capacity: an hour, which is longer than any song.
const MOST: Seconds = Seconds(3600.0);

/// Capacities of the queues between the stages of a song.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacities {
    /// Frames between language model and segmenter. Small: the segmenter buffers them anyway.
    pub frames: Seconds,
    /// Segments on the way through the flow workers, for each worker: one is being decoded, so this much keeps it busy.
    pub segments_per_worker: Seconds,
    /// Pieces of sound between vocoder and stitcher. Small: samples are larger than anything before them.
    pub sound: Seconds,
    /// Blocks between the stitcher and each sink, and again between the subscriber's sink and the subscriber.
    pub blocks: Seconds,
}

impl Default for Capacities {
    fn default() -> Self {
        Self { frames: Seconds(2.0), segments_per_worker: Seconds(25.6), sound: Seconds(2.56), blocks: Seconds(1.0) }
    }
}

impl Capacities {
    /// Accepts the capacities, or says which is out of range.
    ///
    /// # Errors
    /// When one is negative, more than an hour, or not a number.
    pub fn check(self) -> Result<Self, EngineError> {
        let Self { frames, segments_per_worker, sound, blocks } = self;
        let all = [
            ("capacities.frames", frames),
            ("capacities.segments_per_worker", segments_per_worker),
            ("capacities.sound", sound),
            ("capacities.blocks", blocks),
        ];
        match all.into_iter().find(|(_, span)| !(Seconds(0.0)..=MOST).contains(span)) {
            None => Ok(self),
            Some((option, found)) => {
                Err(EngineError::Option { option, expected: format!("from 0 s to {MOST}"), found: found.to_string() })
            }
        }
    }

    /// ReaderPlaces in the channel from language model to segmenter.
    pub fn frame_places(&self) -> usize {
        (self.frames.frames().0 as usize).max(1)
    }

    /// ReaderPlaces for segments between segmenter and vocoder, with `workers` flow workers.
    pub fn segment_places(&self, windows: ReferenceWindows, workers: usize) -> usize {
        workers * segments(self.segments_per_worker, windows)
    }

    /// ReaderPlaces in the channel from vocoder to stitcher.
    pub fn sound_places(&self) -> usize {
        (self.sound.samples() as usize / PIECE_SAMPLES).max(1)
    }

    /// ReaderPlaces in each channel of blocks.
    pub fn block_places(&self) -> usize {
        (self.blocks.samples() as usize / BLOCK_SAMPLES).max(1)
    }

    /// The most frames that can have been written and not yet been handed to a subscriber.
    ///
    /// Each term is a place where music can wait: a channel, or a stage at work.
    pub fn most_frames_in_flight(&self, windows: ReferenceWindows, workers: usize) -> usize {
        let in_hand = 1;
        let round = MOST_FRAMES + 1; // what the model can write at once: its drafts and the frame behind them
        let frames = round + self.frame_places() + in_hand; // model, channel, segmenter
        let gathering = windows.window; // frames of the window that is not complete yet, the overlap among them
        // The vocoder holds a segment's place while it waits for it and decodes it, so the flow workers and their queue
        // are counted by the places between segmenter and vocoder.
        let segments = in_hand + self.segment_places(windows, workers) + in_hand; // segmenter, places, vocoder
        // On a GPU the vocoder decodes several pieces at once.
        let decoded = MOST_AT_ONCE * SAMPLES_PER_LATENT as usize / PIECE_SAMPLES;
        let pieces = decoded + self.sound_places() + 2 * in_hand; // vocoder, channel, stitcher
        let blocks = 2 * self.block_places() + 2 * in_hand; // two channels, sink, subscriber
        let samples = pieces * LONGEST_PIECE_SAMPLES + blocks * BLOCK_SAMPLES;
        let sound = samples.div_ceil(SAMPLES_PER_FRAME as usize);
        // The longest first window is as long as the reference's; every later one has at most a hop of new frames. What
        // is shared with the next window, or is its look-ahead, is at most an overlap.
        frames + gathering + windows.window + segments * windows.hop + windows.overlap() + sound
    }
}

/// Segments that hold `span` of new audio; at least one.
fn segments(span: Seconds, windows: ReferenceWindows) -> usize {
    ((span.frames().0 as usize) / windows.hop).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_keeps_a_segment_for_each_worker_and_a_second_for_the_sink() {
        let (capacities, windows) = (Capacities::default(), ReferenceWindows::default());
        assert_eq!(capacities.frame_places(), 25);
        assert_eq!(capacities.segment_places(windows, 3), 3);
        assert_eq!(capacities.sound_places(), 4);
        assert_eq!(capacities.block_places(), 4);
    }

    #[test]
    fn room_that_cannot_be_is_refused_by_name() {
        for bad in [-1.0, f64::NAN, f64::INFINITY, 3601.0] {
            let error = Capacities { sound: Seconds(bad), ..Capacities::default() }.check().expect_err("out of range");
            assert!(error.to_string().starts_with("capacities.sound must be"), "{error}");
        }
        assert!(Capacities { blocks: Seconds(0.0), ..Capacities::default() }.check().is_ok());
    }

    #[test]
    fn no_channel_is_without_a_place() {
        let none = Capacities {
            frames: Seconds(0.0),
            segments_per_worker: Seconds(0.0),
            sound: Seconds(0.0),
            blocks: Seconds(0.0),
        };
        let windows = ReferenceWindows::default();
        assert_eq!(
            [none.frame_places(), none.segment_places(windows, 1), none.sound_places(), none.block_places()],
            [1; 4]
        );
    }
}
