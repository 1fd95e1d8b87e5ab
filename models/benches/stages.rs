//! Stages of a song at a hundredth of the published size: prefill, a frame of codes, a step of flow matching, the vocoder.
//!
//! Run with `cargo bench -p heartstream-models --bench stages`; `heartstream bench` measures the published size.

use candle_core::Device;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heartstream_models::{
    ModelDirectory, Result,
    heartcodec::{Flow, FlowJob, LATENTS_PER_FRAME},
    heartmula::{KeyedSampler, PromptTokens, Sampling},
    signal::KeyedNoise,
};
use heartstream_tools::synth::SynthSize;

/// Guidance of the language model and of flow matching, as usual.
const CFG_SCALE: f64 = 1.5;
const FLOW_GUIDANCE: f32 = 1.25;
/// Positions of the lyrics.
const LYRICS: u32 = 150;
/// Frames that are written, flow-matched and decoded.
const FRAMES: usize = 93;

fn language_model(criterion: &mut Criterion, directory: &ModelDirectory) -> Result<()> {
    let model = directory.load_lm(&Device::Cpu)?;
    let mut group = criterion.benchmark_group("language model");
    let mut first = 0;
    group.throughput(Throughput::Elements(u64::from(LYRICS)));
    group.bench_function("prefill", |bencher| {
        bencher.iter(|| {
            // The model keeps the last prompt, so each is another.
            first = (first + 1) % 50;
            let prompt = PromptTokens { tags: vec![1, first, 2], lyrics: (0..LYRICS).map(|id| id % 60).collect() };
            model.start(&prompt, CFG_SCALE, FRAMES)
        });
    });
    group.throughput(Throughput::Elements(FRAMES as u64));
    let prompt = PromptTokens { tags: vec![1, 3, 2], lyrics: vec![1, 4, 2] };
    let mut sampler = KeyedSampler::new(Sampling::default(), KeyedNoise::new(1))?;
    group.bench_function("frames", |bencher| {
        bencher.iter(|| -> Result<()> {
            let mut song = model.start(&prompt, CFG_SCALE, FRAMES)?;
            (0..FRAMES).try_for_each(|_| model.next_frame(&mut song, &mut sampler).map(drop))
        });
    });
    group.finish();
    Ok(())
}

fn codec(criterion: &mut Criterion, directory: &ModelDirectory) -> Result<()> {
    let codec = directory.load_codec(&Device::Cpu)?;
    let codes = vec![0u16; FRAMES * codec.flow.quantizer.codebooks()];
    let mut noise = vec![0f32; FRAMES * LATENTS_PER_FRAME * codec.flow.channels()];
    KeyedNoise::new(1).fill_latent(0, &mut noise);
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(FRAMES as u64));
    let options = Flow { steps: 1, guidance: FLOW_GUIDANCE };
    let job = FlowJob { codes: &codes, noise: &noise, in_context: &[], options };
    group.bench_function("flow step", |bencher| bencher.iter(|| codec.flow.solve(job, &|| false)));
    group.bench_function("vocoder", |bencher| bencher.iter(|| codec.vocoder.decode(&noise)));
    group.finish();
    Ok(())
}

fn stages(criterion: &mut Criterion) {
    let measured = heartstream_tools::synth::random_model(SynthSize::Small, 1)
        .and_then(|directory| language_model(criterion, &directory).and_then(|()| codec(criterion, &directory)));
    if let Err(error) = measured {
        eprintln!("stages: {error}");
        std::process::exit(1);
    }
}

criterion_group!(name = benches; config = Criterion::default().sample_size(10); targets = stages);
criterion_main!(benches);
