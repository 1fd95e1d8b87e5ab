//! Export of the trained parts as a checkpoint: the published layout, in 16 bits, without what only training needs.

use std::{collections::HashMap, fs, path::Path};

use candle_core::{DType, Device, Tensor};
use heartstream_models::{
    CODEC_PART, LM_PARTS, SongDefaults, TOKENIZER, heartcodec, heartmula, text::TAGS_FILE, weights::Expected,
};
use heartstream_tools::synth::{codec_json, gen_config_json, lm_json};

use crate::{
    corpus::tokens,
    error::{Result, TrainError, at},
    evaluate::belongs_together,
    parameters::save_half,
    setting::Setting,
    sizes::Size,
};

/// The tags that songs are tagged with, by kind, for those who use the model.
const TAGS: &str = include_str!("../../models/demo/tags.json");

/// Defaults that the checkpoint says.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct DefaultsArgs {
    /// The temperature that its songs have by default [default: that of --beside, or 1]
    #[arg(long)]
    pub temperature: Option<f32>,
    /// The likeliest codes that they are drawn from [default: that of --beside, or 50]
    #[arg(long)]
    pub top_k: Option<usize>,
    /// The guidance of the language model [default: that of --beside, or 1.5]
    #[arg(long)]
    pub cfg_scale: Option<f64>,
    /// The guidance of flow matching [default: that of --beside, or 1.25]
    #[arg(long)]
    pub flow_guidance: Option<f32>,
}

impl DefaultsArgs {
    /// These, and of the others those of the checkpoint that the run was learnt beside.
    fn or(&self, beside: SongDefaults) -> SongDefaults {
        let mut defaults = beside;
        let SongDefaults { sampling, flow } = &mut defaults;
        sampling.temperature = self.temperature.unwrap_or(sampling.temperature);
        sampling.top_k = self.top_k.unwrap_or(sampling.top_k);
        sampling.cfg_scale = self.cfg_scale.unwrap_or(sampling.cfg_scale);
        flow.guidance = self.flow_guidance.unwrap_or(flow.guidance);
        defaults
    }
}

/// Writes the configs, the tokenizer and the list of tags.
pub fn write_configs(size: Size, defaults: &SongDefaults, out: &Path) -> Result<()> {
    let write = |name: &str, text: String| {
        let file = out.join(name);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        fs::write(&file, text).map_err(at(&file))
    };
    let lm = size.lm(tokens::vocabulary_size());
    write(&format!("{}/config.json", LM_PARTS[0]), lm_json(&lm, "float16"))?;
    write(&format!("{CODEC_PART}/config.json"), codec_json(&size.codec(), "float16"))?;
    write("gen_config.json", gen_config_json(&lm, defaults))?;
    write(TAGS_FILE, TAGS.to_owned())?;
    write(TOKENIZER, tokens::tokenizer_json())
}

/// The file of a part.
pub const WEIGHTS: &str = "model.safetensors";
/// The tensors that turn what the language model thinks into logits.
const LM_HEADS: [&str; 2] = ["codebook0_head.weight", "audio_head"];

/// How many times as long the head of each of `books` codebooks becomes: one number for all, or one for each.
fn of_books(sharpness: &[f64], books: usize) -> Result<Vec<f64>> {
    if let Some(wrong) = sharpness.iter().find(|one| !(0.1..=10.0).contains(*one)) {
        return Err(TrainError::Order(format!("--sharpness: expected a number from 0.1 to 10, found {wrong}")));
    }
    match sharpness {
        [all] => Ok(vec![*all; books]),
        each if each.len() == books => Ok(each.to_vec()),
        others => {
            let found = others.len();
            Err(TrainError::Order(format!(
                "--sharpness: expected one number, or {books}, one a codebook; found {found}"
            )))
        }
    }
}

/// Writes the whole checkpoint into `out`, its heads `sharpness` times as long, and says how large it is. The codec is
/// that of the checkpoint that the run was learnt beside, if there is one, and so are the defaults that are not said.
pub fn export(setting: &Setting, out: &Path, sharpness: &[f64], defaults: &DefaultsArgs) -> Result<()> {
    let lm = setting.size.lm(tokens::vocabulary_size());
    let sharpness = of_books(sharpness, lm.audio_num_codebooks)?;
    // `out` may be the checkpoint beside, whose defaults are read before they are written.
    let beside = setting.beside()?;
    let defaults = defaults.or(beside.as_ref().map_or_else(SongDefaults::default, |directory| directory.defaults));
    defaults.check()?;
    write_configs(setting.size, &defaults, out)?;
    let load = |stage: &str| -> Result<HashMap<String, Tensor>> {
        Ok(candle_core::safetensors::load(setting.weights_of(stage)?, &Device::Cpu)?)
    };
    let codec = match &beside {
        Some(directory) => {
            belongs_together(setting, directory)?;
            let file = directory.checkpoint.path_of(CODEC_PART).join(WEIGHTS);
            candle_core::safetensors::load(file, &Device::Cpu)?
        }
        None => {
            let mut codec = load("codec")?;
            codec.extend(load("autoencoder")?);
            codec.extend(load("codes")?);
            codec
        }
    };
    write_part(codec, &heartcodec::expected_tensors(&setting.size.codec()), &out.join(CODEC_PART))?;
    let mut language = load("language")?;
    let (first, later) = (sharpness[0], &sharpness[1..]);
    let later: Vec<f32> = later.iter().map(|one| *one as f32).collect();
    for (name, longer) in LM_HEADS.into_iter().zip([
        Tensor::new(&[[first as f32]], &Device::Cpu)?,
        Tensor::new(later.as_slice(), &Device::Cpu)?.reshape((later.len(), 1, 1))?,
    ]) {
        let head = language.remove(name).ok_or_else(|| missing(name))?;
        language.insert(name.to_owned(), head.to_dtype(DType::F32)?.broadcast_mul(&longer)?);
    }
    write_part(language, &heartmula::expected_tensors(&lm), &out.join(LM_PARTS[0]))
}

fn missing(name: &str) -> TrainError {
    TrainError::Order(format!("no stage has learnt {name}; run them all again"))
}

fn write_part(mut tensors: HashMap<String, Tensor>, expected: &[Expected], folder: &Path) -> Result<()> {
    let take = |Expected { name, .. }: &Expected| {
        let found = tensors.remove(name);
        Ok((name.clone(), found.ok_or_else(|| missing(name))?))
    };
    let part: HashMap<String, Tensor> = expected.iter().map(take).collect::<Result<_>>()?;
    let numbers: usize = part.values().map(Tensor::elem_count).sum();
    println!("{}: {:.2} M numbers, {:.2} MB", folder.display(), numbers as f64 / 1e6, 2e-6 * numbers as f64);
    save_half(&part, &folder.join(WEIGHTS))
}
