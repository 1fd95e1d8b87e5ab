//! The leveller: a gain, fixed or slow, and no sample above the ceiling.

use std::f32::consts::TAU;

use heartstream_formats::{Leveller, LoudnessMeter};
use heartstream_messages::{PcmBlock, units::SampleIndex};

fn levelled(decibels: f64, samples: &[f32], piece: usize) -> Vec<f32> {
    by(Leveller::fixed(decibels), samples, piece)
}

fn by(mut leveller: Leveller, samples: &[f32], piece: usize) -> Vec<f32> {
    let mut out = Vec::new();
    for (number, piece_samples) in samples.chunks(2 * piece).enumerate() {
        let block = PcmBlock { start: SampleIndex((number * piece) as u64), samples: piece_samples.to_vec() };
        let block = leveller.level(&block);
        assert_eq!(block.start.0, out.len() as u64 / 2, "blocks follow each other");
        out.extend(block.samples);
    }
    out.extend(leveller.finish().samples);
    out
}

fn tone(amplitude: f32, sample_frames: usize) -> Vec<f32> {
    (0..sample_frames).flat_map(|place| [amplitude * (place as f32 * 0.05).sin(); 2]).collect()
}

#[test]
fn quiet_music_is_only_multiplied() {
    let song = tone(0.2, 5_000);
    let gain = 10f64.powf(6.0 / 20.0) as f32;
    let expected: Vec<f32> = song.iter().map(|sample| sample * gain).collect();
    assert_eq!(levelled(6.0, &song, 1_000), expected);
}

#[test]
fn loud_music_stays_below_the_ceiling_and_changes_without_a_step() {
    // A hundred samples a period, and another amplitude where it passes zero.
    let amplitude = |place: usize| if (3_000..6_000).contains(&place) { 1.0 } else { 0.2 };
    let tone = |place: usize| amplitude(place) * (TAU * place as f32 / 100.0).sin();
    let song: Vec<f32> = (0..9_000).flat_map(|place| [tone(place); 2]).collect();
    let out = levelled(12.0, &song, 700);
    assert_eq!(out.len(), song.len());
    let peak = out.iter().fold(0f32, |peak, sample| peak.max(sample.abs()));
    assert!((0.85..=0.891).contains(&peak), "the ceiling is reached and kept: {peak}");
    // A tone at the ceiling changes by 0.891 · TAU / 100 = 0.056 from one sample to the next.
    let step = out.chunks(2).zip(out[2..].chunks(2)).map(|(now, next)| (next[0] - now[0]).abs()).fold(0.0, f32::max);
    assert!(step < 0.065, "a step of {step}");
}

#[test]
fn the_result_does_not_depend_on_how_the_song_is_cut() {
    let song = [tone(0.3, 1_000), tone(2.0, 500), tone(0.1, 2_000)].concat();
    let whole = levelled(3.0, &song, 10_000);
    for piece in [1, 7, 240, 241, 999] {
        assert!(levelled(3.0, &song, piece) == whole, "pieces of {piece}");
    }
}

#[test]
fn songs_of_any_level_come_to_the_target_slowly_and_however_they_are_cut() {
    let following = || Leveller::following(4.0, -16.0).unwrap();
    for amplitude in [0.075, 0.1, 0.16] {
        let song = tone(amplitude, 20 * 48_000);
        let out = by(following(), &song, 11_520);
        let mut meter = LoudnessMeter::new().unwrap();
        meter.measure(&PcmBlock { start: SampleIndex(0), samples: out.clone() }).unwrap();
        let loudness = meter.loudness().integrated.unwrap();
        assert!((-18.0..=-14.0).contains(&loudness), "{amplitude}: {loudness} LUFS");
        let gain = |place: usize| 20.0 * (out[place] / song[place]).log10();
        let places: Vec<usize> = (0..20).map(|second| 2 * (second * 48_000 + 4711)).collect();
        let fastest = places.windows(2).map(|two| (gain(two[1]) - gain(two[0])).abs()).fold(0.0, f32::max);
        assert!(fastest < 0.55, "{amplitude}: {fastest} dB in a second");
        assert!((gain(200) - 4.0).abs() < 0.01, "it begins with the card's gain");
        assert!(by(following(), &song, 7001) == out, "{amplitude}: other pieces");
    }
}
