//! Semantic encoder: log-mel spectra, and a residual quantiser that is trained with it.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor};
use heartstream_models::{
    heartcodec::HeartCodecConfig,
    kernels::{AdaLnModulation, Linear, RmsNorm, centred_windows, layer_norm},
    weights::{Expected, TensorStore},
};

use crate::{
    error::Result,
    feed::Song,
    parameters::Parameters,
    pitches::{PITCHES, Pitches},
    rng::Rng,
    sizes::Size,
    spectral::Analyser,
};

/// Mel bands of a spectrum and a channel.
pub const BANDS: usize = 64;
/// Looks of a frame.
const SPECTRA: usize = 4;
const HOP: usize = 3840 / SPECTRA;
/// Numbers that a frame is described by: bands of both channels, then pitches.
pub const FEATURES: usize = 2 * BANDS * SPECTRA + PITCH_FEATURES;
/// Those of them that are pitches.
pub const PITCH_FEATURES: usize = PITCHES * PITCH_LOOKS;
/// Looks of a frame at the pitches: windows of 160 ms tell no more of time than that.
const PITCH_LOOKS: usize = 2;
/// How much a pitch counts beside a band. Mel bands are wider than semitones where melodies are, so codes that only
/// remember bands forget which note it was.
pub const PITCH_SCALE: f64 = 6.0;
/// What the logarithm of a mel band is divided by, so that most lie between -2 and 2.
pub const MEL_SCALE: f64 = 3.0;
const BLOCKS: usize = 6;
const EPS: f64 = 1e-6;
/// Share of its statistics that a codebook keeps at each step.
const DECAY: f64 = 0.98;
/// A row that fewer frames of a step than this chose lately becomes one of the frames.
const DEAD: f64 = 0.1;

/// Makes the encoder's input.
pub struct FrameFeatures {
    bands: Analyser,
    pitches: Pitches,
}

impl FrameFeatures {
    /// The tables.
    pub fn new(device: &Device) -> Result<Self> {
        Ok(Self { bands: Analyser::new(2 * HOP, HOP, BANDS, device)?, pitches: Pitches::new(PITCH_LOOKS, device)? })
    }

    /// Log-mel spectra of each frame, both channels, about between -2 and 2, and its pitches, between 0 and
    /// [`PITCH_SCALE`].
    ///
    /// # Shapes
    /// - result \[T, FEATURES\]
    pub fn of(&self, song: &Song, device: &Device) -> Result<Tensor> {
        let (frames, sound) = (song.frames(), both(song, device)?);
        let mel = self.log_mel(&sound)?; // [2, 4 T, bands]
        let mel = mel.reshape((2, frames, SPECTRA * BANDS))?.transpose(0, 1)?.contiguous()?;
        let mel = ((mel.reshape((frames, 2 * SPECTRA * BANDS))? + 6.0)? / MEL_SCALE)?;
        let pitches = self.pitches.of(&sound)?.reshape((frames, PITCH_LOOKS * PITCHES))?;
        Ok(Tensor::cat(&[mel, (pitches * PITCH_SCALE)?], 1)?)
    }

    /// The log-mel spectra of both channels, [`SPECTRA`] a frame.
    ///
    /// # Shapes
    /// - `sound` \[2, S\], result \[2, SPECTRA · T, BANDS\]
    fn log_mel(&self, sound: &Tensor) -> Result<Tensor> {
        let edge = Tensor::zeros((2, HOP / 2), DType::F32, sound.device())?;
        let sound = Tensor::cat(&[&edge, sound, &edge], 1)?;
        Ok(self.bands.log_mel(&self.bands.magnitudes(&sound)?)?)
    }

    /// The log-mel spectra of the mean of both channels' spectra.
    ///
    /// # Shapes
    /// - result \[SPECTRA · T, BANDS\]
    pub fn spectra(&self, song: &Song, device: &Device) -> Result<Tensor> {
        Ok(self.log_mel(&both(song, device)?)?.mean(0)?)
    }
}

/// Both channels of a song, \[2, S\].
fn both(song: &Song, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_vec([song.left.as_slice(), &song.right].concat(), (2, song.left.len()), device)?)
}

/// The tensors of an encoder of this width and of the head that only learning needs.
pub fn expected(config: &HeartCodecConfig, width: usize) -> Vec<Expected> {
    let mut tensors = Vec::new();
    let mut linear = |name: &str, outputs: usize, inputs: usize| {
        tensors.push(Expected::new(format!("semantic.{name}.weight"), &[outputs, inputs]));
        tensors.push(Expected::new(format!("semantic.{name}.bias"), &[outputs]));
    };
    linear("enter", width, FEATURES);
    for block in 0..BLOCKS {
        linear(&format!("{block}.first"), width, 3 * width);
        linear(&format!("{block}.second"), width, width);
    }
    linear("leave", config.codebook_dim, width);
    linear("recall", width, config.codebook_dim);
    linear("recalled", FEATURES, width);
    tensors.extend((0..BLOCKS).map(|block| Expected::new(format!("semantic.{block}.norm.scale"), &[width])));
    tensors
}

/// The encoder.
pub struct Semantic {
    enter: Linear,
    blocks: Vec<(RmsNorm, Linear, Linear)>,
    leave: Linear,
    recall: [Linear; 2],
}

impl Semantic {
    /// Reads the weights, as wide as they are.
    pub fn load(size: Size, store: &TensorStore, device: &Device) -> Result<Self> {
        let wide = store.shape("semantic.enter.weight").and_then(|shape| shape.first().copied());
        let (config, width) = (size.codec(), wide.unwrap_or(size.semantic_width()));
        let linear =
            |name: &str, shape: [usize; 2]| Linear::load(store, &format!("semantic.{name}"), shape, true, device);
        let block = |block: usize| {
            Ok((
                RmsNorm::load(store, &format!("semantic.{block}.norm.scale"), width, EPS, device)?,
                linear(&format!("{block}.first"), [width, 3 * width])?,
                linear(&format!("{block}.second"), [width, width])?,
            ))
        };
        Ok(Self {
            enter: linear("enter", [width, FEATURES])?,
            blocks: (0..BLOCKS).map(block).collect::<Result<_>>()?,
            leave: linear("leave", [config.codebook_dim, width])?,
            recall: [linear("recall", [width, config.codebook_dim])?, linear("recalled", [FEATURES, width])?],
        })
    }

    /// What is quantised.
    ///
    /// # Shapes
    /// - `features` \[B, T, FEATURES\], result \[B, T, codebook_dim\]
    pub fn forward(&self, features: &Tensor) -> Result<Tensor> {
        let mut xs = self.enter.forward(features)?;
        for (norm, first, second) in &self.blocks {
            let ys = first.forward(&centred_windows(&norm.forward(&xs)?, 3)?)?.silu()?;
            xs = (&xs + second.forward(&ys)?)?;
        }
        let leave = self.leave.forward(&xs)?;
        let table = Tensor::zeros((leave.dim(0)?, 1, leave.dim(2)?), DType::F32, leave.device())?;
        Ok(layer_norm(&leave, EPS, AdaLnModulation { table: &table, shift: 0, scale: 0 })?)
    }

    /// The features as quantised rows remember them: what teaches the codes.
    pub fn recall(&self, rows: &Tensor) -> Result<Tensor> {
        Ok(self.recall[1].forward(&self.recall[0].forward(rows)?.silu()?)?)
    }
}

/// The name of a codebook's tensor \[1, rows, width\].
pub fn codebook(quantizer: usize) -> String {
    format!("flow_matching.vq_embed.layers.{quantizer}._codebook.embed")
}

/// What quantising gives.
pub struct Quantised {
    /// The sum of the rows, \[N, width\].
    pub sum: Tensor,
    /// The number of the row for each codebook, \[K, N\].
    pub codes: Tensor,
    /// What each codebook was asked for, \[N, width\] each.
    residuals: Vec<Tensor>,
}

/// Quantises rows: each codebook takes the row that is nearest to what the ones before left over. The sum is of the
/// first `levels`.
///
/// # Shapes
/// - `rows` \[N, width\]
pub fn quantise(codebooks: &[Tensor], rows: &Tensor, levels: usize) -> Result<Quantised> {
    let mut rest = rows.detach();
    let mut sum = rest.zeros_like()?;
    let (mut codes, mut residuals) = (Vec::new(), Vec::new());
    for (level, codebook) in codebooks.iter().enumerate() {
        residuals.push(rest.clone());
        let products = rest.matmul(&codebook.t()?)?;
        let far = (products * -2.0)?.broadcast_add(&codebook.sqr()?.sum(1)?.unsqueeze(0)?)?;
        let nearest = far.argmin(D::Minus1)?;
        let row = codebook.index_select(&nearest, 0)?;
        rest = (rest - &row)?;
        if level < levels {
            sum = (sum + row)?;
        }
        codes.push(nearest);
    }
    Ok(Quantised { sum, codes: Tensor::stack(&codes, 0)?, residuals })
}

/// The codebooks among fixed tensors, \[rows, width\] each.
pub fn codebooks(config: &HeartCodecConfig, fixed: &HashMap<String, Tensor>) -> Result<Vec<Tensor>> {
    let one = |quantizer| {
        let found = fixed.get(&codebook(quantizer));
        let found = found.ok_or_else(|| crate::error::TrainError::Order(format!("no {}", codebook(quantizer))))?;
        Ok(found.to_dtype(DType::F32)?.squeeze(0)?)
    };
    (0..config.num_quantizers).map(one).collect()
}

/// Gives the parameters empty codebooks.
pub fn add_codebooks(config: &HeartCodecConfig, parameters: &mut Parameters, device: &Device) -> Result<()> {
    let (rows, width) = (config.codebook_size, config.codebook_dim);
    for quantizer in 0..config.num_quantizers {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, device);
        parameters.fixed.insert(codebook(quantizer), zeros(&[1, rows, width])?);
        parameters.fixed.insert(format!("statistics.{quantizer}.count"), zeros(&[rows, 1])?);
        parameters.fixed.insert(format!("statistics.{quantizer}.sum"), zeros(&[rows, width])?);
    }
    Ok(())
}

/// Moves each codebook's rows towards the mean of the frames that chose them, and dead rows onto frames.
pub fn learn_codebooks(
    config: &HeartCodecConfig,
    parameters: &mut Parameters,
    quantised: &Quantised,
    rng: &mut Rng,
) -> Result<()> {
    let rows = config.codebook_size;
    for (quantizer, residual) in quantised.residuals.iter().enumerate() {
        let (asked, _) = residual.dims2()?;
        let device = residual.device();
        let numbers = Tensor::arange(0u32, rows as u32, device)?.unsqueeze(1)?;
        let chosen = numbers.broadcast_eq(&quantised.codes.get(quantizer)?.unsqueeze(0)?)?.to_dtype(DType::F32)?;
        let names = ["count", "sum"].map(|name| format!("statistics.{quantizer}.{name}"));
        let old = names.clone().map(|name| parameters.fixed[&name].clone());
        let count = ((&old[0] * DECAY)? + (chosen.sum_keepdim(1)? * (1.0 - DECAY))?)?;
        let sum = ((&old[1] * DECAY)? + (chosen.matmul(residual)? * (1.0 - DECAY))?)?;
        let some: Vec<u32> = (0..rows).map(|_| rng.below(asked) as u32).collect();
        let frames = residual.index_select(&Tensor::new(some, device)?, 0)?;
        let dead = count.lt(DEAD)?;
        let count = dead.where_cond(&count.ones_like()?, &count)?;
        let sum = dead.broadcast_as(sum.shape())?.where_cond(&frames, &sum)?;
        let row = sum.broadcast_div(&count)?;
        let [count_name, sum_name] = names;
        parameters.fixed.insert(count_name, count.detach());
        parameters.fixed.insert(sum_name, sum.detach());
        parameters.fixed.insert(codebook(quantizer), row.unsqueeze(0)?.detach());
    }
    Ok(())
}
