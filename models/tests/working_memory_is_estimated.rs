//! Promise: what a stage takes beside its weights is what is estimated from its config.
//!
//! A counting allocator is linked into this test; it counts what the calling thread does.

use allocation_counter::measure;
use candle_core::Device;
use heartstream_models::{
    ModelDirectory,
    heartcodec::{Flow, FlowJob, LATENTS_PER_FRAME},
    heartmula::PromptTokens,
    kernels::cpu::WeightDtype,
    signal::KeyedNoise,
};
use heartstream_tools::synth::SynthSize;

/// The estimate is at least what is taken, and at most this much more.
const ABOVE: f64 = 1.2;

fn directory() -> ModelDirectory {
    heartstream_tools::synth::random_model(SynthSize::Small, 1).expect("a model")
}

/// The most bytes that were held at once while `work` was done on one thread, for the second time: the first time a
/// thread also makes the room in which kernels copy together what they multiply, and keeps it.
fn most(mut work: impl FnMut(usize) + Send) -> f64 {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    pool.install(|| {
        work(0);
        measure(|| work(1)).bytes_max as f64
    })
}

fn assert_estimated(what: &str, estimated: u64, taken: f64) {
    let ratio = estimated as f64 / taken;
    assert!((1.0..=ABOVE).contains(&ratio), "{what}: {estimated} bytes estimated, {taken} taken ({ratio:.3})");
}

#[test]
fn a_window_of_flow_matching_takes_what_was_estimated_with_guidance_and_without() {
    let directory = directory();
    let flow = directory.load_codec(&Device::Cpu).expect("a codec").flow;
    for (frames, guidance, rows) in [(372, 1.25, 2), (93, 1.25, 2), (372, 1.0, 1)] {
        let codes = vec![0u16; frames * flow.quantizer.codebooks()];
        let latents = frames * LATENTS_PER_FRAME;
        let mut noise = vec![0f32; latents * flow.channels()];
        KeyedNoise::new(1).fill_latent(0, &mut noise);
        let options = Flow { steps: 1, guidance };
        let job = FlowJob { codes: &codes, noise: &noise, in_context: &noise[..256 * 100], options };
        let taken = most(|_| drop(flow.solve(job, &|| false).expect("latents")));
        let estimated = directory.codec.window_bytes(rows, latents as u64);
        assert_estimated(&format!("{frames} frames, guidance {guidance}"), estimated, taken);
    }
}

#[test]
fn the_vocoder_takes_what_was_estimated() {
    let directory = directory();
    let vocoder = directory.load_codec(&Device::Cpu).expect("a codec").vocoder;
    let mut latents = vec![0f32; 8 * 256];
    KeyedNoise::new(1).fill_latent(0, &mut latents);
    let taken = most(|_| drop(vocoder.decode(&latents).expect("sound")));
    assert_estimated("the vocoder", directory.codec.sound_bytes(), taken);
}

#[test]
fn reading_a_prompt_takes_what_was_estimated() {
    let directory = directory();
    for (dtype, count) in [(WeightDtype::F32, 500), (WeightDtype::F16, 500), (WeightDtype::F16, 200)] {
        let model = directory.load_lm(&Device::Cpu).expect("a model").keeping_kv_as(dtype);
        // Another prompt each time: the last one is kept.
        let ids = |count: usize, time: usize| (0..count).map(|place| ((place + time) % 50) as u32).collect();
        let prompt = |time: usize| PromptTokens { tags: ids(100, time), lyrics: ids(count - 101, time) };
        let taken = most(|time| drop(model.start(&prompt(time), 1.5, 1).expect("a prompt")));
        assert_estimated(&format!("{count} in {dtype}"), directory.lm.song_bytes(2, count as u64, 1, dtype), taken);
    }
}
