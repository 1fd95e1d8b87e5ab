//! Golden data that the engine itself computes, to compare devices, kernels and dtypes with one another.
//!
//! They say nothing about the reference. Names and layout are those of the reference's golden data.

use std::{io, path::Path};

use candle_core::{Device, Tensor};
use heartstream_models::{
    ModelDirectory, ModelError, Result, WeightDtype,
    heartcodec::{Flow, HeartCodec, LATENTS_PER_FRAME},
    heartmula::PromptTokens,
    signal::{KeyedNoise, ReferenceWindows, SegmentPlan},
};
use safetensors::{Dtype, tensor::TensorView};

use super::lm::run_greedily;

/// Frames that the language model writes, with guidance and without.
const FRAMES: usize = 24;
/// Ids of the tags and of the lyrics, BOS and EOS included.
const PROMPT: [usize; 2] = [7, 23];
/// Frames of a window, the shortest that the reference has …
const WINDOW: usize = 93;
/// … and of the song that is decoded in such windows: two of them.
const SONG: usize = WINDOW + 1;
/// The run of the codec. Its name says how many steps it has; its guidance follows from that.
const RUN: &str = "steps4";
const OPTIONS: Flow = Flow { steps: 4, guidance: 1.25 };
/// Latent frames that the estimator and the vocoder are given on their own.
const ALONE: usize = 12;
/// Where the numbers that go in come from.
const SEED: u64 = 1;

/// Computes golden data for the model in `directory` on the processor, with the weights in the dtypes that it says and keys
/// and values in f32, and writes them to `file`. The usual name is `goldens.safetensors` in the directory of the model.
///
/// # Errors
/// When the model cannot be loaded, or the file cannot be written.
pub fn record(directory: &ModelDirectory, file: &Path) -> Result<()> {
    directory.check_codes()?;
    let mut tensors = Tensors::default();
    record_lm(directory, &mut tensors)?;
    record_codec(directory, &directory.load_codec(&Device::Cpu)?, &mut tensors)?;
    tensors.write(file)
}

fn record_lm(directory: &ModelDirectory, tensors: &mut Tensors) -> Result<()> {
    let model = directory.load_lm(&Device::Cpu)?.keeping_kv_as(WeightDtype::F32);
    let vocabulary = directory.lm.text_vocab_size as u32;
    // Any ids will do; the factor spreads them over the vocabulary.
    let ids = |count: usize, start: u32| -> Vec<u32> {
        (0..count as u32).map(|place| (start + 7919 * place) % vocabulary).collect()
    };
    let prompt = PromptTokens { tags: ids(PROMPT[0], 1), lyrics: ids(PROMPT[1], 2) };
    tensors.add_integers("tags_ids", &[PROMPT[0]], &prompt.tags);
    tensors.add_integers("lyrics_ids", &[PROMPT[1]], &prompt.lyrics);
    let (codebooks, codes) = (directory.lm.audio_num_codebooks, directory.lm.audio_vocab_size);
    for (run, guidance) in [("plain", 1.0), ("cfg15", 1.5)] {
        let (greedy, logits) = run_greedily(&model, &prompt, guidance, FRAMES)?;
        tensors.add_integers(&format!("lm.{run}.greedy_codes"), &[FRAMES, codebooks], &greedy);
        tensors.add(&format!("lm.{run}.logits"), &[FRAMES, codebooks, codes], &logits);
    }
    Ok(())
}

fn record_codec(directory: &ModelDirectory, codec: &HeartCodec, tensors: &mut Tensors) -> Result<()> {
    let (codebooks, size, width) =
        (directory.codec.num_quantizers, directory.codec.codebook_size, directory.codec.in_channels);
    let channels = codec.flow.channels();
    let codes: Vec<u16> = (0..SONG * codebooks).map(|place| (7919 * place % size) as u16).collect();
    let stored: Vec<u32> = (0..codebooks)
        .flat_map(|codebook| codes.iter().skip(codebook).step_by(codebooks).map(|code| u32::from(*code)))
        .collect();
    tensors.add_integers("codec.codes", &[codebooks, SONG], &stored);

    let embedded = codec.flow.quantizer.embed(&codes[..WINDOW * codebooks])?;
    tensors.add("codec.rvq_output", embedded.dims(), &host(&embedded)?);
    let condition = codec.flow.quantizer.condition(&embedded)?;
    tensors.add("codec.condition", condition.dims(), &host(&condition)?);

    let noise = |place: u64, count: usize| {
        let mut numbers = vec![0f32; count];
        KeyedNoise::new(SEED).fill_latent(place, &mut numbers);
        numbers
    };
    let (input, times) = (noise(0, 2 * ALONE * width), [0.3, 0.7]);
    tensors.add("codec.estimator.input", &[2, ALONE, width], &input);
    tensors.add("codec.estimator.timestep", &[2], &times);
    let velocity = codec.flow.estimator.forward(&Tensor::from_vec(input, (2, ALONE, width), &Device::Cpu)?, &times)?;
    tensors.add("codec.estimator.output", velocity.dims(), &host(&velocity)?);

    let latents = noise(1, ALONE * channels);
    tensors.add("codec.vocoder.latent", &[2, channels / 2, ALONE], &channel_by_channel(&latents, channels));
    let [left, right] = codec.vocoder.decode(&latents)?;
    tensors.add("codec.vocoder.pcm", &[2, 1, left.len()], &[left, right].concat());

    let plan = SegmentPlan::reference(ReferenceWindows::new(WINDOW)?);
    let mut starts = Vec::new();
    let windows = codec.song_latents(&codes, &plan, OPTIONS, &mut |window, start| {
        start.copy_from_slice(&noise(2 + window.index as u64, start.len()));
        starts.extend_from_slice(start);
    })?;
    let length = WINDOW * LATENTS_PER_FRAME;
    tensors.add(&format!("codec.{RUN}.noise"), &[windows.len(), length, channels], &starts);
    let latents: Vec<f32> = windows.iter().flat_map(|(_, latents)| channel_by_channel(latents, channels)).collect();
    tensors.add(&format!("codec.{RUN}.latents"), &[windows.len(), 2, channels / 2, length], &latents);
    let stereo = codec.song_sound(&windows, &plan, SONG)?;
    let sound: Vec<f32> = [0, 1].into_iter().flat_map(|side| stereo.iter().skip(side).step_by(2).copied()).collect();
    tensors.add(&format!("codec.{RUN}.pcm"), &[2, stereo.len() / 2], &sound);
    Ok(())
}

/// Latent frame after latent frame of `channels` numbers, as channel after channel.
fn channel_by_channel(latents: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|channel| latents.iter().skip(channel).step_by(channels).copied()).collect()
}

fn host(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// What the file will hold.
#[derive(Default)]
struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn add(&mut self, name: &str, shape: &[usize], numbers: &[f32]) {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.0.push((name.to_owned(), Dtype::F32, shape.to_vec(), bytes));
    }

    fn add_integers(&mut self, name: &str, shape: &[usize], numbers: &[u32]) {
        let bytes = numbers.iter().flat_map(|number| i64::from(*number).to_le_bytes()).collect();
        self.0.push((name.to_owned(), Dtype::I64, shape.to_vec(), bytes));
    }

    fn write(&self, file: &Path) -> Result<()> {
        let unwritable = |error: io::Error| ModelError::unwritable(file, &error);
        let views = self.0.iter().map(|(name, dtype, shape, bytes)| {
            Ok((
                name,
                TensorView::new(*dtype, shape.clone(), bytes).map_err(|error| unwritable(io::Error::other(error)))?,
            ))
        });
        let bytes = safetensors::serialize(views.collect::<Result<Vec<_>>>()?, None)
            .map_err(|error| unwritable(io::Error::other(error)))?;
        std::fs::write(file, bytes).map_err(unwritable)
    }
}
