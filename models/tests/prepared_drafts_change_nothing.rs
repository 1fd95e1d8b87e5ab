//! A song is the plain song whoever prepares drafts for it: in time, late, never, or nonsense. And every bundle of drafts
//! is accounted for.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use candle_core::Device;
use heartstream_models::{
    ModelDirectory,
    heartmula::{HeartMula, KeyedSampler, PromptIds, SamplingOptions},
    signal::KeyedNoise,
    speculation::{
        Bundle, Completion, DepthWork, Draft, DraftContext, Frame, FrameDrafter, Oracle, Prefetch, PrefetchCounters,
        PrefetchRequest, Speculator,
    },
    synth::{SynthSize, synthesise},
    weights::Checkpoint,
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
    past: Vec<Frame>,
    ready: VecDeque<Bundle>,
    held_back: VecDeque<Bundle>,
}

impl Prefetch for Fake {
    fn ask(&mut self, request: PrefetchRequest) {
        let Fake { behaviour, oracle, sampler, past, ready, held_back } = self;
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
                drafts = vec![vec![7; 8].into(), vec![u32::MAX; 8].into(), Vec::new().into(), vec![1].into()];
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
    KeyedSampler::new(SamplingOptions { temperature: 1.0, top_k: 50 }, KeyedNoise::new(4)).expect("in range")
}

fn prompt() -> PromptIds {
    PromptIds { tags: vec![1, 80, 90, 2], lyrics: vec![1, 100, 110, 120, 2] }
}

fn tiny() -> HeartMula {
    let folder = tempfile::tempdir().expect("a folder");
    synthesise(SynthSize::Tiny, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
    let checkpoint = Checkpoint::open(folder.path()).expect("a directory");
    let directory = ModelDirectory::open(checkpoint).expect("configs");
    directory.load_lm(&Device::Cpu).expect("a model")
}

fn written(model: &HeartMula, speculator: &mut Speculator) -> Vec<Frame> {
    let mut state = model.start(&prompt(), 1.5, FRAMES).expect("a prompt that fits");
    let mut song = Vec::new();
    while song.len() < FRAMES {
        song.extend(speculator.next_frames(model, &mut state).expect("frames"));
    }
    song
}

#[test]
fn whoever_prepares_drafts_the_song_is_the_plain_one_and_every_bundle_is_accounted_for() {
    let model = tiny();
    let mut state = model.start(&prompt(), 1.5, FRAMES).expect("a prompt that fits");
    let mut plain = sampler();
    let song: Arc<[Frame]> = (0..FRAMES).map(|_| model.next_frame(&mut state, &mut plain).expect("a frame")).collect();
    let oracle = |probability| Oracle::new(Arc::clone(&song), probability, 1).expect("a probability");
    let behaviours = [Behaviour::Prompt, Behaviour::Late, Behaviour::Dies, Behaviour::Garbage, Behaviour::Floods];
    for behaviour in behaviours {
        for frames in [0, 1, 2, 5] {
            let fake = Fake {
                behaviour,
                oracle: oracle(1.0),
                sampler: sampler(),
                past: Vec::new(),
                ready: VecDeque::new(),
                held_back: VecDeque::new(),
            };
            let work = DepthWork { pass: usize::MAX, completion: Completion::Jacobi, refresh_tail: false };
            let drafters: Vec<Box<dyn FrameDrafter>> = vec![Box::new(oracle(0.5))];
            let mut speculator = Speculator::drafting(drafters, frames, work, sampler()).with_prefetch(Box::new(fake));
            assert_eq!(written(&model, &mut speculator), *song, "{behaviour:?}, {frames} frames");
            let (counters, _) = speculator.prefetch_counters().expect("somebody prepares");
            let rounds = speculator.counters().expect("it counts").rounds;
            let PrefetchCounters { lookups, built, exact, near, miss, stale, unused, .. } = *counters;
            assert_eq!(lookups, exact + near + miss, "{behaviour:?}");
            assert_eq!(built, exact + near + unused + stale, "{behaviour:?}");
            assert_eq!(lookups, rounds - 1, "all rounds but the first");
            match behaviour {
                Behaviour::Prompt => assert!(exact + near > 0 && stale == 0, "{counters:?}"),
                Behaviour::Late => assert!(exact + near == 0 && stale > 0, "{counters:?}"),
                Behaviour::Dies => assert!(exact + near <= 3 && miss > 0, "{counters:?}"),
                Behaviour::Garbage | Behaviour::Floods => (),
            }
        }
    }
}
