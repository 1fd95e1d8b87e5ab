//! Every song that is written beside others is the song that it is alone, bit for bit: songs of other prompts, lengths,
//! guidance, temperatures and drafters that join, sit out, take turns and leave at any frame, with every kernel set.

use std::{
    process::Command,
    sync::{Arc, OnceLock},
};

use candle_core::Device;
use heartstream_models::{
    ModelDirectory,
    heartmula::{CodeSampler, HeartMula, KeyedSampler, PromptTokens, Sampling, SongInPass, SongState},
    kernels::cpu::{KernelSet, WeightDtype},
    signal::KeyedNoise,
    speculation::{
        DrafterInputs, DrafterName, Frame, PassPolicy, Speculation, Speculator, takes_turns, write_side_by_side,
    },
    weights::Checkpoint,
};
use heartstream_tools::synth::{SynthSize, synthesise};

/// Set where this test runs itself with another kernel set.
const AGAIN: &str = "HEARTSTREAM_KERNELS";

fn model(size: SynthSize) -> Arc<HeartMula> {
    model_on(&Device::Cpu, size)
}

fn model_on(device: &Device, size: SynthSize) -> Arc<HeartMula> {
    let folder = tempfile::tempdir().expect("a folder");
    synthesise(size, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
    let directory = ModelDirectory::open(Checkpoint::open(folder.path()).expect("a directory")).expect("configs");
    Arc::new(directory.load_lm(device).expect("a model"))
}

/// Numbers from 0 up to below `many`, by a seed and a place.
fn chosen(noise: KeyedNoise, place: u64, many: u32) -> u32 {
    ((noise.gumbel(place, 0, 0).abs() * 1e6) as u32) % many
}

/// A song that is written beside others.
struct Asked {
    prompt: PromptTokens,
    guidance: f64,
    sampler: KeyedSampler,
    speculation: Speculation,
    frames: usize,
}

impl Asked {
    fn number(seed: u64) -> Self {
        let draw = |place, many| chosen(KeyedNoise::new(seed), place, many);
        let words = |place: u64, many| {
            std::iter::once(1).chain((0..many).map(|word| 3 + draw(place + u64::from(word), 60))).chain([2]).collect()
        };
        let temperature = [0.0, 0.7, 1.0, 1.3][draw(1, 4) as usize];
        let options = Sampling { temperature, top_k: 1 + draw(2, 60) as usize, ..Sampling::default() };
        Self {
            prompt: PromptTokens { tags: words(100, draw(3, 4)), lyrics: words(200, draw(4, 12)) },
            guidance: [1.0, 1.5, 3.0][draw(5, 3) as usize],
            sampler: KeyedSampler::new(options, KeyedNoise::new(seed)).expect("options in range"),
            speculation: match draw(6, 3) {
                0 => Speculation::Off,
                1 => Speculation::Auto,
                _ => Speculation::Fixed { drafters: vec![DrafterName::NGram, DrafterName::CarryOver], frames: 2 },
            },
            frames: 1 + draw(7, 14) as usize,
        }
    }

    fn alone(&self, model: &HeartMula) -> Vec<Frame> {
        let mut state = model.start(&self.prompt, self.guidance, self.frames).expect("a prompt that fits");
        let mut sampler = self.sampler.clone();
        (0..self.frames).map(|_| model.next_frame(&mut state, &mut sampler).expect("a frame")).collect()
    }
}

/// A song under way.
struct Singing {
    asked: Asked,
    speculator: Speculator,
    state: SongState,
    written: Vec<Frame>,
}

/// Sings `count` songs, at most `most` at once, and compares each with itself alone. Every song in seven is cancelled at
/// some frame; a song in five sits out of a pass.
fn sing(model: &Arc<HeartMula>, count: u64, most: usize, seed: u64) {
    let noise = KeyedNoise::new(seed);
    let mut songs: Vec<Singing> = Vec::new();
    let (mut next, mut pass, mut widest) = (0, 0u64, 0);
    let mut policy = PassPolicy::default();
    while next < count || !songs.is_empty() {
        pass += 1;
        while songs.len() < most && next < count && (songs.is_empty() || chosen(noise, 3 * pass, 3) > 0) {
            let asked = Asked::number(seed * 1_000_000 + next);
            let state = model.start(&asked.prompt, asked.guidance, asked.frames).expect("a prompt that fits");
            let inputs = DrafterInputs { model, trained: None };
            let speculator = Speculator::new(&asked.speculation, asked.sampler.clone(), &inputs, None);
            songs.push(Singing { asked, speculator: speculator.expect("drafters"), state, written: Vec::new() });
            next += 1;
            pass += 1;
        }
        let mut places: Vec<usize> = Vec::new();
        let mut beside: Vec<_> = Vec::new();
        for (place, song) in songs.iter_mut().enumerate() {
            if chosen(noise, 1000 * pass + place as u64, 5) > 0 {
                places.push(place);
                beside.push((&mut song.speculator, &mut song.state));
            }
        }
        widest = widest.max(beside.len());
        if beside.is_empty() {
            continue;
        }
        let in_turns = chosen(noise, 5_000_000 + pass, 4) == 0;
        let written: Vec<Vec<Frame>> = if in_turns || takes_turns(&beside, &mut policy) {
            beside.iter_mut().map(|(speculator, state)| speculator.next_frames(model, state).expect("frames")).collect()
        } else {
            let written = write_side_by_side(model, &mut beside, &mut policy).expect("a pass");
            written.into_iter().map(|frame| vec![frame.expect("a frame")]).collect()
        };
        for (place, written) in places.into_iter().zip(written) {
            songs[place].written.extend(written);
        }
        let is_cancelled = |song: &Singing| chosen(noise, 77 * pass + song.written.len() as u64, 50) == 0;
        songs.retain(|song| {
            let over = song.written.len() >= song.asked.frames;
            if over || is_cancelled(song) {
                let alone = song.asked.alone(model);
                assert!(song.written[..] == alone[..song.written.len()], "a song of {} frames differs", alone.len());
            }
            !over && !is_cancelled(song)
        });
    }
    // Of very many a few sit out of each.
    let wide = if most > 16 { widest > 16 } else { widest == most };
    assert!(wide || count < 3 * most as u64, "at most {widest} songs were in one pass");
}

/// How many songs there are; `HEARTSTREAM_SONGS` has more of them.
fn songs() -> u64 {
    std::env::var("HEARTSTREAM_SONGS").ok().and_then(|songs| songs.parse().ok()).unwrap_or(200)
}

#[test]
fn songs_that_join_sit_out_and_leave_are_the_songs_that_they_are_alone() {
    let (tiny, odd) = (model(SynthSize::Tiny), model(SynthSize::Odd));
    sing(&tiny, songs() * 3 / 4, 9, 1);
    sing(&odd, songs() / 4, 5, 2);
}

#[test]
fn songs_are_the_same_beside_others_with_every_kernel_set_and_with_keys_and_values_in_f16() {
    let half = Arc::into_inner(model(SynthSize::Tiny)).expect("the only one").keeping_kv_as(WeightDtype::F16);
    sing(&Arc::new(half), 12, 6, 3);
    if std::env::var_os(AGAIN).is_some() {
        return;
    }
    let this = std::env::current_exe().expect("this program");
    for set in KernelSet::here() {
        let again = Command::new(&this).env(AGAIN, set.to_string()).env("HEARTSTREAM_SONGS", "40").output();
        let again = again.expect("this program runs");
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains(" passed"), "{set}: {said}");
    }
}

/// Gives a logit that is no number to one song alone.
struct Fails(u64);

impl CodeSampler for Fails {
    fn sample(&mut self, frame: u64, codebook: usize, logits: &[f32]) -> heartstream_models::Result<u32> {
        if frame == self.0 && codebook == 2 {
            return Err(heartstream_models::ModelError::NotANumber { frame, codebook, found: logits[0] });
        }
        Ok(heartstream_models::heartmula::argmax(logits))
    }
}

/// Panics in one frame, once.
struct Panics(OnceLock<()>);

impl CodeSampler for Panics {
    fn sample(&mut self, frame: u64, codebook: usize, logits: &[f32]) -> heartstream_models::Result<u32> {
        if frame == 2 && codebook == 1 && self.0.set(()).is_ok() {
            panic!("on purpose");
        }
        Ok(heartstream_models::heartmula::argmax(logits))
    }
}

#[test]
fn a_song_that_fails_or_has_no_room_touches_no_other_and_a_pass_that_panics_can_be_done_again() {
    let model = model(SynthSize::Tiny);
    let prompt = PromptTokens { tags: vec![1, 2], lyrics: vec![1, 30, 2] };
    let start = |frames| model.start(&prompt, 1.5, frames).expect("a prompt that fits");
    let never = || Fails(u64::MAX);
    let mut state = start(6);
    let alone: Vec<Frame> = (0..6).map(|_| model.next_frame(&mut state, &mut never()).expect("a frame")).collect();

    let (mut states, mut samplers) = ([start(6), start(6), start(2)], [Fails(3), Fails(u64::MAX), Fails(u64::MAX)]);
    for (frame, expected) in alone.iter().enumerate() {
        let mut pass: Vec<SongInPass<'_>> =
            states.iter_mut().zip(&mut samplers).map(|(state, sampler)| SongInPass { state, sampler }).collect();
        let written = model.next_frames(&mut pass).expect("a pass");
        assert_eq!(written[0].is_ok(), frame < 3);
        assert_eq!(written[1].as_ref().expect("a frame"), expected);
        assert_eq!(written[2].is_ok(), frame < 2, "there is room for two frames");
    }

    let (mut states, mut planted) = ([start(6), start(6)], Panics(OnceLock::new()));
    for expected in &alone {
        let mut pass = || {
            let [first, second] = &mut states;
            let (mut other, planted) = (Fails(u64::MAX), &mut planted);
            let mut songs =
                [SongInPass { state: first, sampler: &mut other }, SongInPass { state: second, sampler: planted }];
            model.next_frames(&mut songs).expect("a pass")
        };
        let first = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&mut pass));
        for written in first.unwrap_or_else(|_| pass()) {
            assert_eq!(&written.expect("a frame"), expected);
        }
    }
    assert!(planted.0.get().is_some());
}

#[cfg(feature = "cuda")]
#[test]
fn on_a_gpu_songs_that_join_sit_out_and_leave_are_the_songs_that_they_are_alone() {
    let gpu = heartstream_models::DeviceName::Cuda(0).open().expect("an NVIDIA GPU: this test is for nothing else");
    let of = |size, kept| Arc::new(Arc::into_inner(model_on(&gpu, size)).expect("the only one").keeping_kv_as(kept));
    // Of 30 songs more than 16 have guidance, which is more than one pass has room for.
    sing(&of(SynthSize::Tiny, WeightDtype::F32), songs() * 3 / 4, 30, 4);
    sing(&of(SynthSize::Odd, WeightDtype::F32), songs() / 4, 5, 5);
    sing(&of(SynthSize::Small, WeightDtype::F16), songs() / 4, 9, 6);
}
