//! Tests of decoding: guidance, cached prefill, KV dtype and limits.

use super::*;
use crate::heartmula::CodeSampler;
use crate::test_checkpoints::tiny;

/// Takes codes that do not depend on the logits, and keeps those.
#[derive(Default)]
struct Dictated {
    logits: Vec<f32>,
}

impl CodeSampler for Dictated {
    fn sample(&mut self, frame: u64, codebook: usize, logits: &[f32]) -> Result<u32> {
        self.logits.extend_from_slice(logits);
        Ok((7 * frame as u32 + 3 * codebook as u32) % 32)
    }
}

const FRAMES: usize = 6;

fn logits(model: &HeartMula, guidance: f64) -> Vec<f32> {
    let prompt = PromptTokens { tags: vec![1, 80, 90, 2], lyrics: vec![1, 100, 110, 120, 2] };
    let mut state = model.start(&prompt, guidance, FRAMES).expect("a prompt that fits");
    let mut sampler = Dictated::default();
    for _ in 0..FRAMES {
        model.next_frame(&mut state, &mut sampler).expect("a frame");
    }
    sampler.logits
}

fn model() -> HeartMula {
    let (_folder, directory) = tiny();
    directory.load_lm(&Device::Cpu).expect("a model")
}

#[test]
fn a_prefill_is_stopped_before_any_layer_and_the_next_one_is_as_if_it_had_not_been() {
    let prompt = PromptTokens { tags: vec![1, 80, 90, 2], lyrics: vec![1, 100, 110, 120, 2] };
    let stopped = model();
    assert!(stopped.start_unless(&prompt, 1.5, FRAMES, &|| true).expect("no error").is_none());
    assert!(logits(&stopped, 1.5) == logits(&model(), 1.5));
}

#[test]
fn the_guided_batch_holds_the_unguided_run_as_its_first_row() {
    let model = model();
    let unguided = logits(&model, 1.0);
    // Guided logits are u + g (c - u): from two guidances the first row's logits c follow.
    let (twice, thrice) = (logits(&model, 2.0), logits(&model, 3.0));
    let mut led = 0f32;
    for (place, c) in unguided.iter().enumerate() {
        let first_row = 2.0 * twice[place] - thrice[place];
        assert!((first_row - c).abs() <= 1e-4 * (1.0 + c.abs()), "logit {place}: {first_row} and {c}");
        led = led.max((twice[place] - c).abs());
    }
    assert!(led > 0.1, "guidance leads somewhere");
}

#[test]
fn keys_and_values_in_f16_change_logits_by_a_little_and_do_so_again_for_a_prompt_that_comes_again() {
    let half = model().keeping_kv_as(WeightDtype::F16);
    for guidance in [1.0, 1.5] {
        let (wide, narrow) = (logits(&model(), guidance), logits(&half, guidance));
        let largest = wide.iter().fold(0f32, |most, x| most.max(x.abs()));
        let error = wide.iter().zip(&narrow).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(error > 0.0 && error < 1e-2 * largest, "{error} of {largest}");
        assert!(logits(&half, guidance) == narrow);
    }
}

#[test]
fn a_prompt_that_comes_again_gives_the_same_logits_bit_for_bit() {
    let model = model();
    let (guided, unguided) = (logits(&model, 1.5), logits(&model, 1.0));
    assert!(model.weights.tensors().expect("tensors").last_prompt.lock().expect("no panic").is_some(), "it is kept");
    assert!(logits(&model, 1.0) == unguided && logits(&model, 1.5) == guided);
    let other = PromptTokens { tags: vec![1, 2], lyrics: vec![1, 9, 2] };
    model.start(&other, 1.5, 3).expect("a prompt that fits");
    assert!(logits(&model, 1.5) == guided);
    assert!(logits(&self::model(), 1.5) == guided, "and as a model that never read it");
}

#[test]
fn one_unconditional_position_stands_for_all_of_them() {
    let model = model();
    let prompt = PromptTokens { tags: vec![1, 80, 90, 2], lyrics: (3..200).collect() };
    let (count, width) = (prompt_positions(&prompt), model.config.backbone.embed_dim);
    let cache = || KvCache::new(&model.config.backbone, 2, count + 1, &model.device).expect("a cache");
    let (mut spread, mut whole) = (cache(), cache());
    let weights = model.weights.tensors().expect("tensors");
    let quick = model.read_prompt(weights, &prompt, 2, &mut spread, &|| false).expect("a prompt");
    let quick = quick.expect("nothing stops it");
    // Both rows in full, as the reference has them.
    let words = model.embed_prompt(&prompt, 1).expect("words");
    let nothing = Tensor::from_vec(model.unconditional.repeat(count), (1, count, width), &model.device);
    let both = Tensor::cat(&[&words, &nothing.expect("rows")], 0).expect("a batch");
    let full = weights.backbone.forward(&both, &mut whole).expect("room");
    let full = full.narrow(1, count - 1, 1).and_then(|last| last.squeeze(1)).expect("the last position");
    let next = model.embed_frame(&[1, 2, 3, 4, 5, 6, 7, 8], 2).expect("a frame");
    let after = |cache: &mut KvCache| weights.backbone.forward(&next, cache).expect("room");
    for (a, b) in [(quick, full), (after(&mut spread), after(&mut whole))] {
        let numbers = |tensor: &Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
        for (a, b) in numbers(&a).into_iter().zip(numbers(&b)) {
            assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} and {b}");
        }
    }
}

#[test]
fn a_prompt_or_a_frame_beyond_the_positions_is_refused() {
    let model = model();
    let prompt = PromptTokens { tags: vec![1, 2], lyrics: vec![1, 3, 2] };
    assert!(model.start(&prompt, 1.0, 4096).is_err(), "6 positions of words and 4095 of frames");
    let mut state = model.start(&prompt, 1.0, 2).expect("room for two frames");
    let mut sampler = Dictated::default();
    model.next_frame(&mut state, &mut sampler).expect("the first");
    model.next_frame(&mut state, &mut sampler).expect("the second");
    assert!(model.next_frame(&mut state, &mut sampler).is_err());
    let strange = PromptTokens { tags: vec![1, 100_000], lyrics: vec![] };
    assert!(model.start(&strange, 1.0, 1).is_err_and(|error| error.to_string().contains("100000")));
}
