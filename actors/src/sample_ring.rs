//! Sample ring of the audio callback, which takes samples out of it and does nothing else.
//!
//! The callback takes no lock, allocates nothing, frees nothing, prints nothing and waits for nothing: a late callback
//! is a click. Everything it needs is in [`Playback`], made before the stream starts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use cpal::{FromSample, SizedSample};
use heartstream_messages::units::CHANNELS;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::song_context::Pause;

/// The largest sample of a device that takes integers. One more step would be full scale, which has no integer, and
/// which 24-bit formats would wrap to the other side.
const MOST: f32 = 1.0 - f32::EPSILON;

/// The callback's end of the ring.
pub struct Playback {
    samples: Consumer<f32>,
    shared: Arc<Shared>,
    pause: Pause,
}

/// The stage's end of the ring.
pub struct Feed {
    /// Left and right in turn.
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
    /// Fills a device's buffer of `channels` channels. Called in the real-time thread.
    ///
    /// One channel gets the mean of both; further ones than two get silence. Floats are handed on as they are, whole
    /// numbers are held within full scale.
    pub fn fill<T: SizedSample + FromSample<f32>>(&mut self, buffer: &mut [T], channels: usize) {
        self.shared.callbacks.fetch_add(1, Ordering::Relaxed);
        if self.pause.is_on() || channels == 0 {
            return buffer.fill(T::EQUILIBRIUM);
        }
        let wanted = buffer.len() / channels;
        let there = (self.samples.slots() / CHANNELS).min(wanted);
        for frame in buffer.chunks_exact_mut(channels).take(there) {
            let (left, right) = (self.samples.pop().unwrap_or(0.0), self.samples.pop().unwrap_or(0.0));
            match frame {
                [mono] => *mono = sample(0.5 * (left + right)),
                [first, second, rest @ ..] => {
                    *first = sample(left);
                    *second = sample(right);
                    rest.fill(T::EQUILIBRIUM);
                }
                [] => (),
            }
        }
        buffer[there * channels..].fill(T::EQUILIBRIUM);
        if there < wanted && !self.shared.ended.load(Ordering::Relaxed) {
            self.shared.underruns.fetch_add((wanted - there) as u64, Ordering::Relaxed);
        }
    }
}

/// A sample in the device's format.
fn sample<T: SizedSample + FromSample<f32>>(sample: f32) -> T {
    T::from_sample(if T::FORMAT.is_float() { sample } else { sample.clamp(-1.0, MOST) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cpal::{I24, Sample, U24};

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
        let mut buffer = [9i16; 8];
        playback.fill(&mut buffer, 2);
        assert_eq!(buffer[2..], [0; 6]);
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

    /// Plays full scale, half scale and silence in the format `T`, as numbers.
    fn played<T: SizedSample + FromSample<f32> + Into<f64>>() -> [f64; 6] {
        let mut buffer = [T::EQUILIBRIUM; 6];
        ring_with(&[1.5, 1.0, 0.5, -0.5, -1.0, 0.0]).1.fill(&mut buffer, 2);
        buffer.map(Into::into)
    }

    #[test]
    fn full_scale_never_wraps_to_the_other_side_in_any_whole_number_format() {
        let wide = |sample: i64| sample as f64;
        let ordered = [
            ("i8", played::<i8>()),
            ("i16", played::<i16>()),
            ("i32", played::<i32>()),
            ("u8", played::<u8>()),
            ("u16", played::<u16>()),
            ("u32", played::<u32>()),
        ];
        for (format, [over, full, half, minus_half, minus_full, silence]) in ordered {
            assert!(over == full && full > half && half > silence, "{format}");
            assert!(silence > minus_half && minus_half > minus_full, "{format}");
        }
        let mut i24 = [I24::EQUILIBRIUM; 4];
        ring_with(&[1.5, 1.0, -1.0, 0.5]).1.fill(&mut i24, 2);
        assert_eq!(i24.map(|x| wide(x.inner().into())), [8_388_607.0, 8_388_607.0, -8_388_608.0, 4_194_304.0]);
        let mut u24 = [U24::EQUILIBRIUM; 4];
        ring_with(&[1.5, 1.0, -1.0, 0.0]).1.fill(&mut u24, 2);
        assert_eq!(u24.map(|x| wide(x.inner().into())), [16_777_215.0, 16_777_215.0, 0.0, 8_388_608.0]);
    }
}
