//! Level of a finished checkpoint: a gain in the last convolution of its vocoder, and its inverse in the encoders.
//!
//! The last convolution is linear and nothing comes behind it, so a gain there is the song times that gain, and no more.
//! The encoders begin linearly, too: that of sounds divides its input by the gain, that of codes moves its logarithms.

use std::{collections::HashMap, path::Path};

use candle_core::{DType, Device, Tensor};
use heartstream_models::{CODEC_PART, ModelDirectory, heartcodec::HeartCodecConfig, weights::Checkpoint};

use crate::{
    autoencoder::Autoencoder,
    codes::Codes,
    error::{Result, TrainError},
    evaluate::belongs_together,
    export::WEIGHTS,
    parameters::{read_weights, save_half},
    semantic::{FEATURES, MEL_SCALE, PITCH_FEATURES},
    setting::Setting,
    stage::Stage,
};

/// Largest change, in decibels either way.
const MOST: f64 = 20.0;

/// Makes songs of the checkpoint in `model` louder by this number of decibels; the encoders in the run of `setting` then give
/// for a louder sound what they gave for it before. Both are changed in place, in 16 bits: the gain is what one number
/// of the vocoder can be rounded to, which is printed.
///
/// # Errors
/// When the gain is out of range, a file is missing, or the run is not of this checkpoint.
pub fn change(setting: &Setting, model: &Path, decibels: f64) -> Result<()> {
    if !(-MOST..=MOST).contains(&decibels) {
        return Err(TrainError::Order(format!("--decibels: expected -{MOST} to {MOST}, found {decibels}")));
    }
    let directory = ModelDirectory::open(Checkpoint::Directory(model.to_owned()))?;
    belongs_together(setting, &directory)?;
    let [autoencoder, codes] = [setting.weights_of(Autoencoder::NAME)?, setting.weights_of(Codes::NAME)?];
    let codec = model.join(CODEC_PART).join(WEIGHTS);
    let mut tensors = read_weights(&codec, &Device::Cpu)?;
    let gain = louder(&mut tensors, &directory.codec, 10f64.powf(decibels / 20.0))?;
    save_half(&tensors, &codec)?;

    let mut tensors = read_weights(&autoencoder, &Device::Cpu)?;
    if tensors.contains_key(&last(&directory.codec, "bias")) {
        louder(&mut tensors, &directory.codec, gain)?;
    }
    for name in ["encoder.enter.weight", "encoder.lines.weight"] {
        multiply(&mut tensors, name, 1.0 / gain)?;
    }
    save_half(&tensors, &autoencoder)?;

    let mut tensors = read_weights(&codes, &Device::Cpu)?;
    let higher = gain.ln() / MEL_SCALE;
    let bands = FEATURES - PITCH_FEATURES;
    let weight = tensor(&tensors, "semantic.enter.weight")?.narrow(1, 0, bands)?;
    let entered = (tensor(&tensors, "semantic.enter.bias")? - (weight.sum(1)? * higher)?)?;
    tensors.insert("semantic.enter.bias".to_owned(), entered);
    let recalled = tensor(&tensors, "semantic.recalled.bias")?;
    let recalled =
        Tensor::cat(&[(recalled.narrow(0, 0, bands)? + higher)?, recalled.narrow(0, bands, PITCH_FEATURES)?], 0)?;
    tensors.insert("semantic.recalled.bias".to_owned(), recalled);
    save_half(&tensors, &codes)?;
    println!("{} and {}: {:.3} dB louder", codec.display(), setting.run.display(), 20.0 * gain.log10());
    Ok(())
}

/// The name of a tensor of the vocoder's last convolution.
fn last(config: &HeartCodecConfig, part: &str) -> String {
    let place = config.upsample_factors.len() + 1 + usize::from(config.num_samples > 1);
    format!("scalar_model.decoder.{place}.{part}")
}

fn tensor(tensors: &HashMap<String, Tensor>, name: &str) -> Result<Tensor> {
    tensors.get(name).cloned().ok_or_else(|| TrainError::Order(format!("no tensor {name}; export the model anew")))
}

fn multiply(tensors: &mut HashMap<String, Tensor>, name: &str, by: f64) -> Result<()> {
    let product = (tensor(tensors, name)? * by)?;
    tensors.insert(name.to_owned(), product);
    Ok(())
}

/// Multiplies the last convolution by about `wanted`, and says by what: its length is one number, stored in 16 bits.
fn louder(tensors: &mut HashMap<String, Tensor>, config: &HeartCodecConfig, wanted: f64) -> Result<f64> {
    let length = last(config, "parametrizations.weight.original0");
    let number = |tensor: &Tensor| -> Result<f64> { Ok(f64::from(tensor.flatten_all()?.to_vec1::<f32>()?[0])) };
    let before = tensor(tensors, &length)?;
    let after = (&before * wanted)?.to_dtype(DType::F16)?.to_dtype(DType::F32)?;
    let gain = number(&after)? / number(&before)?;
    tensors.insert(length, after);
    multiply(tensors, &last(config, "bias"), gain)?;
    Ok(gain)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{codes::Coder, corpus::Manner, export, feed::Song, rng::Rng};

    /// 6 dB, as a factor.
    const GAIN: f32 = 1.995_262_3;

    /// A level multiplies every song, and the encoders read the louder song as they read it before. `setting` has a run of
    /// all stages.
    pub fn check(setting: &Setting, folder: &Path) {
        let [quiet, loud] = ["quiet", "loud"].map(|name| folder.join(name));
        for out in [&quiet, &loud] {
            export::export(setting, out, &[1.0], &export::DefaultsArgs::default()).expect("all stages");
        }
        let louder = Setting { run: folder.join("louder"), ..setting.clone() };
        for stage in [Autoencoder::NAME, Codes::NAME] {
            std::fs::create_dir_all(louder.folder(stage)).expect("a folder");
            let file = louder.folder(stage).join("weights.safetensors");
            std::fs::copy(setting.weights_of(stage).expect("a stage"), file).expect("a copy");
        }
        assert!(change(&louder, &loud, 21.0).is_err(), "too much");
        change(&louder, &loud, 6.0).expect("a checkpoint and its encoders");

        let song = |gain: f32| {
            let mut songs = setting.source.songs(true, Manner::Excerpt, 0, 1, 1);
            let mut song = songs.next().expect("endless").expect("a song");
            song.left.iter_mut().chain(&mut song.right).for_each(|sample| *sample *= gain);
            song
        };
        let codes = |setting: &Setting, song: Song| {
            let coder = Coder::open(setting).expect("codes");
            coder.paths(&[song]).expect("a path").remove(0).codes_by_frame()
        };
        let (before, after) = (codes(setting, song(1.0)), codes(&louder, song(GAIN)));
        let same = before.iter().zip(&after).filter(|(a, b)| a == b).count();
        assert!(same as f64 > 0.97 * before.len() as f64, "{same} of {} codes are the same", before.len());

        let decoded = |model: &Path| {
            let directory = ModelDirectory::open(Checkpoint::Directory(model.to_owned())).expect("configs");
            let codec = directory.load_codec(&Device::Cpu).expect("a codec");
            codec.vocoder.decode(&Rng::new(&[1]).normal(2 * 8 * 30)).expect("latents").concat()
        };
        let (before, after) = (decoded(&quiet), decoded(&loud));
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let gain = product(&after, &before) / product(&before, &before);
        assert!((gain / GAIN - 1.0).abs() < 1e-3, "{gain}");
        let apart = before.iter().zip(&after).map(|(a, b)| (a * gain - b).abs()).fold(0.0, f32::max);
        let loudest = after.iter().fold(0.0, |loudest: f32, x| loudest.max(x.abs()));
        assert!(apart < 1e-3 * loudest, "a gain and nothing else: {apart} of {loudest}");
    }
}
