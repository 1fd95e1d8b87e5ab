//! Promise: a cancel during the prefill takes effect within it: no layer begins after the stop flag was set.

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use candle_core::Device;
use heartstream_actors::{
    song_context::{Faults, SongContext},
    song_writer::{LearnedBefore, SongWriter, WriterSettings},
};
use heartstream_messages::{PromptTokens, Sampling, units::Frames};
use heartstream_models::{
    ModelDirectory, SongCodes,
    heartmula::{HeartMula, KeyedSampler},
    signal::KeyedNoise,
    speculation::Speculator,
};
use heartstream_tools::synth::noise;

const GUIDANCE: f64 = 1.5;
const FRAMES: usize = 4;

fn model() -> Arc<HeartMula> {
    let directory = ModelDirectory::open(noise()).expect("configs");
    Arc::new(directory.load_lm(&Device::Cpu).expect("a language model"))
}

fn prompt() -> PromptTokens {
    PromptTokens { tags: vec![1, 40, 45, 2], lyrics: (3..90).collect() }
}

#[test]
fn the_stop_flag_is_asked_before_each_layer_and_no_layer_begins_after_it_was_set() {
    let model = model();
    let layers = model.config().backbone.num_layers;
    assert!(layers > 2, "a prefill of one layer has no midst");
    for set_at in 1..=layers + 1 {
        let asked = Cell::new(0);
        let stopped = || {
            asked.set(asked.get() + 1);
            asked.get() >= set_at
        };
        let state = model.start_unless(&prompt(), GUIDANCE, FRAMES, &stopped).expect("a prompt that fits");
        assert_eq!((asked.get(), state.is_some()), (set_at.min(layers), set_at > layers), "set before layer {set_at}");
    }
}

#[test]
fn a_language_model_whose_song_is_cancelled_in_its_prefill_writes_no_frame() {
    let sampler = KeyedSampler::new(Sampling::default(), KeyedNoise::new(1)).expect("in range");
    let settings = WriterSettings {
        speculator: Speculator::adapting(Vec::new(), sampler.clone()),
        sampler,
        learned: LearnedBefore::default(),
        audio_eos: u32::MAX,
        guidance: GUIDANCE,
        max_frames: Frames(FRAMES as u64),
        resumed_from: Arc::new(SongCodes { codebooks: 8, codes: Vec::new(), notes: HashMap::new() }),
    };
    let song = SongContext::new(0, Faults::default());
    let (model, mut writer) = (model(), SongWriter::new(settings, song.clone()));
    song.stop.set();
    writer.read(&model, prompt(), &|| song.stop.is_set()).expect("a cancel is no failure");
    let mut frames = VecDeque::new();
    assert!(!writer.has_more() && writer.in_pass().is_none());
    assert!(!writer.write_alone(&model, &mut frames).expect("a cancel is no failure") && frames.is_empty());
    assert_eq!(song.meter.progress().frames_written, Frames(0));
}
