//! Tests of the language model on a GPU beside a processor. For a machine with an NVIDIA GPU: `make test-gpu`.
#![cfg(feature = "cuda")]

use std::sync::Arc;

use candle_core::Device;
use heartstream_models::{
    DeviceName, Result, WeightDtype,
    heartmula::{CodeSampler, HeartMula, KeyedSampler, PromptTokens, Sampling, SongState},
    signal::KeyedNoise,
    speculation::{CarryOver, Completion, DepthWork, Frame, FrameDrafter, NGram, Speculator, StaleDepth},
};
use heartstream_tools::{
    oracle::Oracle,
    synth::{SynthSize, random_model},
};

const FRAMES: usize = 12;
const GUIDANCE: [f64; 2] = [1.0, 1.5];
/// The smallest model, one with counts that nothing divides, and one whose codes fill more than a block.
const SIZES: [SynthSize; 3] = [SynthSize::Tiny, SynthSize::Odd, SynthSize::Small];

fn gpu() -> Device {
    DeviceName::Cuda(0).open().expect("an NVIDIA GPU: this test is for nothing else")
}

fn model(size: SynthSize, weights: WeightDtype, kept: WeightDtype, device: &Device) -> HeartMula {
    let directory = random_model(size, 7).expect("configs");
    let store = directory.lm_store().expect("weights").with_matrices_as(weights);
    HeartMula::load(&directory.lm, &store, device).expect("a model").keeping_kv_as(kept)
}

/// A prompt that ends a few positions before a span does.
fn prompt() -> PromptTokens {
    PromptTokens { tags: (1..30).collect(), lyrics: (3..32).collect() }
}

fn sampler(seed: u64) -> KeyedSampler {
    KeyedSampler::new(Sampling { top_k: 20, ..Sampling::default() }, KeyedNoise::new(seed)).expect("in range")
}

/// Draws on the host what a keyed sampler draws.
struct OnTheHost(KeyedSampler);

impl CodeSampler for OnTheHost {
    fn sample(&mut self, frame: u64, codebook: usize, logits: &[f32]) -> Result<u32> {
        self.0.sample(frame, codebook, logits)
    }
}

/// Takes codes that do not depend on the logits, and keeps those.
#[derive(Default)]
struct Dictated(Vec<f32>);

impl CodeSampler for Dictated {
    fn sample(&mut self, frame: u64, codebook: usize, logits: &[f32]) -> Result<u32> {
        self.0.extend_from_slice(logits);
        Ok((7 * frame as u32 + 3 * codebook as u32) % 32)
    }
}

fn begun(model: &HeartMula, guidance: f64) -> SongState {
    model.start(&prompt(), guidance, FRAMES).expect("a prompt that fits")
}

fn written(model: &HeartMula, guidance: f64, sampler: &mut dyn CodeSampler) -> Vec<Frame> {
    let mut state = begun(model, guidance);
    (0..FRAMES).map(|_| model.next_frame(&mut state, sampler).expect("a frame")).collect()
}

#[test]
fn on_a_gpu_logits_are_those_of_a_processor() {
    let device = gpu();
    for size in SIZES {
        for weights in [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16] {
            for (kept, most) in [(WeightDtype::F32, 1e-4), (WeightDtype::F16, 3e-3)] {
                let both = [&Device::Cpu, &device].map(|device| model(size, weights, kept, device));
                for guidance in GUIDANCE {
                    let [here, there] = [0, 1].map(|which| {
                        let mut sampler = Dictated::default();
                        written(&both[which], guidance, &mut sampler);
                        sampler.0
                    });
                    assert_eq!(here.len(), there.len());
                    let of =
                        |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x).powi(2)).sum::<f64>();
                    let error = of(&mut here.iter().zip(&there).map(|(a, b)| a - b)) / of(&mut here.iter().copied());
                    assert!(error.sqrt() < most, "{size:?} {weights:?} {kept:?} {guidance}: {}", error.sqrt());
                }
            }
        }
    }
}

#[test]
fn on_a_gpu_a_song_is_the_same_however_it_is_written() {
    let device = gpu();
    for (size, kept) in SIZES.into_iter().zip([WeightDtype::F32, WeightDtype::F16, WeightDtype::F16]) {
        let model = Arc::new(model(size, WeightDtype::Bf16, kept, &device));
        for guidance in GUIDANCE {
            let song = written(&model, guidance, &mut sampler(5));
            assert_eq!(written(&model, guidance, &mut sampler(5)), song, "again, with the prompt that was kept");
            assert_eq!(written(&model, guidance, &mut OnTheHost(sampler(5))), song, "drawn on the host");
            let other = written(&model, guidance, &mut sampler(6));
            let (mut mine, mut beside) = (begun(&model, guidance), begun(&model, guidance));
            let (mut sampler5, mut sampler6) = (sampler(5), sampler(6));
            for place in 0..FRAMES {
                let frame = model.next_frame(&mut mine, &mut sampler5).expect("a frame");
                assert_eq!(frame, song[place], "beside another song");
                assert_eq!(model.next_frame(&mut beside, &mut sampler6).expect("a frame"), other[place]);
            }
            for replayed in [1, 5] {
                let mut state = begun(&model, guidance);
                song[..replayed].iter().for_each(|frame| model.replay_frame(&mut state, frame).expect("a frame"));
                for frame in &song[replayed..] {
                    let written = model.next_frame(&mut state, &mut sampler(5)).expect("a frame");
                    assert_eq!(written, *frame, "resumed behind {replayed} frames");
                }
            }
            for (name, work) in [("passes", pass()), ("steps", DepthWork::PLAIN)] {
                for drafters in drafters(&model, &song) {
                    let by = drafters.name();
                    let mut speculator = Speculator::drafting(vec![drafters], 3, work, sampler(5));
                    let mut state = begun(&model, guidance);
                    let mut drafted = Vec::new();
                    while drafted.len() < FRAMES {
                        drafted.extend(speculator.next_frames(&model, &mut state).expect("frames"));
                    }
                    assert_eq!(drafted, song, "{size:?} drafted by {by} in {name}, guidance {guidance}");
                }
            }
        }
    }
}

fn pass() -> DepthWork {
    DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail: true }
}

fn drafters(model: &Arc<HeartMula>, song: &[Frame]) -> Vec<Box<dyn FrameDrafter>> {
    let song: Arc<[Frame]> = song.into();
    vec![
        Box::new(Oracle::new(Arc::clone(&song), 0.6, 3).expect("a probability")),
        Box::new(Oracle::new(song, 1.0, 3).expect("a probability")),
        Box::new(NGram::default()),
        Box::new(CarryOver::default()),
        Box::new(StaleDepth::new(Arc::clone(model))),
    ]
}

#[test]
fn on_a_gpu_plain_and_drafted_frames_of_one_song_take_turns() {
    let model = model(SynthSize::Odd, WeightDtype::Bf16, WeightDtype::F32, &gpu());
    let song = written(&model, 1.5, &mut sampler(9));
    let mut state = begun(&model, 1.5);
    let mut drafted = Speculator::drafting(
        vec![Box::new(Oracle::new(song.clone().into(), 0.5, 1).expect("a probability"))],
        2,
        pass(),
        sampler(9),
    );
    let mut frames = Vec::new();
    while frames.len() < FRAMES {
        if frames.len() % 3 == 0 {
            let frame = model.next_frame(&mut state, &mut sampler(9)).expect("a frame");
            drafted.replayed(&frame);
            frames.push(frame);
        } else {
            frames.extend(drafted.next_frames(&model, &mut state).expect("frames"));
        }
    }
    assert_eq!(frames, song);
}

#[test]
fn on_a_gpu_what_has_no_room_is_refused_and_the_song_before_it_stays() {
    let model = model(SynthSize::Tiny, WeightDtype::Bf16, WeightDtype::F32, &gpu());
    let mut state = begun(&model, 1.5);
    for _ in 0..FRAMES {
        model.next_frame(&mut state, &mut sampler(1)).expect("a frame");
    }
    assert!(model.next_frame(&mut state, &mut sampler(1)).is_err(), "the positions are used up");
    let codes = vec![0; model.config().audio_num_codebooks];
    assert!(model.replay_frame(&mut state, &codes).is_err());
    assert!(model.start(&prompt(), 1.0, 100_000).is_err());
}
