//! Sample ring of the audio callback, which takes samples out of it and does nothing else.
//!
//! The callback takes no lock, allocates nothing, frees nothing, prints nothing and waits for nothing: a late callback
//! is a click. Everything it needs is in [`Playback`], made before the stream starts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use heartstream_messages::units::CHANNELS;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::song_context::Pause;

/// The callback's end of the ring.
pub struct Playback {
    samples: Consumer<f32>,
    shared: Arc<Shared>,
    pause: Pause,
}

/// The stage's end of the ring.
pub struct Feed {
    /// Interleaved stereo samples.
    pub samples: Producer<f32>,
    /// Samples and flags, shared by both ends.
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
}

/// A ring for `samples` samples of each channel, whose callback plays silence while `pause` is on.
pub fn sample_ring(samples: usize, pause: Pause) -> (Feed, Playback) {
    let (producer, consumer) = RingBuffer::new(samples * CHANNELS);
    let shared = Arc::new(Shared::default());
    (Feed { samples: producer, shared: Arc::clone(&shared) }, Playback { samples: consumer, shared, pause })
}

impl Feed {
    /// Samples, of both channels together, that the callback has not taken.
    pub fn in_ring(&self) -> usize {
        self.samples.buffer().capacity() - self.samples.slots()
    }
}

impl Playback {
    /// Fills a device's buffer of `channels` interleaved channels. Called in the real-time thread.
    ///
    /// One channel gets the mean of both; further ones than two get silence.
    pub fn fill(&mut self, buffer: &mut [f32], channels: usize) {
        self.fill_with(buffer, channels, 0.0, |sample| sample);
    }

    /// As [`Playback::fill`] for a device that takes other samples than `f32`: `silence` is one of them, `convert` makes
    /// them.
    pub fn fill_with<T: Copy>(&mut self, buffer: &mut [T], channels: usize, silence: T, convert: impl Fn(f32) -> T) {
        let frames = buffer.len().checked_div(channels).unwrap_or(0);
        let mut rest = buffer.chunks_exact_mut(channels.max(1));
        let taken = self.take(frames, |left, right| match rest.next() {
            Some([mono]) => *mono = convert(0.5 * (left + right)),
            Some([first, second, others @ ..]) => {
                *first = convert(left);
                *second = convert(right);
                others.fill(silence);
            }
            _ => (),
        });
        buffer[taken * channels..].fill(silence);
    }

    /// Fills a buffer for each channel, as plugin hosts have them, up to the length of the shortest. Called in the
    /// real-time thread.
    ///
    /// One channel gets the mean of both; further ones than two get silence.
    ///
    /// ```
    /// # fn callback(playback: &mut heartstream_actors::sample_ring::Playback) {
    /// let mut channels = [[0f32; 512]; 2];
    /// playback.fill_planar(&mut channels);
    /// # }
    /// ```
    pub fn fill_planar<C: AsMut<[f32]>>(&mut self, channels: &mut [C]) {
        let frames = channels.iter_mut().map(|channel| channel.as_mut().len()).min().unwrap_or(0);
        let mut place = 0;
        let taken = self.take(frames, |left, right| {
            match channels {
                [mono] => mono.as_mut()[place] = 0.5 * (left + right),
                [first, second, ..] => {
                    first.as_mut()[place] = left;
                    second.as_mut()[place] = right;
                }
                [] => (),
            }
            place += 1;
        });
        for (number, channel) in channels.iter_mut().enumerate() {
            let sounding = if number < CHANNELS { taken } else { 0 };
            channel.as_mut()[sounding..].fill(0.0);
        }
    }

    /// Takes up to `frames` samples of both channels out of the ring; how many, and an under-run is counted.
    fn take(&mut self, frames: usize, mut put: impl FnMut(f32, f32)) -> usize {
        self.shared.callbacks.fetch_add(1, Ordering::Relaxed);
        if self.pause.is_on() {
            return 0;
        }
        let there = (self.samples.slots() / CHANNELS).min(frames);
        for _ in 0..there {
            put(self.samples.pop().unwrap_or(0.0), self.samples.pop().unwrap_or(0.0));
        }
        if there < frames && !self.shared.ended.load(Ordering::Relaxed) {
            self.shared.underruns.fetch_add((frames - there) as u64, Ordering::Relaxed);
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring_with(samples: &[f32]) -> (Feed, Playback) {
        let (mut feed, playback) = sample_ring(samples.len(), Pause::default());
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
        let mut buffer = [9f32; 8];
        playback.fill(&mut buffer, 2);
        assert_eq!(buffer[2..], [0.0; 6]);
        assert_eq!(feed.shared.underruns.load(Ordering::Relaxed), 3);
        feed.shared.ended.store(true, Ordering::Relaxed);
        playback.fill(&mut buffer, 2);
        assert_eq!(feed.shared.underruns.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_pause_is_silence_that_is_not_counted_and_the_position_stands() {
        let pause = Pause::default();
        let (mut feed, mut playback) = sample_ring(2, pause.clone());
        feed.samples.push_entire_slice(&[0.25, -0.25, 0.5, -0.5]).expect("room for all");
        let mut buffer = [9f32; 2];
        pause.set(true);
        for _ in 0..3 {
            playback.fill(&mut buffer, 2);
            assert_eq!(buffer, [0.0, 0.0]);
        }
        assert_eq!((feed.in_ring(), feed.shared.underruns.load(Ordering::Relaxed)), (4, 0));
        pause.set(false);
        playback.fill(&mut buffer, 2);
        assert_eq!(buffer, [0.25, -0.25]);
    }

    #[test]
    fn samples_reach_a_buffer_for_each_channel_as_they_reach_interleaved_ones() {
        const SONG: [f32; 6] = [0.2, 0.4, -0.6, 0.0, 0.1, 0.3];
        for (channels, room) in [(1, 2), (2, 3), (3, 3), (2, 5), (6, 4)] {
            let mut interleaved = vec![9f32; channels * room];
            ring_with(&SONG).1.fill(&mut interleaved, channels);
            let mut planar = vec![vec![9f32; room]; channels];
            let (feed, mut playback) = ring_with(&SONG);
            playback.fill_planar(&mut planar);
            for (number, channel) in planar.iter().enumerate() {
                let expected: Vec<f32> = interleaved.iter().skip(number).step_by(channels).copied().collect();
                assert_eq!(*channel, expected, "channel {number} of {channels}, {room} samples");
            }
            assert_eq!(feed.shared.underruns.load(Ordering::Relaxed), room.saturating_sub(3) as u64);
        }
        // The shortest buffer says how much is taken; a host without channels takes nothing.
        let (feed, mut playback) = ring_with(&SONG);
        playback.fill_planar(&mut [vec![9f32; 1], vec![9f32; 4]]);
        assert_eq!(feed.in_ring(), 4);
        playback.fill_planar::<Vec<f32>>(&mut []);
        assert_eq!((feed.in_ring(), feed.shared.underruns.load(Ordering::Relaxed)), (4, 0));
    }
}
