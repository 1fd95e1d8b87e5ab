//! Promise: a song is the plain song whatever a prefetcher does: in time, late, never, or nonsense. And every bundle of
//! drafts is accounted for.

use std::{collections::VecDeque, path::Path, sync::Arc, time::Duration};

use candle_core::Device;
use heartstream_models::{
    ModelDirectory,
    heartmula::{HeartMula, KeyedSampler, PromptTokens, Sampling},
    signal::KeyedNoise,
    speculation::{
        Bundle, Completion, DepthWork, Draft, DraftContext, Frame, FrameDrafter, Prefetch, PrefetchCounters,
        PrefetchRequest, Speculator,
    },
    weights::Checkpoint,
};
use heartstream_tools::{
    oracle::Oracle,
    synth::{SynthSize, synthesise},
};

const FRAMES: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behaviour {
    /// Prepares all it is asked for before it is needed.
    Prompt,
    /// Is a round late with everything.
    Late,
    /// Dies after some rounds.
    Dies,
    /// Says it was asked about this outcome and gives codes that no model has, and frames that are none.
    Garbage,
    /// Gives more than it was asked for.
    Floods,
}

/// Prepares drafts on the spot, from the song itself.
struct Fake {
    behaviour: Behaviour,
    oracle: Oracle,
    sampler: KeyedSampler,
    codebooks: usize,
    past: Vec<Frame>,
    ready: VecDeque<Bundle>,
    held_back: VecDeque<Bundle>,
}

impl Prefetch for Fake {
    fn ask(&mut self, request: PrefetchRequest) {
        let Fake { behaviour, oracle, sampler, codebooks, past, ready, held_back } = self;
        past.extend(request.past.clone());
        if *behaviour == Behaviour::Dies && request.round > 3 {
            return;
        }
        ready.append(held_back);
        for outcome in &request.outcomes {
            let mut drafted = request.drafts[..outcome.accepted].to_vec();
            drafted.push(Draft::from(outcome.frame.clone()));
            let context = DraftContext { past, drafted: &drafted, trail: None, guidance: 1.0, sampler };
            let mut drafts = oracle.draft(&context, request.count).expect("drafts");
            if *behaviour == Behaviour::Garbage {
                let count = *codebooks;
                drafts = vec![vec![7; count].into(), vec![u32::MAX; count].into(), Vec::new().into(), vec![1].into()];
            }
            let bundle = Bundle { round: request.round, outcome: outcome.clone(), drafts, took: Duration::ZERO };
            match behaviour {
                Behaviour::Late => held_back.push_back(bundle),
                Behaviour::Floods => ready.extend(vec![bundle; 50]),
                Behaviour::Prompt | Behaviour::Dies | Behaviour::Garbage => ready.push_back(bundle),
            }
        }
    }

    fn next(&mut self) -> Option<Bundle> {
        self.ready.pop_front()
    }
}

fn sampler() -> KeyedSampler {
    KeyedSampler::new(Sampling::default(), KeyedNoise::new(4)).expect("in range")
}

fn prompt() -> PromptTokens {
    PromptTokens { tags: vec![1, 40, 45, 2], lyrics: vec![1, 30, 32, 34, 2] }
}

fn load(checkpoint: Checkpoint) -> HeartMula {
    let directory = ModelDirectory::open(checkpoint).expect("configs");
    directory.load_lm(&Device::Cpu).expect("a model")
}

fn synthetic(size: SynthSize) -> HeartMula {
    let folder = tempfile::tempdir().expect("a folder");
    synthesise(size, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
    load(Checkpoint::open(folder.path()).expect("a directory"))
}

fn plain(model: &HeartMula, guidance: f64, frames: usize) -> Arc<[Frame]> {
    let mut state = model.start(&prompt(), guidance, frames).expect("a prompt that fits");
    let mut plain = sampler();
    (0..frames).map(|_| model.next_frame(&mut state, &mut plain).expect("a frame")).collect()
}

fn written(model: &HeartMula, guidance: f64, frames: usize, speculator: &mut Speculator) -> Vec<Frame> {
    let mut state = model.start(&prompt(), guidance, frames).expect("a prompt that fits");
    let mut song = Vec::new();
    while song.len() < frames {
        song.extend(speculator.next_frames(model, &mut state).expect("frames"));
    }
    song
}

const BEHAVIOURS: [Behaviour; 5] =
    [Behaviour::Prompt, Behaviour::Late, Behaviour::Dies, Behaviour::Garbage, Behaviour::Floods];

fn fake(behaviour: Behaviour, song: &Arc<[Frame]>) -> Box<Fake> {
    Box::new(Fake {
        behaviour,
        oracle: Oracle::new(Arc::clone(song), 1.0, 1).expect("a probability"),
        sampler: sampler(),
        codebooks: song[0].len(),
        past: Vec::new(),
        ready: VecDeque::new(),
        held_back: VecDeque::new(),
    })
}

fn half_right(song: &Arc<[Frame]>) -> Vec<Box<dyn FrameDrafter>> {
    vec![Box::new(Oracle::new(Arc::clone(song), 0.5, 1).expect("a probability"))]
}

fn assert_plain_whoever_prepares(model: &HeartMula, frames: usize) {
    for guidance in [1.0, 1.5] {
        let song = plain(model, guidance, frames);
        for behaviour in BEHAVIOURS {
            for drafted in 0..=8 {
                let work = DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail: false };
                let speculator = Speculator::drafting(half_right(&song), drafted, work, sampler());
                let mut speculator = speculator.with_prefetch(fake(behaviour, &song));
                let written = written(model, guidance, frames, &mut speculator);
                assert_eq!(written, *song, "{behaviour:?}, {drafted} frames, guidance {guidance}");
                let (counters, _) = speculator.prefetch_counters().expect("a prefetcher");
                let rounds = speculator.counters().expect("it counts").rounds;
                let PrefetchCounters { lookups, built, exact, near, miss, stale, unused, .. } = *counters;
                assert_eq!(lookups, exact + near + miss, "{behaviour:?}");
                assert_eq!(built, exact + near + unused + stale, "{behaviour:?}");
                assert_eq!(lookups, rounds - 1, "all rounds but the first");
                // A song of one round or two says nothing of what rounds have in common.
                if rounds < 6 {
                    continue;
                }
                match behaviour {
                    Behaviour::Prompt => assert!(exact + near > 0 && stale == 0, "{counters:?}"),
                    Behaviour::Late => assert!(exact + near == 0 && stale > 0, "{counters:?}"),
                    Behaviour::Dies => assert!(exact + near <= 3 && miss > 0, "{counters:?}"),
                    Behaviour::Garbage | Behaviour::Floods => (),
                }
            }
        }
    }
}

#[test]
fn whoever_prepares_drafts_the_song_is_the_plain_one_and_every_bundle_is_accounted_for() {
    assert_plain_whoever_prepares(&synthetic(SynthSize::Tiny), FRAMES);
}

#[test]
fn so_it_is_with_the_models_without_files_the_golden_ones_and_one_of_other_widths_heads_and_codebooks() {
    assert_plain_whoever_prepares(&synthetic(SynthSize::Odd), FRAMES);
    assert_plain_whoever_prepares(&load(heartstream_tools::synth::noise()), 12);
    assert_plain_whoever_prepares(&load(heartstream_demo::checkpoint()), 12);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for set in ["tests/golden/windows", "tests/golden/half", "../shared/goldens/small"] {
        let set = root.join(set);
        if set.is_dir() {
            assert_plain_whoever_prepares(&load(Checkpoint::open(set).expect("a directory")), 9);
        }
    }
}

#[test]
fn whether_drafts_are_prepared_changes_in_the_middle_of_a_song_and_the_song_does_not() {
    let (model, frames) = (synthetic(SynthSize::Tiny), 700);
    for guidance in [1.0, 1.5] {
        let song = plain(&model, guidance, frames);
        for behaviour in BEHAVIOURS {
            let mut speculator =
                Speculator::adapting(half_right(&song), sampler()).with_prefetch(fake(behaviour, &song));
            assert_eq!(written(&model, guidance, frames, &mut speculator), *song, "{behaviour:?}");
            let (counters, _) = speculator.prefetch_counters().expect("a prefetcher");
            let PrefetchCounters { lookups, built, exact, near, miss, stale, unused, .. } = *counters;
            assert_eq!(lookups, exact + near + miss, "{behaviour:?}");
            assert_eq!(built, exact + near + unused + stale, "{behaviour:?}");
        }
    }
}
