//! Promise: every sample of a song is played once and in order, whatever the device is and however often it goes away.

mod support;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use heartstream_actors::{
    Event, StageWork,
    song_context::{Faults, SongContext},
    speaker_sink::{OnDeviceLoss, Speaker, SpeakerSinkStage},
};
use heartstream_messages::{
    PcmBlock, SpeakerState,
    units::{Frames, SampleIndex, Seconds},
};
use support::{FakeDevice, Offer, Playing};

/// Samples of each channel in a block, as the stitcher makes them.
const BLOCK: usize = 11_520;

/// A song of which every sample is another one, and none is silent.
fn song(blocks: usize) -> Vec<f32> {
    (0..blocks * BLOCK * 2).map(|place| (place + 1) as f32 / 16_777_216.0).collect()
}

fn blocks(song: &[f32]) -> impl Iterator<Item = Arc<PcmBlock>> {
    song.chunks(BLOCK * 2).enumerate().map(|(index, samples)| {
        Arc::new(PcmBlock { start: SampleIndex((index * BLOCK) as u64), samples: samples.to_vec() })
    })
}

fn stage(speaker: Speaker, context: &SongContext, song: &[f32]) -> SpeakerSinkStage {
    let longest = Frames((song.len() / 2).div_ceil(3840) as u64);
    SpeakerSinkStage::new(speaker, 0, longest, &[Seconds(25.6)], context.clone())
}

fn context() -> SongContext {
    SongContext::new(1, Faults::default())
}

/// Plays a song to its end, as the stage's actor would.
fn perform(stage: &mut SpeakerSinkStage, song: &[f32]) -> Result<(), String> {
    let mut none = VecDeque::new();
    blocks(song)
        .map(Event::Input)
        .chain([Event::End])
        .try_for_each(|event| stage.step(event, &mut none).map(drop))
        .map_err(|error| error.to_string())
}

/// Listens to a device, and pulls its cable after each of these counts of samples.
fn listener(device: &FakeDevice, cuts: &[usize]) -> (Arc<Mutex<Vec<f32>>>, Playing) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (ears, mut cuts) = (Arc::clone(&heard), VecDeque::from(cuts.to_vec()));
    let playing = device.play(512, move |device, piece| {
        let mut heard = ears.lock().expect("one listener");
        heard.extend_from_slice(piece);
        if cuts.front().is_some_and(|cut| heard.len() >= *cut) {
            cuts.pop_front();
            device.lose();
        }
    });
    (heard, playing)
}

#[test]
fn a_device_at_48_khz_plays_the_song_to_the_bit() {
    let (song, device, context) = (song(20), FakeDevice::new([Offer::Rate(48_000)]), context());
    let (heard, playing) = listener(&device, &[]);
    perform(&mut stage(device.speaker(), &context, &song), &song).expect("played");
    playing.stop();
    assert!(*heard.lock().expect("one listener") == song);
    assert_eq!(device.pull(1), None, "the device is closed");
    let progress = context.meter.progress();
    assert_eq!(progress.delivered, SampleIndex(20 * BLOCK as u64));
    let speaker = progress.speaker.expect("it played");
    assert!((speaker.played.0 - 20.0 * 0.24).abs() < 1e-9 && speaker.buffered.0 == 0.0, "{speaker:?}");
}

#[test]
fn a_device_that_is_lost_and_comes_back_goes_on_with_the_next_sample() {
    let song = song(30);
    let offers = [Offer::Rate(48_000), Offer::Away, Offer::Away, Offer::Stuck, Offer::Rate(48_000)];
    let (device, context) = (FakeDevice::new(offers), context());
    // Further apart, and further from the end, than what a ring holds: a cut is noticed before the next one.
    let (heard, playing) = listener(&device, &[20_000, 230_000, 450_000]);
    let speaker = device.speaker().look_every(Duration::from_millis(1));
    perform(&mut stage(speaker, &context, &song), &song).expect("played");
    playing.stop();
    let heard = heard.lock().expect("one listener");
    // A device that is told to go takes what it takes until the sink has noticed; nothing is lost and nothing is twice.
    assert_eq!(heard.len(), song.len());
    assert!(*heard == song);
    assert_eq!(device.times_opened(), 4);
}

#[test]
fn while_a_device_is_lost_the_song_is_held_back_and_the_progress_says_so() {
    let (song, context) = (song(40), context());
    let device = FakeDevice::new([Offer::Rate(48_000), Offer::Away]);
    let (_, playing) = listener(&device, &[50_000]);
    let taken = Arc::new(AtomicUsize::new(0));
    let speaker = device.speaker().look_every(Duration::from_millis(1));
    let mut stage = stage(speaker, &context, &song);
    let (stop, meter, counted) = (context.stop.clone(), Arc::clone(&context.meter), Arc::clone(&taken));
    let sink = std::thread::spawn(move || {
        let mut none = VecDeque::new();
        for block in blocks(&song) {
            stage.step(Event::Input(block), &mut none).expect("held back, not failed");
            counted.fetch_add(1, Ordering::Release);
        }
    });
    let lost = || meter.progress().speaker.is_some_and(|speaker| speaker.state == SpeakerState::DeviceLost);
    while !lost() {
        std::thread::yield_now();
    }
    playing.stop();
    // What was heard and a ring's second more was taken; the rest of 9.6 s waits outside.
    let most = (50_000 / 2 + 48_000) / BLOCK + 2;
    assert!(taken.load(Ordering::Acquire) <= most, "{} blocks were taken", taken.load(Ordering::Acquire));
    stop.set();
    sink.join().expect("it ends when the song is cancelled");
}

#[test]
fn a_lost_device_ends_the_song_where_that_was_asked_for() {
    let (song, context, device) = (song(30), context(), FakeDevice::new([Offer::Rate(48_000)]));
    let (_, playing) = listener(&device, &[50_000]);
    let speaker = device.speaker().on_device_loss(OnDeviceLoss::End);
    let error = perform(&mut stage(speaker, &context, &song), &song).expect_err("lost");
    playing.stop();
    assert!(error.starts_with("the audio device fake was lost after ") && error.contains("Connect it"), "{error}");
}

#[test]
fn a_device_that_never_opened_was_not_lost_and_is_not_waited_for() {
    let (song, context) = (song(2), context());
    for offer in [Offer::Away, Offer::Stuck] {
        let error = perform(&mut stage(FakeDevice::new([offer]).speaker(), &context, &song), &song);
        assert!(error.is_err(), "{offer:?}");
    }
}

/// A tone, which can be recognised at any rate.
fn tone(rate: u32, frames: usize) -> Vec<f32> {
    let place = |n: usize| n as f64 / f64::from(rate) * 997.0 * std::f64::consts::TAU;
    (0..frames).flat_map(|n| [0.5 + 0.3 * place(n).sin() as f32, -0.5 - 0.2 * place(n).cos() as f32]).collect()
}

/// How many samples of `heard` are far from `expected`.
fn strange(heard: &[f32], expected: &[f32]) -> usize {
    assert_eq!(heard.len(), expected.len());
    heard.iter().zip(expected).filter(|(x, y)| (**x - **y).abs() > 1e-3).count()
}

#[test]
fn a_device_of_another_rate_plays_the_song_at_its_pitch_and_length() {
    let song = tone(48_000, 12 * BLOCK);
    for rate in [44_100u32, 96_000, 22_050] {
        let (device, context) = (FakeDevice::new([Offer::Rate(rate)]), context());
        let expected = tone(rate, 12 * BLOCK * rate as usize / 48_000);
        let (heard, playing) = listener(&device, &[]);
        perform(&mut stage(device.speaker(), &context, &song), &song).expect("played");
        playing.stop();
        let strange = strange(&heard.lock().expect("one listener"), &expected);
        assert!(strange < 4 * rate as usize / 100, "{rate} Hz: {strange} samples"); // both edges of a tone out of nothing
        let played = context.meter.progress().speaker.expect("it played").played;
        assert!((played.0 - 12.0 * 0.24).abs() < 1e-4, "{rate} Hz: {played}");
    }
}

#[test]
fn a_device_may_come_back_with_another_rate() {
    let song = tone(48_000, 40 * BLOCK);
    let (device, context) = (FakeDevice::new([Offer::Rate(44_100), Offer::Rate(96_000)]), context());
    let heard = Arc::new(Mutex::new([Vec::new(), Vec::new()]));
    let ears = Arc::clone(&heard);
    let playing = device.play(512, move |device, piece| {
        let mut heard = ears.lock().expect("one listener");
        let second = device.times_opened() - 1;
        heard[second].extend_from_slice(piece);
        if second == 0 && heard[0].len() > 100_000 {
            device.lose();
            while device.times_opened() == 1 {
                std::thread::yield_now(); // nothing more is pulled from the first
            }
        }
    });
    let speaker = device.speaker().look_every(Duration::from_millis(1));
    perform(&mut stage(speaker, &context, &song), &song).expect("played");
    playing.stop();
    let heard = heard.lock().expect("one listener");
    let (first, second) = (heard[0].len() / 2, heard[1].len() / 2);
    let whole = tone(44_100, first);
    assert!(strange(&heard[0], &whole) < 2 * 441 * 2);
    // The second device begins where the first one was cut, on its own grid: each rate rounds for
    // itself, to less than two samples together, and a sample is 0.02 of this tone.
    let from = first as f64 / 44_100.0;
    let at = |n: usize| (from + n as f64 / 96_000.0) * 997.0 * std::f64::consts::TAU;
    let wrong = (0..second).filter(|n| (heard[1][2 * n] - (0.5 + 0.3 * at(*n).sin() as f32)).abs() > 0.04).count();
    assert!((9.6 - from - second as f64 / 96_000.0).abs() < 1e-4, "{first} and {second} samples");
    assert!(wrong < second / 100, "{wrong} of {second}"); // the seam of the second that was converted, and the end
}

#[test]
fn a_paused_song_stands_still_and_goes_on_to_the_bit_without_under_runs() {
    let (song, device, context) = (song(20), FakeDevice::new([Offer::Rate(48_000)]), context());
    let (pause, mut silences) = (context.pause.clone(), 0);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    let playing = device.play(512, move |_, piece| {
        let mut heard = ears.lock().expect("one listener");
        if pause.is_on() {
            assert!(piece.is_empty(), "a paused song is silent");
            silences += 1;
            pause.set(silences % 100 != 0);
        } else {
            heard.extend_from_slice(piece);
            pause.set(silences == 0 && heard.len() > 100_000);
        }
    });
    perform(&mut stage(device.speaker(), &context, &song), &song).expect("played");
    playing.stop();
    assert!(*heard.lock().expect("one listener") == song);
}

#[test]
fn a_gapless_start_keeps_what_it_waits_for_and_says_so() {
    // The song could be 100 minutes long, and its first 0.24 s took longer than that to make.
    let (song, device, context) = (song(1), FakeDevice::new([Offer::Rate(48_000)]), context());
    let mut stage = SpeakerSinkStage::new(device.speaker(), 0, Frames(75_000), &[Seconds(0.24)], context.clone());
    let mut none = VecDeque::new();
    while context.clock.elapsed() < Duration::from_millis(300) {
        std::thread::yield_now();
    }
    for (index, samples) in song.chunks(BLOCK / 5).enumerate() {
        let block = PcmBlock { start: SampleIndex((index * BLOCK / 10) as u64), samples: samples.to_vec() };
        stage.step(Event::Input(Arc::new(block)), &mut none).expect("kept");
    }
    let speaker = context.meter.progress().speaker.expect("audio came");
    assert_eq!((speaker.state, device.times_opened()), (SpeakerState::Waits, 0));
    assert!(speaker.real_time_factor > 1.0 && speaker.wait.0 > 60.0, "{speaker:?}");
    assert!((speaker.buffered.0 - 0.24).abs() < 1e-9, "{speaker:?}");
    let (heard, playing) = listener(&device, &[]);
    stage.step(Event::End, &mut none).expect("the end of the song ends the wait");
    playing.stop();
    assert!(*heard.lock().expect("one listener") == song);
    assert_eq!(context.meter.progress().speaker.map(|speaker| speaker.state), Some(SpeakerState::Plays));
}
