//! Model directories: the published layout, two parts, a tokenizer, a list of special ids.

use candle_core::Device;

use crate::{
    error::{ModelError, Result},
    heartcodec::{self, FlowMatching, HeartCodec, HeartCodecConfig},
    heartmula::{self, HeartMula, HeartMulaConfig, SpecialIds},
    kernels::cpu::WeightDtype,
    part_discovery::{self, FoundParts},
    song_defaults::SongDefaults,
    speculation::{DRAFTER_FILE, DrafterWeights},
    text::{KnownTags, PUBLISHED_VOCABULARY, PromptTokenizer, TAGS_FILE},
    weights::{Checkpoint, FakeQuant, FlowPrecision, Storage, TensorStore, file_names, fingerprint},
};

/// The folders that a language model can be in, in the order they are looked for.
pub const LM_PARTS: [&str; 2] = ["HeartMuLa-oss-3B", "HeartMuLa-oss-7B"];
/// The folder of the codec.
pub const CODEC_PART: &str = "HeartCodec-oss";
/// Where the codec stands in the module tree of the reference since September 2026. A codec that was saved again, such
/// as a fine-tuned one, has this before every name; the published files do not.
const CODEC_PREFIX: &str = "decoder.";
/// What trainers put before every name when they save a model inside of another.
const MODEL_PREFIX: &str = "model.";
/// The tokenizer's file.
pub const TOKENIZER: &str = "tokenizer.json";

/// A model directory whose configs have been read and whose tensors have not.
#[derive(Debug, Clone)]
pub struct ModelDirectory {
    /// Where its files are.
    pub checkpoint: Checkpoint,
    /// The folder of the language model: one of [`LM_PARTS`], or another whose config.json identifies it.
    pub lm_part: String,
    /// The folder of the codec: [`CODEC_PART`], or another whose config.json identifies it.
    pub codec_part: String,
    /// Sizes of the language model.
    pub lm: HeartMulaConfig,
    /// Ids with a meaning.
    pub ids: SpecialIds,
    /// Options of a song that does not say them.
    pub defaults: SongDefaults,
    /// Sizes of the codec.
    pub codec: HeartCodecConfig,
    /// The tags that the model is known to take; `None` where nothing is known of them.
    pub known_tags: Option<KnownTags>,
    /// A sentence for each unknown field of a config.
    pub warnings: Vec<String>,
    /// How the weights of the language model are stored in memory.
    pub lm_storage: Storage,
    /// How the weights of the codec are stored in memory.
    pub codec_storage: Storage,
    /// Accuracy of flow matching's products on a GPU.
    pub flow_precision: FlowPrecision,
}

impl ModelDirectory {
    /// Finds the parts and reads their configs. With both sizes of the language model there, the smaller one is taken.
    ///
    /// # Errors
    /// When a config is missing or describes something that cannot be.
    pub fn open(checkpoint: Checkpoint) -> Result<Self> {
        let FoundParts { checkpoint, language_model: lm_part, codec: codec_part } = part_discovery::find(checkpoint)?;
        let (lm, mut warnings) = HeartMulaConfig::read(&checkpoint, &format!("{lm_part}/config.json"))?;
        let (codec, more) = HeartCodecConfig::read(&checkpoint, &format!("{codec_part}/config.json"))?;
        warnings.extend(more);
        let (ids, more) = SpecialIds::read(&checkpoint, &lm)?;
        warnings.extend(more);
        let defaults = SongDefaults::read(&checkpoint)?;
        let known_tags = known_tags(&checkpoint, lm.text_vocab_size, &mut warnings);
        let (lm_storage, codec_storage) = (Storage::Auto, Storage::Stored);
        Ok(Self {
            checkpoint,
            lm_part,
            codec_part,
            lm,
            ids,
            defaults,
            codec,
            known_tags,
            warnings,
            lm_storage,
            codec_storage,
            flow_precision: FlowPrecision::F32,
        })
    }

    /// Sets how the weights are stored in memory when they are loaded.
    #[must_use]
    pub fn stored_as(self, lm: Storage, codec: Storage) -> Self {
        // A codec is never narrowed unasked: what is gained is less, and what is lost can be heard.
        let codec = if codec == Storage::Auto { Storage::Stored } else { codec };
        Self { lm_storage: lm, codec_storage: codec, ..self }
    }

    /// Sets the accuracy of flow matching's products on a GPU.
    #[must_use]
    pub fn with_flow_precision(self, flow_precision: FlowPrecision) -> Self {
        Self { flow_precision, ..self }
    }

    /// A short name for the contents of all its files, the same wherever they lie.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn fingerprint(&self) -> Result<String> {
        let mut files = vec!["gen_config.json".to_owned(), TOKENIZER.to_owned()];
        for part in [&self.lm_part, &self.codec_part] {
            files.extend(self.files_of(part)?);
        }
        fingerprint(&self.checkpoint, &files)
    }

    /// A short name for the contents of the codec's files.
    ///
    /// # Errors
    /// When a file is missing.
    pub fn codec_fingerprint(&self) -> Result<String> {
        fingerprint(&self.checkpoint, &self.files_of(&self.codec_part)?)
    }

    fn files_of(&self, part: &str) -> Result<Vec<String>> {
        let names = file_names(&self.checkpoint, part)?.into_iter().map(|name| format!("{part}/{name}"));
        Ok(std::iter::once(format!("{part}/config.json")).chain(names).collect())
    }

    /// Checks that the codec has a codebook for each code that the language model writes.
    ///
    /// # Errors
    /// When it has more or fewer.
    pub fn check_codes(&self) -> Result<()> {
        let (written, read) = (self.lm.audio_num_codebooks, self.codec.num_quantizers);
        if written == read {
            return Ok(());
        }
        Err(ModelError::Field {
            path: self.checkpoint.path_of(&format!("{}/config.json", self.codec_part)),
            field: "num_quantizers".to_owned(),
            expected: format!("the language model's `audio_num_codebooks` ({written})"),
            found: read.to_string(),
        })
    }

    /// The headers of the language model's files.
    ///
    /// # Errors
    /// When a file is missing or damaged.
    pub fn lm_store(&self) -> Result<TensorStore> {
        Ok(TensorStore::open(&self.checkpoint, &self.lm_part)?.without_prefix(MODEL_PREFIX)?.stored_as(self.lm_storage))
    }

    /// The headers of the codec's files. Tensors have their published names, under whichever name they were saved.
    ///
    /// # Errors
    /// When a file is missing or damaged, or has a tensor under both names.
    pub fn codec_store(&self) -> Result<TensorStore> {
        let store = TensorStore::open(&self.checkpoint, &self.codec_part)?.without_prefix(MODEL_PREFIX)?;
        Ok(store.without_prefix(CODEC_PREFIX)?.stored_as(self.codec_storage))
    }

    /// Checks every tensor of both parts, before any of them is read. All that is wrong is in one error.
    ///
    /// # Errors
    /// When a file is missing or damaged, or tensors do not fit the configs.
    pub fn check_tensors(&self) -> Result<()> {
        let (lm, codec) = (self.lm_store()?, self.codec_store()?);
        let lm = lm.check(&heartmula::expected_tensors(&self.lm));
        let codec = codec.check(&heartcodec::expected_tensors(&self.codec));
        match (lm, codec) {
            (Err(ModelError::Tensors(mut lm)), Err(ModelError::Tensors(codec))) => {
                lm.problems.extend(codec.problems);
                Err(lm.into())
            }
            (lm, codec) => lm.and(codec),
        }
    }

    /// Reads the language model.
    ///
    /// # Errors
    /// When a file is missing or damaged, or tensors do not fit the config.
    pub fn load_lm(&self, device: &Device) -> Result<HeartMula> {
        HeartMula::load(&self.lm, &self.lm_store()?, device)
    }

    /// Reads the language model with fake-quantised weights.
    ///
    /// # Errors
    /// As [`Self::load_lm`].
    pub fn load_fake_quant_lm(&self, fake_quant: FakeQuant, device: &Device) -> Result<HeartMula> {
        HeartMula::load(&self.lm, &self.lm_store()?.fake_quantised(fake_quant), device)
    }

    /// Reads what drafters use of the language model, which is all of it but the layers of the backbone, onto a device
    /// of their own. Songs cannot be written with it.
    ///
    /// # Errors
    /// When a file is missing or damaged, or tensors do not fit the config.
    pub fn load_drafting_lm(&self, device: &Device) -> Result<HeartMula> {
        let mut sizes = self.lm.clone();
        sizes.backbone.num_layers = 0;
        HeartMula::load(&sizes, &self.lm_store()?, device)
    }

    /// Checks the drafter beside the language model, if there is one, without reading its numbers.
    ///
    /// # Errors
    /// As [`Self::load_drafter`].
    pub fn check_drafter(&self) -> Result<()> {
        let file = format!("{}/{DRAFTER_FILE}", self.lm_part);
        if !self.checkpoint.has(&file) {
            return Ok(());
        }
        DrafterWeights::check(&self.lm, &TensorStore::open_file(&self.checkpoint, &file)?).map(drop)
    }

    /// Reads every weight that a song needs, and keeps none.
    ///
    /// # Errors
    /// When one of them is not finite: by its tensor's name.
    pub fn check_numbers(&self) -> Result<()> {
        self.lm_store()?.check_numbers(&heartmula::expected_tensors(&self.lm))?;
        self.codec_store()?.check_numbers(&heartcodec::expected_tensors(&self.codec))
    }

    /// Reads the drafter that was trained for the language model; `None` if there is none.
    ///
    /// # Errors
    /// When its file is damaged or was made for a model of other sizes.
    pub fn load_drafter(&self, device: &Device) -> Result<Option<DrafterWeights>> {
        DrafterWeights::find(&self.checkpoint, &self.lm_part, &self.lm, device)
    }

    /// Reads the codec.
    ///
    /// # Errors
    /// When a file is missing or damaged, or tensors do not fit the config.
    pub fn load_codec(&self, device: &Device) -> Result<HeartCodec> {
        self.load_codec_on(device, device)
    }

    /// Reads the codec, flow matching onto one device and the vocoder onto another. On a GPU, too, products have
    /// f32's accuracy, and what is stored as f32 keeps it, unless [`FlowPrecision::F16`] is wanted.
    ///
    /// # Errors
    /// As [`Self::load_codec`].
    pub fn load_codec_on(&self, flow: &Device, vocoder: &Device) -> Result<HeartCodec> {
        HeartCodec::load(&self.codec, &self.codec_store_on(flow)?, flow, vocoder)
    }

    /// Reads the half of the codec that makes latents.
    ///
    /// # Errors
    /// As [`Self::load_codec`].
    pub fn load_flow(&self, device: &Device) -> Result<FlowMatching> {
        let flow = FlowMatching::load(&self.codec, &self.codec_store_on(device)?, device)?;
        // Workers read the weights in streams of their own.
        device.synchronize()?;
        Ok(flow)
    }

    /// The headers of the codec's files, its weights in the dtypes that they have on a device.
    ///
    /// # Errors
    /// As [`Self::codec_store`].
    pub fn codec_store_on(&self, flow: &Device) -> Result<TensorStore> {
        let store = self.codec_store()?.with_flow_precision(self.flow_precision);
        let wide = !flow.is_cpu() && self.codec_storage == Storage::Stored;
        Ok(if wide { store.stored_as(Storage::As(WeightDtype::F32)) } else { store })
    }

    /// The dtype of keys and values that suits the language model, its weights being stored as `store` has them
    /// ([`HeartMulaConfig::kv_dtype`]).
    pub fn kv_dtype(&self, store: &TensorStore) -> WeightDtype {
        self.lm.kv_dtype(store.matrix_type("codebook0_head.weight"))
    }

    /// Reads the tokenizer.
    ///
    /// # Errors
    /// When it is missing, damaged, or has ids that the language model has no embedding for.
    pub fn load_tokenizer(&self) -> Result<PromptTokenizer> {
        let tokenizer = PromptTokenizer::load(&self.checkpoint, TOKENIZER, self.ids, self.lm.text_vocab_size)?;
        Ok(tokenizer.knowing(self.known_tags.clone()))
    }
}

/// The tags that a checkpoint lists, or that the published models are known to take. A list that cannot be read costs
/// no song: it becomes a warning.
fn known_tags(checkpoint: &Checkpoint, vocabulary: usize, warnings: &mut Vec<String>) -> Option<KnownTags> {
    if !checkpoint.has(TAGS_FILE) {
        return KnownTags::published().filter(|_| vocabulary == PUBLISHED_VOCABULARY);
    }
    let read = checkpoint.file(TAGS_FILE).map_err(|error| error.to_string());
    let parsed = read.and_then(|bytes| {
        let shown = checkpoint.path_of(TAGS_FILE);
        KnownTags::parse(&bytes).map_err(|reason| format!("{} is ignored: {reason}", shown.display()))
    });
    parsed.map_err(|warning| warnings.push(warning)).ok()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs};

    use safetensors::{Dtype, SafeTensors, tensor::TensorView};

    use super::*;

    const WEIGHTS: &str = "HeartCodec-oss/model.safetensors";

    /// A smallest model whose codec was saved again: `rename` gives the names of each tensor, and `extra` is added.
    fn saved_again(
        rename: impl Fn(&str) -> Vec<String>,
        extra: &[(&str, Vec<usize>, Dtype)],
    ) -> (tempfile::TempDir, ModelDirectory) {
        let (folder, directory) = crate::test_checkpoints::tiny();
        let path = folder.path().join(WEIGHTS);
        let bytes = fs::read(&path).expect("a file");
        let file = SafeTensors::deserialize(&bytes).expect("tensors");
        let zeros = [0u8; 8];
        let named = file.tensors().into_iter().flat_map(|(name, view)| {
            rename(&name).into_iter().map(move |name| (name, view.clone())).collect::<Vec<_>>()
        });
        let extra = extra.iter().map(|(name, shape, dtype)| {
            let size = dtype.bitsize() / 8;
            (
                (*name).to_owned(),
                TensorView::new(*dtype, shape.clone(), &zeros[..size]).expect("a tensor of one number"),
            )
        });
        let tensors: HashMap<String, TensorView<'_>> = named.chain(extra).collect();
        let written = safetensors::serialize(tensors, None).expect("a file");
        fs::write(&path, written).expect("written");
        (folder, directory)
    }

    fn sound(directory: &ModelDirectory) -> [Vec<f32>; 2] {
        let codec = directory.load_codec(&Device::Cpu).expect("a codec");
        let latents = vec![0.25f32; 4 * codec.flow.channels()];
        codec.vocoder.decode(&latents).expect("sound")
    }

    #[test]
    fn a_codec_that_was_saved_again_is_the_published_one_whatever_else_is_in_its_file() {
        let published = sound(&crate::test_checkpoints::tiny().1);
        let initted = "decoder.flow_matching.vq_embed.layers.0._codebook.initted";
        for shape in [vec![], vec![1]] {
            for dtype in [Dtype::F32, Dtype::BOOL, Dtype::I64] {
                let encoder = ("encoder.layers.0.norm.weight", vec![1], Dtype::F32);
                let extra = [(initted, shape.clone(), dtype), encoder];
                let (_folder, directory) = saved_again(|name| vec![format!("decoder.{name}")], &extra);
                directory.check_tensors().expect("all tensors");
                assert!(sound(&directory) == published, "initted of {shape:?} as {dtype:?}");
            }
        }
        // Some tensors under one name and some under the other are a codec too.
        let mixed = |name: &str| vec![if name.contains("embed") { format!("decoder.{name}") } else { name.to_owned() }];
        let (_folder, directory) = saved_again(mixed, &[]);
        assert!(sound(&directory) == published);
    }

    #[test]
    fn a_tensor_under_both_names_is_refused_by_name() {
        let twice = "flow_matching.cond_feature_emb.bias";
        let both = |name: &str| match name == twice {
            true => vec![name.to_owned(), format!("decoder.{name}")],
            false => vec![name.to_owned()],
        };
        let (_folder, directory) = saved_again(both, &[]);
        let error = directory.check_tensors().expect_err("two tensors for one").to_string();
        for word in [WEIGHTS, &format!("`{twice}` and `decoder.{twice}`"), "Remove one"] {
            assert!(error.contains(word), "{word} is not in: {error}");
        }
    }

    #[test]
    fn the_config_of_the_reference_of_september_has_no_unknown_field() {
        let (folder, directory) = crate::test_checkpoints::tiny();
        let path = folder.path().join(CODEC_PART).join("config.json");
        let published = fs::read_to_string(&path).expect("a config");
        for encoder in ["null", "{\"dim\": 1024}"] {
            let config = published.replacen('{', &format!("{{\"encoder_config\": {encoder},"), 1);
            fs::write(&path, config).expect("written");
            let opened = ModelDirectory::open(directory.checkpoint.clone()).expect("configs");
            assert_eq!(opened.warnings, directory.warnings, "encoder_config: {encoder}");
        }
    }
}
