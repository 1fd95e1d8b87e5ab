//! Configuration of a HeartMuLa language model: the fields of `config.json` and `gen_config.json`.

use crate::{
    error::Result,
    song_defaults::SongDefaults,
    weights::{Checkpoint, Json},
};

/// Scaling of the rotary frequencies, Llama 3.1's: `torchtune.models.llama3_1` has these as fixed defaults.
pub const ROPE_LOW_FREQUENCY_FACTOR: f64 = 1.0;
/// See [`ROPE_LOW_FREQUENCY_FACTOR`].
pub const ROPE_HIGH_FREQUENCY_FACTOR: f64 = 4.0;
/// Positions of the context that Llama 3 was first trained on; the same source.
pub const ROPE_OLD_CONTEXT: f64 = 8192.0;

/// Sizes of one Llama-style transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerConfig {
    /// The name in the config: `llama-3B`, or another with explicit dimensions.
    pub flavor: String,
    /// Layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; each serves `num_heads / num_kv_heads` query heads.
    pub num_kv_heads: usize,
    /// Width D of the residual stream.
    pub embed_dim: usize,
    /// Positions the model was trained for.
    pub max_seq_len: usize,
    /// Width of the hidden layer of the feed-forward part.
    pub intermediate_dim: usize,
    /// Added to the mean square before its root is taken.
    pub norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
    /// What the low rotary frequencies are divided by.
    pub rope_scale_factor: f64,
}

impl TransformerConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.embed_dim / self.num_heads
    }
}

/// A published flavour: layers, heads, key heads, width, positions, hidden width
/// (`FLAVORS` in the reference's `modeling_heartmula.py`).
struct Flavor(&'static str, [usize; 6]);

const FLAVORS: [Flavor; 4] = [
    Flavor("llama-3B", [28, 24, 8, 3072, 8192, 8192]),
    Flavor("llama-7B", [32, 32, 8, 4096, 8192, 14336]),
    Flavor("llama-300M", [3, 8, 4, 3072, 2048, 8192]),
    Flavor("llama-400M", [4, 8, 4, 3072, 2048, 8192]),
];

impl Flavor {
    fn config(&self) -> TransformerConfig {
        let [num_layers, num_heads, num_kv_heads, embed_dim, max_seq_len, intermediate_dim] = self.1;
        TransformerConfig {
            flavor: self.0.to_owned(),
            num_layers,
            num_heads,
            num_kv_heads,
            embed_dim,
            max_seq_len,
            intermediate_dim,
            norm_eps: NORM_EPS,
            rope_base: ROPE_BASE,
            rope_scale_factor: ROPE_SCALE,
        }
    }
}

const NORM_EPS: f64 = 1e-5; // the same source, for all four
const ROPE_BASE: f64 = 500_000.0;
const ROPE_SCALE: f64 = 32.0;

/// Sizes of a whole HeartMuLa language model.
#[derive(Debug, Clone, PartialEq)]
pub struct HeartMulaConfig {
    /// The transformer over frames.
    pub backbone: TransformerConfig,
    /// The transformer over the codes of a frame.
    pub decoder: TransformerConfig,
    /// Rows of the text embedding.
    pub text_vocab_size: usize,
    /// Codes of one codebook, special ones included.
    pub audio_vocab_size: usize,
    /// Codes of a frame, K.
    pub audio_num_codebooks: usize,
    /// Width of the embedding of a reference recording.
    pub muq_dim: usize,
}

// Bounds that no real model comes near: they keep products of sizes inside 64 bits.
const WIDTHS: std::ops::RangeInclusive<usize> = 1..=1 << 20;
const LAYERS: std::ops::RangeInclusive<usize> = 1..=1024;
const POSITIONS: std::ops::RangeInclusive<usize> = 1..=1 << 24;

impl HeartMulaConfig {
    /// The sizes of the published 3 B model.
    pub fn published() -> Self {
        Self {
            backbone: FLAVORS[0].config(),
            decoder: FLAVORS[2].config(),
            text_vocab_size: 128_256,
            audio_vocab_size: 8197,
            audio_num_codebooks: 8,
            muq_dim: 512,
        }
    }

    /// Reads `file` of a checkpoint; also returns a sentence for each field it does not know.
    ///
    /// # Errors
    /// When the file is missing, is no JSON object, or describes a model that cannot be.
    pub fn read(checkpoint: &Checkpoint, file: &str) -> Result<(Self, Vec<String>)> {
        let mut json = Json::read(checkpoint, file)?;
        json.ignore(&["architectures", "model_type", "torch_dtype", "dtype", "transformers_version", "_name_or_path"]);
        let mut warnings = Vec::new();
        let backbone = transformer(&mut json, "backbone", "llama-3B", &mut warnings)?;
        let decoder = transformer(&mut json, "decoder", "llama-300M", &mut warnings)?;
        let config = Self {
            backbone,
            decoder,
            text_vocab_size: json.whole("text_vocab_size", 128_256, WIDTHS)?,
            // A code is 16 bits wide everywhere in the engine.
            audio_vocab_size: json.whole("audio_vocab_size", 8197, 2..=1 << 16)?,
            audio_num_codebooks: json.whole("audio_num_codebooks", 8, 2..=64)?,
            muq_dim: json.whole("muq_dim", 512, WIDTHS)?,
        };
        let positions = config.decoder.max_seq_len;
        if positions < config.audio_num_codebooks {
            let expected = format!("at least `audio_num_codebooks` ({})", config.audio_num_codebooks);
            return Err(json.wrong("decoder.max_seq_len", expected, positions));
        }
        warnings.extend(json.finish());
        Ok((config, warnings))
    }
}

/// Reads the sizes of one transformer: by the name of its flavour, or, with an object of its name beside, one by one.
fn transformer(json: &mut Json, part: &str, default: &str, warnings: &mut Vec<String>) -> Result<TransformerConfig> {
    let field = format!("{part}_flavor");
    let flavor = json.text(&field, default)?;
    let known = FLAVORS.iter().find(|known| known.0 == flavor);
    let Some(mut sizes) = json.object(part)? else {
        let Some(known) = known else {
            let names = FLAVORS.map(|known| known.0).join(", ");
            return Err(json.wrong(
                &field,
                format!("one of {names}, or come with an object `{part}` of sizes"),
                format!("\"{flavor}\""),
            ));
        };
        return Ok(known.config());
    };
    let size = known.map_or([0; 6], |known| known.1); // 0 is outside every range, so a size without default must be there
    let mut whole = |name: &str, default: usize, range: std::ops::RangeInclusive<usize>| match sizes.whole(
        name,
        default,
        range.clone(),
    )? {
        0 => Err(sizes.wrong(name, format!("a whole number from {} to {}", range.start(), range.end()), "missing")),
        size => Ok(size),
    };
    let config = TransformerConfig {
        flavor,
        num_layers: whole("num_layers", size[0], LAYERS)?,
        num_heads: whole("num_heads", size[1], WIDTHS)?,
        num_kv_heads: whole("num_kv_heads", size[2], WIDTHS)?,
        embed_dim: whole("embed_dim", size[3], WIDTHS)?,
        max_seq_len: whole("max_seq_len", size[4], POSITIONS)?,
        intermediate_dim: whole("intermediate_dim", size[5], WIDTHS)?,
        norm_eps: sizes.positive("norm_eps", NORM_EPS)?,
        rope_base: sizes.positive("rope_base", ROPE_BASE)?,
        rope_scale_factor: sizes.positive("rope_scale_factor", ROPE_SCALE)?,
    };
    let TransformerConfig { num_heads, num_kv_heads, embed_dim, .. } = config;
    if !num_heads.is_multiple_of(num_kv_heads) {
        return Err(sizes.wrong("num_heads", format!("a multiple of `num_kv_heads` ({num_kv_heads})"), num_heads));
    }
    if !embed_dim.is_multiple_of(2 * num_heads) {
        return Err(sizes.wrong("embed_dim", format!("a multiple of twice `num_heads` ({num_heads})"), embed_dim));
    }
    warnings.extend(sizes.finish());
    Ok(config)
}

/// Which ids begin and end things: `gen_config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpecialIds {
    /// First id of the tags and of the lyrics.
    pub text_bos: u32,
    /// Last id of the tags and of the lyrics.
    pub text_eos: u32,
    /// Codes from here on end the song.
    pub audio_eos: u32,
}

impl SpecialIds {
    /// Reads `gen_config.json`; also returns a sentence for each field it does not know.
    ///
    /// # Errors
    /// When the file is missing, is no JSON object, or its ids are outside the model's vocabularies.
    pub fn read(checkpoint: &Checkpoint, model: &HeartMulaConfig) -> Result<(Self, Vec<String>)> {
        let mut json = Json::read(checkpoint, "gen_config.json")?;
        json.ignore(&["empty_id"]); // stands in a column that is always masked
        json.ignore(&SongDefaults::FIELDS);
        let text = 0..=model.text_vocab_size - 1;
        // Defaults: HeartMuLaGenConfig in the reference's music_generation.py.
        let mut id = |name: &str, default: usize, range| {
            let id = json.whole(name, default, std::ops::RangeInclusive::clone(&range))?;
            if range.contains(&id) {
                Ok(id as u32)
            } else {
                Err(json.wrong(name, format!("given, up to {}", range.end()), "missing"))
            }
        };
        let ids = Self {
            text_bos: id("text_bos_id", 128_000, text.clone())?,
            text_eos: id("text_eos_id", 128_001, text)?,
            audio_eos: id("audio_eos_id", 8193, 1..=model.audio_vocab_size)?,
        };
        Ok((ids, json.finish()))
    }
}
