//! Tests of the vocoder: streamed equals whole, and the reference's rounding.

use super::*;
use crate::{signal::KeyedNoise, test_checkpoints::tiny};
use proptest::{prelude::*, test_runner::TestRunner};

/// The vocoder of the smallest model, and latents for `frames` frames.
fn setting(frames: usize) -> (Vocoder, Vec<f32>) {
    let (_folder, directory) = tiny();
    let store = directory.codec_store().expect("files");
    let vocoder = Vocoder::load(&directory.codec, &store, &Device::Cpu).expect("weights");
    let mut latents = vec![0f32; frames * 2 * vocoder.latent_dim];
    KeyedNoise::new(4).fill_latent(0, &mut latents);
    (vocoder, latents)
}

#[test]
fn latents_fed_in_any_pieces_give_the_samples_of_the_whole_bit_for_bit() {
    const MOST: usize = 45;
    let (vocoder, latents) = setting(MOST);
    let width = 2 * vocoder.latent_dim;
    let pieces = proptest::collection::vec((0usize..12, any::<bool>()), 1..12);
    let config = ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() };
    let split = |pieces: Vec<(usize, bool)>| {
        let frames = pieces.iter().map(|(frames, _)| frames).sum::<usize>().min(MOST);
        let whole = vocoder.decode(&latents[..frames * width]).expect("whole frames");
        let mut state = vocoder.start().expect("silence");
        let mut samples = [Vec::new(), Vec::new()];
        let mut place = 0;
        let mut take = |[left, right]: [Vec<f32>; 2]| {
            samples[0].extend(left);
            samples[1].extend(right);
        };
        for (piece, flush) in pieces {
            let end = (place + piece).min(frames);
            take(vocoder.push(&mut state, &latents[place * width..end * width]).expect("whole frames"));
            if flush {
                take(vocoder.flush(&mut state).expect("samples"));
            }
            place = end;
        }
        take(vocoder.finish(state).expect("an end"));
        prop_assert_eq!(samples[0].len(), frames * vocoder.samples_per_latent());
        prop_assert!(samples == whole);
        Ok(())
    };
    TestRunner::new(config).run(&pieces, split).expect("every split");
}

#[test]
fn what_can_be_decoded_by_now_waits_for_no_chunk_when_it_is_flushed() {
    let (vocoder, latents) = setting(12);
    let (width, samples) = (2 * vocoder.latent_dim, vocoder.samples_per_latent());
    let mut state = vocoder.start().expect("silence");
    let fed = 8 + vocoder.margin + 1;
    let [left, _] = vocoder.push(&mut state, &latents[..fed * width]).expect("whole frames");
    assert_eq!(left.len(), 8 * samples, "a chunk");
    let [left, right] = vocoder.flush(&mut state).expect("samples");
    assert_eq!((left.len(), right.len()), (samples, samples), "all but the look-ahead");
    assert!(vocoder.flush(&mut state).expect("samples")[0].is_empty());
}

#[test]
fn samples_do_not_change_when_more_latents_follow_than_are_looked_ahead_to() {
    let (vocoder, latents) = setting(40);
    let width = 2 * vocoder.latent_dim;
    let [whole, _] = vocoder.decode(&latents).expect("whole frames");
    for wanted in [1, 7, 8, 20] {
        let fed = vocoder.latents_to_feed(wanted);
        let [part, _] = vocoder.decode(&latents[..fed * width]).expect("whole frames");
        let samples = wanted * vocoder.samples_per_latent();
        assert!(part[..samples] == whole[..samples], "the first {wanted} of {fed} latents");
    }
}

#[test]
fn what_is_decoded_whole_to_learn_from_is_what_a_stream_gives() {
    let (vocoder, latents) = setting(11);
    let [left, right] = vocoder.decode(&latents).expect("whole frames");
    let rounded: Vec<f32> = latents.into_iter().map(round_to_ninths).collect();
    let rounded = Tensor::from_vec(rounded, (11, 2, vocoder.latent_dim), &Device::Cpu).expect("numbers");
    let rounded = candle_core::Var::from_tensor(&rounded.transpose(0, 1).expect("channels")).expect("a variable");
    let whole = vocoder.forward_whole(&rounded).expect("shapes that fit").to_vec2::<f32>().expect("numbers");
    for (found, expected) in whole.iter().zip([left, right]) {
        assert_eq!(found.len(), expected.len());
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() < 1e-4, "sample {place}: {found} for {expected}");
        }
    }
}

#[test]
fn latents_that_are_not_numbers_are_an_error_and_not_a_sound() {
    let (vocoder, mut latents) = setting(10);
    latents[300] = f32::NAN;
    let error = vocoder.decode(&latents).expect_err("not a number");
    assert!(error.to_string().contains("not numbers (NaN among them)"), "{error}");
}

#[test]
fn latents_that_are_no_whole_frame_are_refused() {
    let (vocoder, latents) = setting(2);
    let mut state = vocoder.start().expect("silence");
    assert!(vocoder.push(&mut state, &latents[1..]).is_err());
    assert!(vocoder.decode(&[]).is_ok_and(|[left, right]| left.is_empty() && right.is_empty()));
}

#[test]
fn latents_are_rounded_to_ninths_with_ties_to_even() {
    assert_eq!(round_to_ninths(0.0), 0.0);
    assert_eq!(round_to_ninths(0.5 / 9.0), 0.0);
    assert_eq!(round_to_ninths(1.5 / 9.0), 2.0 / 9.0);
    assert_eq!(round_to_ninths(-0.34), -3.0 / 9.0);
}
