//! Tests of the codec on a GPU beside a processor. For a machine with an NVIDIA GPU: `make test-gpu`.
#![cfg(feature = "cuda")]

use std::sync::atomic::{AtomicU32, Ordering};

use candle_core::Device;
use heartstream_models::{
    DeviceName,
    heartcodec::{Flow, FlowJob, HeartCodec, LATENTS_PER_FRAME},
    signal::KeyedNoise,
};
use heartstream_tools::synth::{SynthSize, random_model};

fn codecs(size: SynthSize) -> [HeartCodec; 2] {
    let directory = random_model(size, 7).expect("configs");
    let gpu = DeviceName::Cuda(0).open().expect("an NVIDIA GPU: this test is for nothing else");
    [Device::Cpu, gpu].map(|device| directory.load_codec(&device).expect("a codec"))
}

fn noise(key: u64, count: usize) -> Vec<f32> {
    let mut numbers = vec![0f32; count];
    KeyedNoise::new(key).fill_latent(0, &mut numbers);
    numbers
}

fn assert_close(name: &str, found: &[f32], expected: &[f32], most: f32) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= most * largest, "{name}, number {place}: {found} for {expected}");
    }
}

#[test]
fn on_a_gpu_a_window_is_the_processors_and_the_same_bits_each_time_it_is_solved() {
    for size in [SynthSize::Tiny, SynthSize::Small] {
        let codecs = codecs(size);
        let [here, there] = codecs.each_ref().map(|codec| &codec.flow);
        for (frames, known, guidance) in [(5, 0, 1.0), (12, 7, 1.25), (33, 20, 1.25)] {
            let codes: Vec<u16> = (0..frames * here.quantizer.codebooks()).map(|i| (i * 5 % 32) as u16).collect();
            let noise = noise(3, frames * LATENTS_PER_FRAME * here.channels());
            let in_context: Vec<f32> = noise.iter().take(known * here.channels()).map(|x| 0.5 - x).collect();
            let options = Flow { steps: 4, guidance };
            let job = FlowJob { codes: &codes, noise: &noise, in_context: &in_context, options };
            let [expected, first, second, third] = [here, there, there, there]
                .map(|flow| flow.solve(job, &|| false).expect("a job that fits").expect("nothing cancels it"));
            assert_close(&format!("{size:?}, {frames} frames"), &first, &expected, 2e-4);
            assert!(first == second && second == third, "{size:?}, {frames} frames: solved again, then recorded");
            let asked = AtomicU32::new(0);
            let cancelled = || asked.fetch_add(1, Ordering::Relaxed) == 2;
            assert!(there.solve(job, &cancelled).expect("a job that fits").is_none());
        }
    }
}

#[test]
fn on_a_gpu_sound_is_the_processors_and_the_same_bits_in_any_pieces() {
    let codecs = codecs(SynthSize::Small);
    let [here, there] = codecs.each_ref().map(|codec| &codec.vocoder);
    let width = codecs[0].flow.channels();
    let latents = noise(5, 150 * width);
    let [expected, whole] = [here, there].map(|vocoder| vocoder.decode(&latents).expect("whole frames"));
    let mut state = there.start().expect("silence");
    let mut pieces = [Vec::new(), Vec::new()];
    let mut add = |[left, right]: [Vec<f32>; 2]| {
        pieces[0].extend(left);
        pieces[1].extend(right);
    };
    for part in [0..1, 1..17, 17..40, 40..140, 140..150] {
        add(there.push(&mut state, &latents[part.start * width..part.end * width]).expect("whole frames"));
    }
    add(there.finish(state).expect("an end"));
    assert!(pieces == whole);
    for (found, expected) in whole.iter().zip(&expected) {
        assert_close("a channel", found, expected, 1e-3);
    }
}
