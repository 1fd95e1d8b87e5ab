//! Tests of distillation: training makes a drafter that knows its model, and what is written is read back.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::{Device, Tensor};
use heartstream_models::{
    heartmula::{HeartMula, KeyedSampler, PromptTokens, Sampling, expected_tensors},
    speculation::DrafterName,
    weights::{Checkpoint, EmbeddedFile},
};

use super::*;
use crate::synth::tiny;

const OPTIONS: DistillOptions =
    DistillOptions { heads: 2, pieces: 4, frames: 32, whole_frames: 64, steps: 60, learning_rate: 1e-2, seed: 1 };

fn song(model: &HeartMula, frames: usize, seed: u64) -> TaughtSong {
    let prompt = PromptTokens { tags: vec![1, 80, 90, 2], lyrics: vec![1, 100, 110, 120, 2] };
    let options = Sampling::default();
    let sampler = KeyedSampler::new(options, KeyedNoise::new(seed)).expect("in range");
    TaughtSong::write(model, &prompt, 1.5, frames, u32::MAX, sampler).expect("a song")
}

#[test]
fn training_goes_on_from_what_was_written_and_the_drafter_is_found() {
    let (_folder, directory) = tiny();
    let store = directory.lm_store().expect("its tensors");
    let model = directory.load_lm(&Device::Cpu).expect("a model");
    let (songs, held_out) = ([song(&model, 60, 1), song(&model, 60, 2)], [song(&model, 60, 3)]);
    let mut training = Distillation::new(&directory.lm, &store, OPTIONS, &Device::Cpu).expect("a drafter");
    let first = training.train(&songs).expect("a step");
    for _ in 1..20 {
        training.train(&songs).expect("a step");
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("lm")).expect("a folder");
    let [unfinished, path] =
        ["lm/unfinished.safetensors", "lm/drafter.safetensors"].map(|name| folder.path().join(name));
    training.write(&unfinished, BTreeMap::new(), true).expect("written");
    training.write(&path, BTreeMap::new(), false).expect("written");
    let checkpoint = Checkpoint::open(folder.path()).expect("a directory");
    let written = TensorStore::open_file(&checkpoint, "lm/unfinished.safetensors").expect("a file");
    let mut again = Distillation::resume(&directory.lm, &store, OPTIONS, (&written, training.step()), &Device::Cpu)
        .expect("goes on");
    assert_eq!(again.matches(&held_out).expect("matches"), training.matches(&held_out).expect("matches"));
    let last = again.train(&songs).expect("a step");
    assert!(last < 0.95 * first, "loss {first}, then {last}");
    // It is found beside the language model on disk, and as well among compiled files; half as large as the training
    // state.
    let bytes = std::fs::read(&path).expect("written").leak();
    assert!(bytes.len() < 1000 + std::fs::read(&unfinished).expect("written").len() * 6 / 10);
    let files = vec![EmbeddedFile { path: "lm/drafter.safetensors", bytes }].leak();
    for checkpoint in [checkpoint, Checkpoint::Embedded { name: "test", files }] {
        let found = DrafterWeights::find(&checkpoint, "lm", &directory.lm, &Device::Cpu).expect("a drafter");
        assert_eq!(found.map(|weights| weights.reach()), Some(2), "{checkpoint:?}");
    }
}

/// The tensors of the smallest model, but that a frame follows from the frame before alone: the layers of the backbone
/// give nothing to what they are fed.
fn predictable(store: &TensorStore, config: &HeartMulaConfig) -> TensorStore {
    let tensors = expected_tensors(config).into_iter().map(|Expected { name, shape }| {
        let numbers = store.tensor(&name, &shape, &Device::Cpu).expect("a tensor");
        let ends = ["output_proj.weight", "w2.weight"];
        let silent = name.starts_with("backbone.layers") && ends.iter().any(|end| name.ends_with(end));
        let numbers: Tensor = if silent { numbers.zeros_like().expect("zeros") } else { numbers };
        (name, numbers)
    });
    TensorStore::from_tensors(tensors.collect::<Vec<_>>())
}

#[test]
fn a_predictable_model_is_learned_and_its_songs_need_fewer_passes() {
    let (_folder, directory) = tiny();
    let store = predictable(&directory.lm_store().expect("its tensors"), &directory.lm);
    let model = Arc::new(HeartMula::load(&directory.lm, &store, &Device::Cpu).expect("a model"));
    let songs: Vec<_> = (0..6).map(|seed| song(&model, 120, seed)).collect();
    let (held_out, taught) = songs.split_at(1);
    let options = DistillOptions { heads: 1, steps: 200, ..OPTIONS };
    let mut training = Distillation::new(&directory.lm, &store, options, &Device::Cpu).expect("a drafter");
    let passes = |training: &Distillation| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("drafter.safetensors");
        training.write(&path, BTreeMap::new(), false).expect("written");
        let checkpoint = Checkpoint::open(folder.path()).expect("a directory");
        let written = TensorStore::open_file(&checkpoint, "drafter.safetensors").expect("a file");
        let weights = DrafterWeights::load(&directory.lm, &written, &Device::Cpu).expect("a drafter");
        let weights = Arc::new(weights);
        [DrafterName::NextState, DrafterName::Heads]
            .map(|drafter| held_out[0].passes(&model, &weights, drafter, 3).expect("drafts"))
    };
    let (before, passes_before) = (training.matches(held_out).expect("matches"), passes(&training));
    while !training.is_done() {
        training.train(taught).expect("a step");
    }
    let (after, passes_after) = (training.matches(held_out).expect("matches"), passes(&training));
    let mean = |matches: &Matches| matches.next.iter().sum::<f64>() / matches.next.len() as f64;
    assert!(mean(&after) > mean(&before) + 0.2, "{before:?}, then {after:?}");
    assert!(after.next_frames > before.next_frames + 0.04, "{before:?}, then {after:?}");
    for (before, after) in passes_before.into_iter().zip(passes_after) {
        assert!(after < before, "{passes_before:?} passes, then {passes_after:?}");
    }
}
