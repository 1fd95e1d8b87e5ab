//! Estimate of a song's peak memory, before anything large is loaded.

use heartstream_actors::{
    stitcher::BLOCK_SAMPLES,
    vocoder::{LONGEST_PIECE_SAMPLES, PIECE_SAMPLES},
};
use heartstream_messages::{
    SongRequest,
    units::{CHANNELS, LATENTS_PER_FRAME},
};
use heartstream_models::{
    DeviceName, Devices, ModelDirectory, ModelError, TOKENIZER, WeightDtype, heartcodec, heartmula,
    weights::{Checkpoint, Expected, TensorStore},
};

use super::MemorySize;
use crate::{plan::Plan, request};

/// The embeddings of codes.
const EMBEDDINGS: &str = "audio_embeddings.weight";
/// What the codec's tensors are called that modulate steps.
const MODULATION: &str = ".adaln_single";
/// The program with its runtime and its threads before any model: 17 MB on x86-64 with the smallest model that there
/// is.
const PROGRAM: u64 = 16 << 20;
/// Bytes in memory for each of a tokenizer's file, while it is read: 128 000 words with as many merges, 8.5 MB of JSON,
/// took 101 MB.
const TOKENIZER_FACTOR: u64 = 12;
/// Room in which a thread copies together what it multiplies, and its part of what its stage makes.
const THREAD: u64 = 1 << 20;
/// Copies of a convolution's weights while they are laid out for the kernels: as they were read, scaled, and
/// transposed.
const COPIES: u64 = 3;
/// Freed memory in larger pieces returns to the system at once; smaller pieces stay with the allocator
/// (`M_MMAP_THRESHOLD_MAX` of the GNU allocator).
const GIVEN_BACK: u64 = 32 << 20;
/// Freed memory that an allocator keeps at the end of a thread's heap, at most (twice the above, in the same source).
const KEPT: u64 = 2 * GIVEN_BACK;
/// The variable of the environment by which cuBLAS takes its room on a GPU, for each stage that computes there: `:4096:2` is
/// twice 4096 KiB, what the program `heartstream` sets. A program that embeds the engine can set it before its first thread
/// starts.
pub const CUBLAS_ROOM: &str = "CUBLAS_WORKSPACE_CONFIG";
/// The driver's pools take and return memory in pieces of this size; of two pools one may be all but empty each.
const GPU_PIECES: u64 = 2 * (32 << 20);
/// Bytes of a number on its way through the pipeline.
const F32: u64 = size_of::<f32>() as u64;

/// Properties of a song that decide how much memory it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SongSize {
    /// Positions of the prompt.
    pub prompt: u64,
    /// Frames at most.
    pub frames: u64,
    /// Rows of the language model: two with guidance.
    pub lm_rows: u64,
    /// Rows of flow matching: two with guidance.
    pub flow_rows: u64,
    /// Frames that are computed for the longest window.
    pub window: u64,
    /// Whether there is a second window, which another worker could have at the same time.
    pub several_windows: bool,
}

impl SongSize {
    /// Positions of a prompt that is not known yet: some verses.
    pub const USUAL_PROMPT: u64 = 500;

    /// The size of a song that is asked for, with a prompt of `prompt` positions.
    ///
    /// # Errors
    /// When its windows cannot be cut as it asks.
    pub fn of(request: &SongRequest, prompt: u64) -> Result<Self, ModelError> {
        let frames = request.max_frames.0;
        // Windows reach their full length long before that number of frames; a longer song has no longer ones.
        let sample = usize::try_from(frames.clamp(1, 3000)).unwrap_or(3000);
        let plan = request::segment_plan(request)?;
        let windows = plan.windows(sample);
        Ok(Self {
            prompt,
            frames,
            lm_rows: if request.sampling.cfg_scale > 1.0 { 2 } else { 1 },
            flow_rows: if request.flow.guidance > 1.0 { 2 } else { 1 },
            several_windows: windows.len() > 1,
            window: (windows.iter().map(|window| window.frames).max().unwrap_or(0) + plan.most_context()) as u64,
        })
    }
}

/// Terms of a song's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryPlan {
    /// The program, its runtime and the scratch of its threads.
    pub program: u64,
    /// The tokenizer while it is read.
    pub tokenizer: u64,
    /// Memory that loading the codec leaves with the allocator.
    pub allocator_slack: u64,
    /// The language model's weights.
    pub language_model: u64,
    /// The codec's weights.
    pub codec: u64,
    /// The KV cache at the end of the song, the cached prefill, and activations of the last passes. Or, where that
    /// is more, what reading the prompt takes.
    pub song: u64,
    /// Flow matching of the longest window, for each worker that can have one at once.
    pub flow: u64,
    /// The vocoder.
    pub vocoder: u64,
    /// Latents, sound and blocks between the stages.
    pub queues: u64,
    /// The part of the codec's weights that the vocoder has.
    pub vocoder_weights: u64,
    /// The part of the language model's weights that lies in the host's memory where a GPU computes it.
    pub language_model_on_host: u64,
    /// The part of the codec's weights that does: what modulates a step is computed there.
    pub codec_on_host: u64,
    /// The part of the program's that the threads of one song have.
    pub threads: u64,
    /// What each part of the model computes on.
    pub devices: Devices,
}

impl MemoryPlan {
    /// Bytes that CUDA's context and kernels take of a GPU's memory before anything is loaded: measured on an H200, which has
    /// more multiprocessors than most; with fewer it is smaller.
    pub const CUDA_CONTEXT: u64 = 560_000_000;

    /// Estimates what a song of this size takes with the model in `directory`, its weights stored as that says.
    ///
    /// # Errors
    /// When a file of the model is missing or damaged.
    pub fn estimate(directory: &ModelDirectory, plan: &Plan, song: &SongSize) -> Result<Self, ModelError> {
        let lm = directory.lm_store()?;
        let sizes = &directory.lm;
        let positions = sizes.backbone.max_seq_len as u64;
        let prompt = song.prompt.min(positions);
        // The last frame needs no position.
        let frames = song.frames.saturating_sub(1).min(positions - prompt);
        let dtype = directory.kv_dtype(&lm);
        let threads = plan.lm.threads + sound_threads(plan);
        let matrices = weights(directory, &lm, &heartmula::expected_tensors(&directory.lm));
        let (language_model, language_model_on_host, song_bytes) = if plan.devices.lm.is_cpu() {
            (matrices, 0, sizes.song_bytes(song.lm_rows, prompt, frames, dtype))
        } else {
            // What tensor cores multiply are planes of bf16.
            let numbers = lm.matrix_type(EMBEDDINGS);
            let (planes, of, bytes) = match numbers {
                WeightDtype::Bf16 => (1, 1, 2),
                WeightDtype::F16 => (2, 1, 4),
                WeightDtype::F32 => (3, 2, 4),
            };
            // The embeddings of codes, which stay in their file on a processor, lie in the host's memory for a GPU.
            let codes = (sizes.audio_num_codebooks * sizes.audio_vocab_size * sizes.backbone.embed_dim * bytes) as u64;
            (matrices * planes / of + codes, codes, sizes.song_bytes_on_gpu(song.lm_rows, prompt, frames, dtype))
        };
        Ok(Self {
            program: PROGRAM + THREAD * threads as u64,
            tokenizer: TOKENIZER_FACTOR * directory.checkpoint.file(TOKENIZER).map_or(0, |file| file.len() as u64),
            language_model,
            language_model_on_host,
            song: song_bytes,
            ..Self::of_sound(directory, plan, song)?
        })
    }

    /// Estimates what the decoding of a saved song of this size takes: as [`Self::estimate`], without a language model
    /// and without words.
    ///
    /// # Errors
    /// When a file of the codec is missing or damaged.
    pub fn estimate_decoding(directory: &ModelDirectory, plan: &Plan, song: &SongSize) -> Result<Self, ModelError> {
        let program = PROGRAM + THREAD * sound_threads(plan) as u64;
        Ok(Self { program, ..Self::of_sound(directory, plan, song)? })
    }

    /// The terms of everything from the codes to the sound.
    fn of_sound(directory: &ModelDirectory, plan: &Plan, song: &SongSize) -> Result<Self, ModelError> {
        let store = directory.codec_store()?;
        let tensors = heartcodec::expected_tensors(&directory.codec);
        let (sizes, Devices { flow, vocoder, .. }) = (&directory.codec, plan.devices);
        let (rows, latents) = (song.flow_rows, song.window * LATENTS_PER_FRAME);
        let window =
            if flow.is_cpu() { sizes.window_bytes(rows, latents) } else { sizes.window_bytes_on_gpu(rows, latents) };
        Ok(Self {
            allocator_slack: COPIES * largest_convolution(&tensors).min(GIVEN_BACK),
            codec: weights(directory, &store, &tensors),
            // A song of one window has no second one that another worker could have.
            flow: window * if song.several_windows { plan.flow.len() as u64 } else { 1 },
            vocoder: if vocoder.is_cpu() { sizes.sound_bytes() } else { sizes.sound_bytes_on_gpu() },
            vocoder_weights: weights(directory, &store, &heartcodec::expected_tensors_of_vocoder(sizes)),
            codec_on_host: if flow.is_cpu() { 0 } else { weights(directory, &store, &modulation(&tensors)) },
            threads: THREAD * sound_threads(plan) as u64,
            devices: plan.devices,
            queues: queues(plan, latents * directory.codec.out_channels as u64),
            ..Self::default()
        })
    }

    /// The most that all devices hold at once where sound is made while the song is written.
    pub fn streaming(&self) -> u64 {
        self.places().map(|device| self.streaming_on(device)).sum()
    }

    /// What each song takes that is made beside another one: keys and values, what its stages compute with, their
    /// threads, its queues. It shares the weights and the threads that write frames.
    pub fn another_song(&self) -> u64 {
        self.places().map(|device| self.another_song_on(device)).sum()
    }

    /// The part of it that is in the memory of `device`; the machine's is the processor's.
    pub fn another_song_on(&self, device: DeviceName) -> u64 {
        let on = |there: DeviceName, bytes: u64| if there == device { bytes } else { 0 };
        on(DeviceName::Cpu, self.threads + self.queues)
            + on(self.devices.lm, self.song)
            // On a GPU there is one window at a time, and one piece in the vocoder, whichever song it is of.
            + on(self.devices.flow, if device.is_cpu() { self.flow } else { 0 })
            + on(self.devices.vocoder, if device.is_cpu() { self.vocoder } else { 0 })
    }

    /// The most that `songs` songs at once hold on all devices.
    pub fn streaming_of(&self, songs: u64) -> u64 {
        self.streaming() + songs.saturating_sub(1) * self.another_song()
    }

    /// Songs that can be made at once within `memory`; at least one.
    pub fn songs_within(&self, memory: MemorySize) -> u64 {
        let beside = memory.0.saturating_sub(self.streaming());
        1 + beside / self.another_song().max(1)
    }

    /// The most that all hold at once where the language model writes the whole song, and is let go before the codec comes.
    pub fn one_after_the_other(&self) -> u64 {
        self.places().map(|device| self.one_after_the_other_on(device)).sum()
    }

    /// The part of [`Self::streaming`] that is in the memory of `device`; the machine's is the processor's.
    pub fn streaming_on(&self, device: DeviceName) -> u64 {
        self.always_on(device) + self.writing_on(device) + self.sound_on(device)
    }

    /// The same of [`Self::one_after_the_other`].
    pub fn one_after_the_other_on(&self, device: DeviceName) -> u64 {
        // What the language model's thread has let go is not the system's again before the thread ends.
        let left = if device.is_cpu() && self.devices.lm.is_cpu() { self.song.min(KEPT) } else { 0 };
        self.always_on(device) + self.writing_on(device).max(left + self.sound_on(device))
    }

    /// The machine's memory and that of each GPU.
    pub fn places(&self) -> impl Iterator<Item = DeviceName> + use<> {
        std::iter::once(DeviceName::Cpu).chain(self.devices.gpus())
    }

    fn always_on(&self, device: DeviceName) -> u64 {
        if device.is_cpu() { self.program + self.tokenizer } else { Self::CUDA_CONTEXT + GPU_PIECES }
    }

    fn writing_on(&self, device: DeviceName) -> u64 {
        let weights = self.language_model - self.language_model_on_host;
        let there = if self.devices.lm == device { weights + self.song + of_stage(device) } else { 0 };
        there + if device.is_cpu() { self.language_model_on_host } else { 0 }
    }

    fn sound_on(&self, device: DeviceName) -> u64 {
        let on = |there: DeviceName, bytes: u64| if there == device { bytes } else { 0 };
        let flow_weights = self.codec.saturating_sub(self.vocoder_weights + self.codec_on_host);
        on(DeviceName::Cpu, self.allocator_slack + self.queues + self.codec_on_host)
            + on(self.devices.flow, flow_weights + self.flow + of_stage(device))
            + on(self.devices.vocoder, self.vocoder_weights + self.vocoder + of_stage(device))
    }

    /// All terms by their names.
    pub fn terms(&self) -> [(&'static str, u64); 9] {
        let Self { program, tokenizer, allocator_slack, language_model, codec, song, flow, vocoder, queues, .. } =
            *self;
        [
            ("program", program),
            ("tokenizer", tokenizer),
            ("left_over", allocator_slack),
            ("language_model", language_model),
            ("codec", codec),
            ("song", song),
            ("flow_matching", flow),
            ("vocoder", vocoder),
            ("queues", queues),
        ]
    }
}

/// What a stage takes of a device beside its weights and what it computes with: on a GPU the room of its cuBLAS.
fn of_stage(device: DeviceName) -> u64 {
    if device.is_cpu() { 0 } else { cublas_room(std::env::var(CUBLAS_ROOM).ok().as_deref()) }
}

/// Bytes that cuBLAS takes for each stage that computes on a GPU: what its variable says, `:KiB:count` once or more often,
/// rounded up to the driver's pieces of 2 MiB; without it 64 MiB on an H200.
pub(super) fn cublas_room(variable: Option<&str>) -> u64 {
    let numbers = |text: &str| text.split(':').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>();
    let said = variable.and_then(|text| numbers(text.strip_prefix(':')?));
    let Some(pairs) = said.filter(|numbers| numbers.len().is_multiple_of(2)) else { return 64 << 20 };
    let bytes = pairs.chunks_exact(2).fold(0u64, |all, pair| all.saturating_add(pair[0].saturating_mul(pair[1])));
    // No GPU has 2⁶¹ bytes, and sums of this stay below 2⁶⁴.
    bytes.saturating_mul(1024).min(1 << 61).next_multiple_of(2 << 20)
}

/// Threads that each song has for itself.
fn sound_threads(plan: &Plan) -> usize {
    plan.vocoder.threads + plan.flow.iter().map(|site| site.threads).sum::<usize>()
}

/// The tensors that make a time step into what modulates it.
fn modulation(tensors: &[Expected]) -> Vec<Expected> {
    tensors.iter().filter(|tensor| tensor.name.contains(MODULATION)).cloned().collect()
}

/// Bytes of these tensors in memory.
fn weights(directory: &ModelDirectory, store: &TensorStore, expected: &[Expected]) -> u64 {
    let read_in_place = matches!(directory.checkpoint, Checkpoint::Embedded { .. });
    let bytes = |Expected { name, shape }: &Expected| {
        // Files compiled into the program count as soon as they are read.
        let stored = store.stored(name).filter(|_| read_in_place).map_or(0, |(_, _, bytes)| bytes);
        store.bytes_in_memory(name, shape) + stored
    };
    expected.iter().map(bytes).sum()
}

/// Bytes of the largest weight that is read in f32 as a whole.
fn largest_convolution(tensors: &[Expected]) -> u64 {
    let convolutions = tensors.iter().filter(|tensor| matches!(tensor.shape[..], [_, _, taps] if taps > 1));
    convolutions.map(|tensor| F32 * tensor.shape.iter().product::<usize>() as u64).max().unwrap_or(0)
}

/// Bytes between the stages when all queues are full; `window` are the numbers of a window's latents.
fn queues(plan: &Plan, window: u64) -> u64 {
    let capacities = &plan.capacities;
    // Segments in their places, one in the vocoder, and the ends that each passes on.
    let segments = capacities.segment_places(plan.windows, plan.flow.len()) as u64 + 2;
    let pieces = capacities.sound_places() * PIECE_SAMPLES + 2 * LONGEST_PIECE_SAMPLES;
    // Two channels of blocks, and one on either side.
    let blocks = (2 * capacities.block_places() + 2) * BLOCK_SAMPLES;
    F32 * (segments * window + ((pieces + blocks) * CHANNELS) as u64)
}

#[cfg(test)]
mod tests {
    use heartstream_models::{WeightDtype, weights::Storage};
    use heartstream_tools::synth::SynthSize;

    use super::*;
    use crate::{plan::Placement, units::Seconds};

    fn estimate(size: SynthSize, seconds: f64, codec: Storage) -> MemoryPlan {
        estimate_on(Devices::default(), size, seconds, codec)
    }

    fn estimate_on(devices: Devices, size: SynthSize, seconds: f64, codec: Storage) -> MemoryPlan {
        let directory =
            heartstream_tools::synth::random_model(size, 1).expect("a model").stored_as(Storage::Auto, codec);
        let plan = Plan::new(&Placement { flow_workers: 1, threads: Some(2), devices, ..Placement::default() });
        let request = SongRequest { max_frames: Seconds(seconds).frames(), ..SongRequest::new("a", "b") };
        let song = SongSize::of(&request, 200).expect("a song");
        MemoryPlan::estimate(&directory, &plan.expect("a plan"), &song).expect("a forecast")
    }

    #[test]
    fn four_minutes_of_the_published_model_with_the_f16_codec_fit_into_twelve_gigabytes() {
        let plan = estimate(SynthSize::Full, 240.0, Storage::As(WeightDtype::F16));
        assert!((10.5e9..12e9).contains(&(plan.streaming() as f64)), "{plan:#?}");
        assert!(estimate(SynthSize::Full, 240.0, Storage::Auto).streaming() as f64 > 14e9);
    }

    #[test]
    fn on_a_gpu_songs_take_what_was_measured_on_an_h200_within_a_twentieth() {
        let gpu = DeviceName::Cuda(0);
        let half = Storage::As(WeightDtype::F16);
        // With 8 MiB for cuBLAS in each of three stages, as in the program; without CUDA's context.
        let room = 3 * (cublas_room(None) - cublas_room(Some(":4096:2"))) + MemoryPlan::CUDA_CONTEXT;
        for (seconds, songs, measured) in [(240.0, 1, 11.55e9), (60.0, 1, 11.04e9), (60.0, 4, 12.22e9)] {
            let plan = estimate_on(Devices::all(gpu), SynthSize::Full, seconds, half);
            let estimated = plan.streaming_on(gpu) + (songs - 1) * plan.another_song_on(gpu) - room;
            let ratio = estimated as f64 / measured;
            assert!((0.95..1.05).contains(&ratio), "{songs} of {seconds} s: {estimated} estimated, {ratio:.3}");
        }
    }

    #[test]
    fn the_parts_of_a_song_on_a_gpu_are_on_the_gpu_or_in_the_machines_memory_and_in_no_third_place() {
        let plan = estimate_on(Devices::all(DeviceName::Cuda(0)), SynthSize::Small, 30.0, Storage::Auto);
        let beside = MemoryPlan::CUDA_CONTEXT + GPU_PIECES + 3 * of_stage(DeviceName::Cuda(0));
        assert_eq!(plan.terms().iter().map(|(_, bytes)| bytes).sum::<u64>() + beside, plan.streaming());
        assert!(plan.language_model_on_host > 0 && plan.codec_on_host > 0, "{plan:#?}");
    }

    #[test]
    fn what_cublas_takes_is_read_from_its_variable() {
        for (variable, mebibytes) in [
            (None, 64),
            (Some(""), 64),
            (Some(":x:2"), 64),
            (Some(":4096"), 64),
            (Some(":4096:2"), 8),
            (Some(":4096:2:16:8"), 10),
            (Some(":16:8"), 2),
            (Some(":0:0"), 0),
        ] {
            assert_eq!(cublas_room(variable), mebibytes << 20, "{variable:?}");
        }
        assert!(cublas_room(Some(":18446744073709551615:18446744073709551615")) > 1 << 60);
    }

    #[test]
    fn a_longer_song_takes_more_by_its_keys_and_values_alone() {
        let (short, long) =
            (estimate(SynthSize::Full, 60.0, Storage::Auto), estimate(SynthSize::Full, 240.0, Storage::Auto));
        assert_eq!(MemoryPlan { song: long.song, ..short }, long);
        let kept = SynthSize::Full.lm().kv_bytes(2, 1, WeightDtype::F16) / 16;
        assert!((long.song - short.song).abs_diff(2250 * kept) <= 16 * kept);
    }

    #[test]
    fn songs_share_the_weights_and_nothing_else_of_what_they_take() {
        let plan = estimate(SynthSize::Full, 60.0, Storage::Auto);
        let of = |songs: u64| MemorySize(plan.streaming_of(songs));
        assert_eq!([1, 2, 8].map(|songs| plan.songs_within(of(songs))), [1, 2, 8]);
        assert_eq!([plan.songs_within(MemorySize(0)), plan.songs_within(MemorySize(of(3).0 - 1))], [1, 2]);
        assert!(plan.another_song() < plan.streaming() / 4, "{plan:#?}");
    }

    #[test]
    fn the_terms_are_all_that_the_whole_is_made_of() {
        let plan = estimate(SynthSize::Small, 30.0, Storage::Auto);
        assert_eq!(plan.terms().iter().map(|(_, bytes)| bytes).sum::<u64>(), plan.streaming());
        assert!(plan.terms().iter().all(|(_, bytes)| *bytes > 0), "{plan:#?}");
        assert!(plan.vocoder_weights < plan.codec, "{plan:#?}");
        assert!(plan.one_after_the_other() < plan.streaming());
    }

    #[test]
    fn decoding_takes_what_a_song_takes_less_the_language_model_and_the_words() {
        let directory = heartstream_tools::synth::random_model(SynthSize::Small, 1).expect("a model");
        let plan = Plan::new(&Placement { flow_workers: 1, threads: Some(2), ..Placement::default() }).expect("a plan");
        let request = SongRequest { max_frames: Seconds(30.0).frames(), ..SongRequest::new("a", "b") };
        let song = SongSize::of(&request, 0).expect("a song");
        let whole = MemoryPlan::estimate(&directory, &plan, &song).expect("a forecast");
        let decoding = MemoryPlan::estimate_decoding(&directory, &plan, &song).expect("a forecast");
        let program = whole.program - THREAD * plan.lm.threads as u64;
        let expected = MemoryPlan { program, tokenizer: 0, language_model: 0, song: 0, ..whole };
        assert_eq!(decoding, expected);
    }

    #[test]
    fn a_song_shorter_than_a_window_has_a_shorter_one_unless_the_reference_fills_it_up() {
        let window = |frames: u64, continuity| {
            let mut request = SongRequest { continuity, ..SongRequest::new("a", "b") };
            request.max_frames = crate::units::Frames(frames);
            SongSize::of(&request, 200).expect("a song").window
        };
        // Before and behind its own frames there may be 4 each.
        assert!(window(100, crate::Continuity::Chained) <= 100 + 8);
        assert_eq!(window(3000, crate::Continuity::Chained), 372 + 8);
        assert_eq!(window(100, crate::Continuity::Reference), 372);
    }
}
