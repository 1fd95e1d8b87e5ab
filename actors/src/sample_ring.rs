//! What does the audio callback do? It takes samples out of a ring, and nothing else.
//!
//! The callback takes no lock, allocates nothing, frees nothing, prints nothing and waits for nothing: a late callback
//! is a click. Everything it needs is in [`Playback`], made before the stream starts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use cpal::{FromSample, Sample};
use heartstream_messages::units::CHANNELS;
use rtrb::{Consumer, Producer, RingBuffer};

/// The callback's end of the ring.
pub struct Playback {
    samples: Consumer<f32>,
    shared: Arc<Shared>,
}

/// The stage's end of the ring.
pub struct Feed {
    /// Left and right in turn.
    pub samples: Producer<f32>,
    /// What both ends know.
    pub shared: Arc<Shared>,
}

/// What both ends of the ring know.
#[derive(Debug, Default)]
pub struct Shared {
    /// No more samples will come, so silence is no under-run any more.
    pub ended: AtomicBool,
    /// Samples of each channel that were silence for want of music.
    pub underruns: AtomicU64,
    /// How often the callback ran.
    pub callbacks: AtomicU64,
    /// The device is gone.
    pub lost: AtomicBool,
}

/// A ring for `samples` samples of each channel.
pub fn sample_ring(samples: usize) -> (Feed, Playback) {
    let (producer, consumer) = RingBuffer::new(samples * CHANNELS);
    let shared = Arc::new(Shared::default());
    (Feed { samples: producer, shared: Arc::clone(&shared) }, Playback { samples: consumer, shared })
}

impl Playback {
    /// Fills a device's buffer of `channels` channels. Called in the real-time thread.
    ///
    /// One channel gets the mean of both; further ones than two get silence.
    pub fn fill<T: Sample + FromSample<f32>>(&mut self, buffer: &mut [T], channels: usize) {
        let wanted = buffer.len() / channels.max(1);
        let there = (self.samples.slots() / CHANNELS).min(wanted);
        for frame in buffer.chunks_exact_mut(channels.max(1)).take(there) {
            let (left, right) = (self.samples.pop().unwrap_or(0.0), self.samples.pop().unwrap_or(0.0));
            match frame {
                [mono] => *mono = T::from_sample(0.5 * (left + right)),
                [first, second, rest @ ..] => {
                    *first = T::from_sample(left);
                    *second = T::from_sample(right);
                    rest.fill(T::EQUILIBRIUM);
                }
                [] => (),
            }
        }
        buffer[there * channels..].fill(T::EQUILIBRIUM);
        if there < wanted && !self.shared.ended.load(Ordering::Relaxed) {
            self.shared.underruns.fetch_add((wanted - there) as u64, Ordering::Relaxed);
        }
        self.shared.callbacks.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_with(samples: &[f32]) -> (Feed, Playback) {
        let (mut feed, playback) = sample_ring(samples.len());
        feed.samples.push_entire_slice(samples).expect("room for all");
        (feed, playback)
    }

    #[test]
    fn samples_reach_devices_of_one_two_and_many_channels() {
        let mut mono = [9f32; 2];
        ring_with(&[0.2, 0.4, -0.6, 0.0]).1.fill(&mut mono, 1);
        assert!((mono[0] - 0.3).abs() < 1e-6 && (mono[1] + 0.3).abs() < 1e-6);
        let mut stereo = [9f32; 4];
        ring_with(&[0.2, 0.4, -0.6, 0.0]).1.fill(&mut stereo, 2);
        assert_eq!(stereo, [0.2, 0.4, -0.6, 0.0]);
        let mut surround = [9f32; 6];
        ring_with(&[0.2, 0.4, -0.6, 0.0]).1.fill(&mut surround, 3);
        assert_eq!(surround, [0.2, 0.4, 0.0, -0.6, 0.0, 0.0]);
    }

    #[test]
    fn want_of_music_is_silence_and_counted_until_the_song_has_ended() {
        let (feed, mut playback) = ring_with(&[0.5, 0.5]);
        let mut buffer = [9i16; 8];
        playback.fill(&mut buffer, 2);
        assert_eq!(buffer[2..], [0; 6]);
        assert_eq!(feed.shared.underruns.load(Ordering::Relaxed), 3);
        feed.shared.ended.store(true, Ordering::Relaxed);
        playback.fill(&mut buffer, 2);
        assert_eq!(feed.shared.underruns.load(Ordering::Relaxed), 3);
    }
}
