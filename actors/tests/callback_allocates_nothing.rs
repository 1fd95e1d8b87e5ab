//! Promise: the audio callback allocates nothing and frees nothing, whatever the device takes and whatever happens.
//!
//! A counting allocator is linked into this test; it counts what the calling thread does.

use allocation_counter::{AllocationInfo, measure};
use cpal::{FromSample, I24, SizedSample, U24};
use heartstream_actors::{sample_ring::sample_ring, song_context::Pause, speaker_sink::cpal_device::fill};

/// Lets a device of the format `T` and of `channels` channels play music, run dry, be paused, and end.
fn play<T: SizedSample + FromSample<f32>>(channels: usize) -> [AllocationInfo; 4] {
    let pause = Pause::default();
    let (mut feed, mut playback) = sample_ring(1000, pause.clone());
    let mut buffer = vec![T::EQUILIBRIUM; 256 * channels];
    feed.samples.push_entire_slice(&[0.5; 2000]).expect("room for all");
    let mut run = |times: usize| measure(|| (0..times).for_each(|_| fill(&mut playback, &mut buffer, channels)));
    let playing = run(3);
    let dry = run(3);
    pause.set(true);
    let paused = run(2);
    pause.set(false);
    feed.shared.ended.store(true, std::sync::atomic::Ordering::Relaxed);
    drop(feed); // even when the other end is gone, the ring is the callback's to keep
    let ended = run(2);
    [playing, dry, paused, ended]
}

#[test]
fn no_format_and_no_count_of_channels_makes_the_callback_allocate_or_free() {
    for channels in [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64] {
        let counted = [
            ("f32", play::<f32>(channels)),
            ("f64", play::<f64>(channels)),
            ("i8", play::<i8>(channels)),
            ("i16", play::<i16>(channels)),
            ("i24", play::<I24>(channels)),
            ("i32", play::<i32>(channels)),
            ("i64", play::<i64>(channels)),
            ("u8", play::<u8>(channels)),
            ("u16", play::<u16>(channels)),
            ("u24", play::<U24>(channels)),
            ("u32", play::<u32>(channels)),
            ("u64", play::<u64>(channels)),
        ];
        for (format, parts) in counted {
            for AllocationInfo { count_total, count_current, .. } in parts {
                // What is allocated less what is freed is 0, and what is allocated is 0: so nothing is freed either.
                assert_eq!((count_total, count_current), (0, 0), "{format}, {channels} channels");
            }
        }
    }
}

#[test]
fn buffers_for_each_channel_allocate_and_free_nothing() {
    for channels in [0, 1, 2, 8] {
        let (mut feed, mut playback) = sample_ring(1000, Pause::default());
        feed.samples.push_entire_slice(&[0.5; 2000]).expect("room for all");
        let mut buffers = vec![vec![0f32; 256]; channels];
        let counted = measure(|| (0..6).for_each(|_| playback.fill_planar(&mut buffers)));
        assert_eq!((counted.count_total, counted.count_current), (0, 0), "{channels} channels");
    }
}

#[test]
fn the_counting_allocator_does_count() {
    let kept = std::cell::Cell::new(Some(vec![0u8; 64]));
    assert_eq!(measure(|| drop(kept.take())).count_current, -1);
    assert_eq!(measure(|| drop(std::hint::black_box(vec![0u8; 64]))).count_total, 1);
}
