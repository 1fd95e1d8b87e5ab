//! Synthesised checkpoints: random weights from a seed, in the published layout.
//!
//! Such a model knows nothing of music, but it has every tensor, loads through the code that loads the published
//! checkpoints, and makes sound that is heard and not clipped. It is what tests are made with.

mod configs;
mod encoder;
mod noise;
mod random;
mod tokenizer;
mod values;

use std::{collections::HashMap, fs, io, path::Path};

use half::f16;
use safetensors::{Dtype, tensor::TensorView};

pub use configs::{SynthSize, codec_json, gen_config_json, lm_json};
pub use noise::{NOISE, NOISE_SEED, noise};
pub use random::{random, random_model};

use heartstream_models::{
    CODEC_PART, LM_PARTS, ModelError, Result, SongDefaults, TOKENIZER,
    heartcodec::{self, HeartCodecConfig},
    heartmula::{self, HeartMulaConfig},
    signal::KeyedNoise,
    weights::Expected,
};

/// Writes a checkpoint of `size` with weights from `seed` into the directory `out`: the smallest sizes as f16, the
/// others as f32 in files of at most 5 GB, as published. `progress` receives the bytes of weights that are written, of
/// how many.
///
/// # Errors
/// When a file cannot be written.
pub fn synthesise(size: SynthSize, seed: u64, out: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    if !matches!(size, SynthSize::Noise | SynthSize::Tiny | SynthSize::Odd) {
        return random::write(size, seed, out, progress);
    }
    files(size, seed)?.iter().try_for_each(|(file, bytes)| write(&out.join(file), bytes))
}

/// The files of a checkpoint of one of the smallest sizes, by their paths in it.
pub(crate) fn files(size: SynthSize, seed: u64) -> Result<Vec<(String, Vec<u8>)>> {
    let (lm, codec) = (size.lm(), size.codec());
    let noise = KeyedNoise::new(seed);
    let values = values::Values { noise, special_codes: lm.audio_vocab_size - codec.codebook_size };
    let lm_tensors = tensors(&values, 0, &heartmula::expected_tensors(&lm));
    let codec_tensors = tensors(&values, lm_tensors.len() as u64, &heartcodec::expected_tensors(&codec));
    let mut files = configs(&lm, &codec, "float16")?;
    files.push((format!("{}/model.safetensors", LM_PARTS[0]), serialised(&lm_tensors)?));
    files.push((format!("{CODEC_PART}/model.safetensors"), serialised(&codec_tensors)?));
    Ok(files)
}

/// The files of a checkpoint that are not its weights.
fn configs(lm: &HeartMulaConfig, codec: &HeartCodecConfig, dtype: &str) -> Result<Vec<(String, Vec<u8>)>> {
    Ok(vec![
        (format!("{}/config.json", LM_PARTS[0]), lm_json(lm, dtype).into_bytes()),
        (format!("{CODEC_PART}/config.json"), codec_json(codec, dtype).into_bytes()),
        ("gen_config.json".to_owned(), gen_config_json(lm, &SongDefaults::default()).into_bytes()),
        (TOKENIZER.to_owned(), tokenizer::byte_tokenizer()?.into_bytes()),
    ])
}

type Tensors = Vec<(String, Vec<usize>, Vec<u8>)>;

/// The values of each tensor; tensor number i of the checkpoint has the noise of latent i.
fn tensors(values: &values::Values, first: u64, expected: &[Expected]) -> Tensors {
    let bytes = |(place, tensor): (u64, &Expected)| {
        let numbers = values.of(place, &tensor.name, &tensor.shape);
        let bytes = numbers.into_iter().flat_map(|x| f16::from_f32(x).to_le_bytes()).collect();
        (tensor.name.clone(), tensor.shape.clone(), bytes)
    };
    (first..).zip(expected).map(bytes).collect()
}

fn serialised(tensors: &Tensors) -> Result<Vec<u8>> {
    let unwritable =
        |error: safetensors::SafeTensorError| ModelError::shape("tensors", "such that can be written", error);
    let views = tensors.iter().map(|(name, shape, bytes)| {
        Ok((name.as_str(), TensorView::new(Dtype::F16, shape.clone(), bytes).map_err(unwritable)?))
    });
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views.collect::<Result<Vec<_>>>()?, Some(metadata)).map_err(unwritable)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let unwritable = |error: io::Error| ModelError::unwritable(path, &error);
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(unwritable)?;
    fs::write(path, bytes).map_err(unwritable)
}

/// The smallest model, for tests; its files are gone when the folder is dropped.
#[cfg(test)]
pub(crate) fn tiny() -> (tempfile::TempDir, heartstream_models::ModelDirectory) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    synthesise(SynthSize::Tiny, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
    let checkpoint = heartstream_models::weights::Checkpoint::open(folder.path()).expect("a directory");
    (folder, heartstream_models::ModelDirectory::open(checkpoint).expect("configs"))
}

#[cfg(test)]
mod tests {
    use heartstream_models::signal::KeyedNoise;

    #[test]
    fn the_smallest_model_makes_sound() {
        let (_folder, directory) = super::tiny();
        let codec = directory.load_codec(&candle_core::Device::Cpu).expect("a codec");
        let mut latents = vec![0f32; 20 * codec.flow.channels()];
        KeyedNoise::new(1).fill_latent(0, &mut latents);
        let [left, right] = codec.vocoder.decode(&latents).expect("sound");
        for channel in [left, right] {
            let power = channel.iter().map(|x| x * x).sum::<f32>() / channel.len() as f32;
            assert!(power.sqrt() > 1e-3 && power.sqrt() < 10.0, "RMS {}", power.sqrt());
        }
    }
}
