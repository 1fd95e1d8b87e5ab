//! A drafted song is the plain song: every drafter, any number of drafted frames, with and without guidance, from the
//! first frame to the last that there is room for.

use std::{path::Path, sync::Arc};

use candle_core::Device;
use heartstream_models::{
    ModelDirectory, Result,
    heartmula::{HeartMula, KeyedSampler, PromptTokens, Sampling},
    kernels::cpu::WeightDtype,
    signal::KeyedNoise,
    speculation::{
        Completion, DepthWork, Draft, DraftContext, DrafterInputs, DrafterName, DrafterWeights, Frame, FrameDrafter,
        Speculation, Speculator,
    },
    weights::{Checkpoint, TensorStore},
};
use heartstream_tools::{
    distill::{DistillOptions, Distillation},
    oracle::Oracle,
    synth::{SynthSize, synthesise},
};

/// Drafts codes that have nothing to do with the song: below a number, and a number of them to a frame.
struct Garbage(KeyedNoise, u32, usize);

impl FrameDrafter for Garbage {
    fn name(&self) -> &'static str {
        "garbage"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let code = |frame: u64, codebook| (self.0.gumbel(frame, codebook, 0).abs() * 1e6) as u32 % self.1;
        let frames = context.next()..context.next() + count as u64;
        let codebooks = self.2 as u32;
        Ok(frames.map(|frame| (0..codebooks).map(|codebook| code(frame, codebook)).collect::<Frame>().into()).collect())
    }
}

/// Knows the song and is always wrong in the last code.
struct WrongAtLast(Arc<[Frame]>);

impl FrameDrafter for WrongAtLast {
    fn name(&self) -> &'static str {
        "wrong-at-last"
    }

    fn draft(&mut self, context: &DraftContext<'_>, count: usize) -> Result<Vec<Draft>> {
        let known = self.0.iter().skip(context.next() as usize).take(count);
        let wrong = known.map(|frame| {
            let mut codes = frame.clone();
            if let Some(last) = codes.last_mut() {
                *last ^= 1;
            }
            codes.into()
        });
        Ok(wrong.collect())
    }
}

fn tiny() -> Arc<HeartMula> {
    synthetic(SynthSize::Tiny, load)
}

/// Does something with a checkpoint of a size.
fn synthetic<T>(size: SynthSize, with: impl FnOnce(Checkpoint) -> T) -> T {
    let folder = tempfile::tempdir().expect("a folder");
    synthesise(size, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
    with(Checkpoint::open(folder.path()).expect("a directory"))
}

/// The models that the reference's numbers are known of: those in this repository, and the larger one where it is at
/// hand.
fn golden() -> Vec<Checkpoint> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sets = ["tests/golden/windows", "tests/golden/half", "../shared/goldens/small"];
    let there = sets.iter().map(|set| root.join(set)).filter(|set| set.is_dir());
    there.map(|set| Checkpoint::open(set).expect("a directory")).collect()
}

fn load(checkpoint: Checkpoint) -> Arc<HeartMula> {
    let directory = ModelDirectory::open(checkpoint).expect("configs");
    Arc::new(directory.load_lm(&Device::Cpu).expect("a model"))
}

fn drafter_inputs(model: &Arc<HeartMula>) -> DrafterInputs<'_> {
    DrafterInputs { model, trained: None }
}

fn sampler(seed: u64) -> KeyedSampler {
    KeyedSampler::new(Sampling::default(), KeyedNoise::new(seed)).expect("in range")
}

fn prompt() -> PromptTokens {
    PromptTokens { tags: vec![1, 40, 45, 2], lyrics: vec![1, 30, 32, 34, 2] }
}

fn plain(model: &HeartMula, guidance: f64, frames: usize, seed: u64) -> Arc<[Frame]> {
    let mut state = model.start(&prompt(), guidance, frames).expect("a prompt that fits");
    let mut sampler = sampler(seed);
    (0..frames).map(|_| model.next_frame(&mut state, &mut sampler).expect("a frame")).collect()
}

/// Writes as many frames as there is room for.
fn written(model: &HeartMula, guidance: f64, frames: usize, mut speculator: Speculator) -> Vec<Frame> {
    let mut state = model.start(&prompt(), guidance, frames).expect("a prompt that fits");
    let mut song = Vec::new();
    while song.len() < frames {
        song.extend(speculator.next_frames(model, &mut state).expect("frames"));
        assert_eq!(state.frames(), song.len() as u64);
    }
    assert!(speculator.next_frames(model, &mut state).is_err(), "there is no room for more");
    song
}

/// The drafter of `directory`; where it has none, one as it is before its first step of training.
fn drafter(directory: &ModelDirectory) -> Arc<DrafterWeights> {
    if let Some(trained) = directory.load_drafter(&Device::Cpu).expect("a drafter that fits") {
        return Arc::new(trained);
    }
    let store = directory.lm_store().expect("tensors");
    let options = DistillOptions { heads: 5, ..DistillOptions::default() };
    let distillation = Distillation::new(&directory.lm, &store, options, &Device::Cpu).expect("a drafter");
    let held = distillation.tensors().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
    let weights = DrafterWeights::load(&directory.lm, &TensorStore::from_tensors(held), &Device::Cpu);
    Arc::new(weights.expect("the tensors of a drafter"))
}

/// All there is to choose in how the depth decoder works.
fn depth_works() -> impl Iterator<Item = DepthWork> {
    let passes = [usize::MAX, 1, 2, 0];
    passes.into_iter().flat_map(|pass| {
        [Completion::Jacobi, Completion::Steps]
            .into_iter()
            .flat_map(move |completion| [false, true].map(|refresh_tail| DepthWork { pass, completion, refresh_tail }))
    })
}

fn assert_every_drafter(checkpoint: Checkpoint, frames: usize, seed: u64, numbers: &[usize]) {
    let directory = ModelDirectory::open(checkpoint).expect("configs");
    let (model, trained) = (&Arc::new(directory.load_lm(&Device::Cpu).expect("a model")), drafter(&directory));
    for guidance in [1.0, 1.5] {
        let song = plain(model, guidance, frames, seed);
        for drafter in DrafterName::ALL {
            for frames_at_once in numbers {
                let frames_at_once = if drafter == DrafterName::DepthJacobi { 0 } else { *frames_at_once };
                let speculation = Speculation::Fixed { drafters: vec![drafter], frames: frames_at_once };
                let speculator = Speculator::new(
                    &speculation,
                    sampler(seed),
                    &DrafterInputs { model, trained: Some(&trained) },
                    None,
                )
                .expect("a drafter");
                let drafted = written(model, guidance, frames, speculator);
                assert_eq!(drafted, *song, "{speculation}, guidance {guidance}, seed {seed}");
                if drafter == DrafterName::DepthJacobi {
                    break; // it drafts no frames, whatever the count
                }
            }
        }
    }
}

#[test]
fn a_drafted_song_is_the_plain_one_where_keys_and_values_are_kept_in_f16() {
    let folder = tempfile::tempdir().expect("a folder");
    synthesise(SynthSize::Tiny, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
    let directory = ModelDirectory::open(Checkpoint::open(folder.path()).expect("a directory")).expect("configs");
    let half = Arc::new(directory.load_lm(&Device::Cpu).expect("a model").keeping_kv_as(WeightDtype::F16));
    for guidance in [1.0, 1.5] {
        // Long enough for several steps of memory, and for drafts that are forgotten across their edges.
        let frames = 600;
        let expected = plain(&half, guidance, frames, 3);
        let oracle = |right: f64| Oracle::new(Arc::clone(&expected), right, 9).expect("a probability");
        for ((right, drafted), work) in [(0.8, 16), (0.5, 5)].into_iter().zip(depth_works()) {
            let drafters: Vec<Box<dyn FrameDrafter>> = vec![Box::new(oracle(right))];
            let speculator = Speculator::drafting(drafters, drafted, work, sampler(3));
            assert!(written(&half, guidance, frames, speculator) == *expected, "{drafted} drafted, {right} right");
        }
    }
}

#[test]
fn every_drafter_gives_the_plain_song_with_any_number_of_frames() {
    synthetic(SynthSize::Tiny, |checkpoint| assert_every_drafter(checkpoint, 24, 3, &ALL_COUNTS));
}

/// Frames that are drafted at once. Songs are no longer than a few rounds of the largest, so that a round wants more
/// than there is room for.
const ALL_COUNTS: [usize; 9] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

#[test]
fn the_model_of_noise_gives_the_plain_song_too() {
    assert_every_drafter(heartstream_tools::synth::noise(), 12, 8, &ALL_COUNTS);
}

#[test]
fn the_model_inside_the_program_gives_the_plain_song_too_with_the_drafter_that_ships_with_it() {
    assert_every_drafter(heartstream_demo::checkpoint(), 12, 8, &ALL_COUNTS);
}

#[test]
fn a_model_with_other_widths_heads_and_codebooks_gives_the_plain_song_too() {
    synthetic(SynthSize::Odd, |checkpoint| assert_every_drafter(checkpoint, 20, 2, &ALL_COUNTS));
}

#[test]
fn the_models_of_the_golden_data_give_the_plain_song_too() {
    let golden = golden();
    assert!(golden.len() >= 2, "two are in this repository");
    for checkpoint in golden {
        assert_every_drafter(checkpoint, 7, 5, &ALL_COUNTS);
    }
}

/// How many songs the test below writes; 200 take some minutes.
const SONGS: &str = "HEARTSTREAM_SONGS";

fn assert_many_songs(checkpoint: Checkpoint) {
    let directory = ModelDirectory::open(checkpoint).expect("configs");
    let (model, trained) = (Arc::new(directory.load_lm(&Device::Cpu).expect("a model")), drafter(&directory));
    let inputs = DrafterInputs { model: &model, trained: Some(&trained) };
    let songs = std::env::var(SONGS).ok().and_then(|songs| songs.parse().ok()).unwrap_or(8);
    for seed in 0..songs {
        let (frames, guidance) = (40, if seed % 5 == 4 { 1.0 } else { 1.5 });
        let song = plain(&model, guidance, frames, seed);
        let name = DrafterName::ALL[1 + seed as usize % (DrafterName::ALL.len() - 1)];
        let drafters = vec![name, DrafterName::CarryOver];
        let speculation = Speculation::Fixed { drafters, frames: 1 + seed as usize % 8 };
        let speculator = Speculator::new(&speculation, sampler(seed), &inputs, None).expect("drafters");
        assert_eq!(written(&model, guidance, frames, speculator), *song, "{speculation}, seed {seed}");
    }
}

#[test]
fn many_songs_of_the_model_of_noise_are_the_plain_ones_in_ever_other_settings() {
    assert_many_songs(heartstream_tools::synth::noise());
}

#[test]
fn many_songs_of_the_model_inside_the_program_are_the_plain_ones_in_ever_other_settings() {
    assert_many_songs(heartstream_demo::checkpoint());
}

#[test]
fn with_its_drafter_the_model_inside_the_program_writes_more_than_2_1_frames_a_look() {
    const LEAST: f64 = 2.1;
    let directory = ModelDirectory::open(heartstream_demo::checkpoint()).expect("configs");
    let model = Arc::new(directory.load_lm(&Device::Cpu).expect("a model"));
    let trained = Arc::new(directory.load_drafter(&Device::Cpu).expect("it fits").expect("one ships with the model"));
    let inputs = DrafterInputs { model: &model, trained: Some(&trained) };
    let tokenizer = directory.load_tokenizer().expect("a tokenizer");
    let lyrics = "[Verse]\nThe sun creeps in across the floor\nI hear the traffic outside the door";
    for setting in ["heads:4", "next-state:4"] {
        let speculation: Speculation = setting.parse().expect("a setting");
        let (mut frames, mut looks) = (0, 0);
        for (seed, tags) in ["flute,lively", "piano,calm", "violin,jig", "organ,chorale"].into_iter().enumerate() {
            let prompt = tokenizer.prompt(tags, lyrics).expect("ids");
            // Ten seconds of each: the beginning of a song, where nothing is known of it yet, is hardest to draft.
            let mut state = model.start(&prompt.ids, 1.5, 300).expect("a prompt that fits");
            let mut speculator = Speculator::new(&speculation, sampler(seed as u64), &inputs, None).expect("a drafter");
            for _ in 0..60 {
                frames += speculator.next_frames(&model, &mut state).expect("frames").len();
                looks += 1;
            }
        }
        let found = frames as f64 / f64::from(looks);
        assert!(found >= LEAST, "{setting}: {found:.2} frames a look");
    }
}

#[test]
fn drafters_that_know_nothing_or_all_or_are_always_wrong_at_the_end_give_the_plain_song_in_every_way_of_working() {
    assert_every_way_of_working(&tiny(), 20);
    synthetic(SynthSize::Odd, |checkpoint| assert_every_way_of_working(&load(checkpoint), 12));
}

fn assert_every_way_of_working(model: &Arc<HeartMula>, frames: usize) {
    let codebooks = model.config().audio_num_codebooks;
    for guidance in [1.0, 1.5] {
        let song = plain(model, guidance, frames, 4);
        let drafters: [&dyn Fn() -> Box<dyn FrameDrafter>; 4] = [
            &|| Box::new(Garbage(KeyedNoise::new(5), 37, codebooks)),
            &|| Box::new(WrongAtLast(Arc::clone(&song))),
            &|| Box::new(Oracle::new(Arc::clone(&song), 0.6, 1).expect("a probability")),
            &|| Box::new(Oracle::new(Arc::clone(&song), 1.0, 1).expect("a probability")),
        ];
        for drafter in drafters {
            for work in depth_works() {
                for frames_at_once in [0, 1, 3, 8] {
                    let drafter = drafter();
                    let name = drafter.name();
                    let speculator = Speculator::drafting(vec![drafter], frames_at_once, work, sampler(4));
                    let drafted = written(model, guidance, frames, speculator);
                    assert_eq!(drafted, *song, "{name}, {frames_at_once} at once, {work:?}, guidance {guidance}");
                }
            }
        }
    }
}

#[test]
fn a_drafter_that_is_always_right_needs_a_round_for_all_its_frames_and_one_pass_for_their_codes() {
    let (model, frames) = (tiny(), 20);
    let song = plain(&model, 1.5, frames, 4);
    let oracle = Oracle::new(Arc::clone(&song), 1.0, 1).expect("a probability");
    let work = DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail: false };
    let mut speculator = Speculator::drafting(vec![Box::new(oracle)], 3, work, sampler(4));
    let mut state = model.start(&prompt(), 1.5, frames).expect("a prompt that fits");
    for round in 0..5 {
        let written = speculator.next_frames(&model, &mut state).expect("frames");
        assert_eq!(written, song[4 * round..4 * round + 4]);
    }
    let counters = speculator.counters().expect("it drafts");
    assert_eq!((counters.rounds, counters.frames, counters.accepted_frames), (5, 20, 15));
    assert_eq!((counters.depth_passes, counters.depth_steps), (5, 0));
    assert_eq!(counters.accepted_by_pos, [5, 5, 5]);
    assert!(counters.first_reject.iter().all(|count| *count == 0));
}

#[test]
fn after_every_round_the_song_goes_on_as_if_it_had_been_written_frame_by_frame() {
    let (model, frames) = (tiny(), 24);
    let song = plain(&model, 1.5, frames, 6);
    for rounds in 1..8 {
        let oracle = Oracle::new(Arc::clone(&song), 0.5, rounds).expect("a probability");
        let work = DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail: true };
        let mut speculator = Speculator::drafting(vec![Box::new(oracle)], 4, work, sampler(6));
        let mut state = model.start(&prompt(), 1.5, frames).expect("a prompt that fits");
        let mut written: Vec<Frame> = Vec::new();
        for _ in 0..rounds {
            if written.len() < frames {
                written.extend(speculator.next_frames(&model, &mut state).expect("frames"));
            }
        }
        // The KV cache is that of plain decoding: it goes on from it.
        let mut plain = sampler(6);
        while written.len() < frames {
            written.push(model.next_frame(&mut state, &mut plain).expect("a frame"));
        }
        assert_eq!(written, *song, "{rounds} rounds");
    }
}

#[test]
fn whatever_pays_and_whatever_was_learned_before_the_song_is_the_plain_one() {
    let (model, frames) = (tiny(), 120);
    let mut learned = None;
    for seed in 0..4 {
        let song = plain(&model, 1.5, frames, seed);
        let mut speculator =
            Speculator::new(&Speculation::Auto, sampler(seed), &drafter_inputs(&model), learned).expect("drafters");
        let mut state = model.start(&prompt(), 1.5, frames).expect("a prompt that fits");
        let mut drafted: Vec<Frame> = Vec::new();
        while drafted.len() < frames {
            drafted.extend(speculator.next_frames(&model, &mut state).expect("frames"));
        }
        assert_eq!(drafted, *song, "seed {seed}");
        let counters = speculator.counters().expect("it counts");
        assert_eq!(counters.plain_rounds + counters.frames, frames as u64);
        learned = speculator.learned();
        assert!(learned.is_some());
    }
}

#[test]
fn a_trained_drafter_without_a_file_is_refused() {
    let model = tiny();
    for name in DrafterName::ALL.into_iter().filter(|name| name.is_trained()) {
        let speculation = Speculation::Fixed { drafters: vec![name], frames: 2 };
        let error = Speculator::new(&speculation, sampler(1), &drafter_inputs(&model), None)
            .err()
            .expect("it was never trained");
        assert!(error.to_string().contains("drafter.safetensors"), "{error}");
    }
}
