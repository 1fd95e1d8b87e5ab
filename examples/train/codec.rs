//! Stage (b): which codes does music need, and how do latents become of them? Semantic encoder, quantiser and flow
//! matching learn together, on latents of the finished autoencoder.

use candle_core::{DType, Tensor};
use heartstream_models::{
    heartcodec::{Estimator, HeartCodecConfig, LATENTS_PER_FRAME, expected_tensors},
    kernels::Linear,
    weights::Shards,
};

use crate::{
    autoencoder,
    chance::{Dice, normal},
    encoder::Encoder,
    error::Result,
    feed::{Pool, Song, Songs},
    parameters::{Parameters, read_weights},
    semantic::{self, FrameFeatures, Semantic, add_codebooks, codebooks, learn_codebooks, quantise},
    stage::{Setting, Stage, first_song},
};

/// Frames of a window, and how often one of that length is learnt from: the engine's, and shorter ones.
const WINDOWS: [(usize, usize); 3] = [(372, 2), (186, 1), (93, 1)];
/// Frames of a step.
const BATCH_FRAMES: usize = 16 * 372;
const FIRST: usize = 192;
const FRESH: f64 = 0.34;
/// Share of the windows without a condition, so that guidance works.
const UNCONDITIONAL: f64 = 0.1;
/// Share of the windows that begin with known latents.
const CONTINUED: f64 = 0.5;
/// Noise that is left at the end of the way, as in the solver.
const NOISE_FLOOR: f64 = 1e-6;
/// Share of the steps in which only some of the codebooks are heard, so that the first ones say most.
const FEWER_CODEBOOKS: f64 = 0.25;
const COMMITMENT: f64 = 0.25;
const MEASURED: usize = 16;

/// A song as this stage learns from it.
pub struct Prepared {
    /// \[L, channels\]
    latents: Tensor,
    /// \[T, features\]
    features: Tensor,
}

/// The stage.
pub struct Codec<'a> {
    setting: &'a Setting,
    config: HeartCodecConfig,
    parameters: Parameters,
    encoder: Encoder,
    frame_features: FrameFeatures,
    songs: Songs,
    pool: Pool<Prepared>,
}

/// Windows of songs.
struct Batch {
    latents: Tensor,
    features: Tensor,
}

impl<'a> Codec<'a> {
    /// With first weights, on the finished autoencoder.
    pub fn new(setting: &'a Setting) -> Result<Self> {
        let config = setting.size.codec();
        let mut tensors = expected_tensors(&config);
        tensors.retain(|tensor| !tensor.name.starts_with("scalar_model") && !tensor.name.contains("_codebook"));
        tensors.extend(semantic::expected(setting.size));
        let mut parameters = Parameters::new(&tensors, setting.seed, &setting.device)?;
        add_codebooks(&config, &mut parameters, &setting.device)?;
        let (_, encoder) = autoencoder::finished(setting)?;
        let first = first_song(setting, Self::NAME)?;
        Ok(Self {
            parameters,
            encoder,
            frame_features: FrameFeatures::new(&setting.device)?,
            songs: setting.source.songs(false, first, setting.seed ^ 0xB, setting.threads),
            pool: Pool::new(setting.pool, FRESH),
            config,
            setting,
        })
    }

    fn prepared(encoder: &Encoder, features: &FrameFeatures, song: &Song, setting: &Setting) -> Result<Prepared> {
        let length = song.left.len();
        let sound = Tensor::from_vec([song.left.as_slice(), &song.right].concat(), (2, length), &setting.device)?;
        let latents = encoder.forward(&sound)?.transpose(0, 1)?.contiguous()?.flatten_from(1)?;
        Ok(Prepared { latents: latents.detach(), features: features.of(song, &setting.device)? })
    }

    /// Frames `start`, `start + 1`, … of a song, which begins anew behind its end as short songs do in the engine.
    fn window(song: &Prepared, start: usize, frames: usize) -> Result<(Tensor, Tensor)> {
        let (whole, _) = song.features.dims2()?;
        let places = (0..frames).map(|frame| ((start + frame) % whole) as u32);
        let latents = places.clone().flat_map(|frame| {
            let rows = frame * LATENTS_PER_FRAME as u32..(frame + 1) * LATENTS_PER_FRAME as u32;
            rows.collect::<Vec<_>>()
        });
        let device = song.features.device();
        let select = |tensor: &Tensor, rows: Vec<u32>| tensor.index_select(&Tensor::new(rows, device)?, 0);
        Ok((select(&song.latents, latents.collect())?, select(&song.features, places.collect())?))
    }

    /// The loss of flow matching and its parts.
    fn batch_loss(&mut self, batch: &Batch, dice: &mut Dice, learning: bool) -> Result<(Tensor, Vec<Tensor>)> {
        let device = &self.setting.device;
        let shards = if learning { self.parameters.shards() } else { self.parameters.frozen_shards() };
        let semantic = Semantic::load(self.setting.size, &shards, device)?;
        let estimator = Estimator::load(&self.config, &shards, device)?;
        let (size, frames, _) = batch.features.dims3()?;
        let (length, channels, dim) = (frames * LATENTS_PER_FRAME, self.config.out_channels, self.config.dim);

        let encoded = semantic.forward(&batch.features)?;
        let rows = encoded.reshape((size * frames, self.config.codebook_dim))?;
        let all = self.config.num_quantizers;
        let levels = if learning && dice.unit() < FEWER_CODEBOOKS { 1 + dice.below(all) } else { all };
        let quantised = quantise(&codebooks(&self.config, &self.parameters.fixed)?, &rows, levels)?;
        let commitment = (&rows - &quantised.sum)?.sqr()?.mean_all()?;
        // The gradient passes the quantiser as if it were not there.
        let heard = (&rows + (&quantised.sum - rows.detach())?)?;
        if learning {
            learn_codebooks(&self.config, &mut self.parameters, &quantised, dice)?;
        }
        let condition = condition(&self.config, &shards, &heard, device)?.reshape((size, frames, dim))?;
        let recalled = (semantic.recall(&condition)? - &batch.features)?.abs()?.mean_all()?;

        let mut known = vec![0f32; size * length];
        let (mut times, mut conditional) = (Vec::new(), Vec::new());
        for place in 0..size {
            times.push(((place as f64 + dice.unit()) / size as f64) as f32);
            conditional.push(if dice.unit() < UNCONDITIONAL { 0f32 } else { 1.0 });
            if dice.unit() < CONTINUED {
                let span = LATENTS_PER_FRAME * dice.below(frames / 2);
                known[place * length..][..span].fill(1.0);
            }
        }
        let known = Tensor::from_vec(known, (size, length, 1), device)?;
        let conditional = Tensor::from_vec(conditional, (size, 1, 1), device)?;
        let condition = condition.broadcast_mul(&conditional)?;
        let condition = condition.unsqueeze(2)?.broadcast_as((size, frames, LATENTS_PER_FRAME, dim))?;
        let condition = condition.contiguous()?.reshape((size, length, dim))?;
        let noise = normal(dice, &[size, length, channels], device)?;
        let time = Tensor::from_slice(&times, (size, 1, 1), device)?;
        let way = (&batch.latents - (&noise * (1.0 - NOISE_FLOOR))?)?;
        let state = (&noise + way.broadcast_mul(&time)?)?;
        let context = batch.latents.broadcast_mul(&known)?;
        let input = Tensor::cat(&[&state, &context, &condition], 2)?.contiguous()?;
        let velocity = estimator.forward(&input, &times)?;
        let open = (1.0 - &known)?;
        let error = (velocity - way)?.sqr()?.broadcast_mul(&open)?.sum_all()?;
        let flow = (error / (open.sum_all()? * channels as f64)?)?;
        let loss = ((&flow + &recalled)? + (&commitment * COMMITMENT)?)?;
        Ok((loss, vec![flow.detach(), recalled.detach(), commitment.detach()]))
    }
}

/// What flow matching is conditioned on, from rows of the quantiser's sum.
fn condition(
    config: &HeartCodecConfig,
    shards: &Shards,
    rows: &Tensor,
    device: &candle_core::Device,
) -> Result<Tensor> {
    let linear =
        |name: &str, inputs| Linear::load(shards, &format!("flow_matching.{name}"), [config.dim, inputs], true, device);
    let projected = linear("vq_embed.project_out", config.codebook_dim)?.forward(rows)?;
    Ok(linear("cond_feature_emb", config.dim)?.forward(&projected)?)
}

impl Stage for Codec<'_> {
    const NAME: &'static str = "codec";
    const RATE: f64 = 8e-4;
    const PARTS: &'static [&'static str] = &["flow", "recall", "commitment"];

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let (songs, encoder, features, setting) = (&mut self.songs, &self.encoder, &self.frame_features, self.setting);
        self.pool.refill(FIRST, || {
            let song = songs.next().unwrap_or_else(|| unreachable!("songs do not end"))?;
            Self::prepared(encoder, features, &song, setting)
        })?;
        let mut dice = Dice::new(&[setting.seed, 2, step as u64]);
        let total: usize = WINDOWS.iter().map(|(_, weight)| weight).sum();
        let mut place = dice.below(total);
        let mut frames = WINDOWS[0].0;
        for (window, weight) in WINDOWS {
            frames = window;
            if place < weight {
                break;
            }
            place -= weight;
        }
        let size = setting.batch.unwrap_or(BATCH_FRAMES / frames);
        let (mut latents, mut features) = (Vec::new(), Vec::new());
        for _ in 0..size {
            let song = self.pool.pick(&mut dice);
            let (whole, _) = song.features.dims2()?;
            // Songs are no longer than the longest window, so half of them are seen from their beginning.
            let start = if dice.below(2) == 0 { 0 } else { dice.below(whole) };
            let (latent, feature) = Self::window(song, start, frames)?;
            latents.push(latent);
            features.push(feature);
        }
        let batch = Batch { latents: Tensor::stack(&latents, 0)?, features: Tensor::stack(&features, 0)? };
        self.batch_loss(&batch, &mut dice, true)
    }

    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let songs = self.setting.source.songs(true, 0, self.setting.seed, self.setting.threads);
        let mut dice = Dice::new(&[self.setting.seed, 3]);
        let (mut flow, mut recall) = (0.0, 0.0);
        let measured = self.setting.measured.unwrap_or(MEASURED);
        for song in songs.take(measured) {
            let song = Self::prepared(&self.encoder, &self.frame_features, &song?, self.setting)?;
            let (latents, features) = Self::window(&song, 0, song.features.dims2()?.0)?;
            let batch = Batch { latents: latents.unsqueeze(0)?, features: features.unsqueeze(0)? };
            let (_, parts) = self.batch_loss(&batch, &mut dice, false)?;
            flow += f64::from(parts[0].to_scalar::<f32>()?);
            recall += f64::from(parts[1].to_scalar::<f32>()?);
        }
        Ok(vec![("flow", flow / measured as f64), ("recall", recall / measured as f64)])
    }

    fn taken(&self) -> usize {
        self.pool.taken
    }
}

/// Writes songs as codes with the finished stage.
pub struct Coder {
    semantic: Semantic,
    codebooks: Vec<Tensor>,
    features: FrameFeatures,
    device: candle_core::Device,
}

impl Coder {
    /// Reads the finished weights.
    pub fn open(setting: &Setting) -> Result<Self> {
        let weights = read_weights(&setting.weights_of(Codec::NAME)?, &setting.device)?;
        let codebooks = codebooks(&setting.size.codec(), &weights)?;
        Ok(Self {
            semantic: Semantic::load(setting.size, &Shards::from_tensors(weights), &setting.device)?,
            codebooks,
            features: FrameFeatures::new(&setting.device)?,
            device: setting.device.clone(),
        })
    }

    /// The codes of a song, frame after frame.
    pub fn codes(&self, song: &Song) -> Result<Vec<u16>> {
        let encoded = self.semantic.forward(&self.features.of(song, &self.device)?.unsqueeze(0)?)?.squeeze(0)?;
        let codes = quantise(&self.codebooks, &encoded, self.codebooks.len())?.codes.t()?;
        let codes = codes.to_dtype(DType::U32)?.flatten_all()?.to_vec1::<u32>()?;
        Ok(codes.into_iter().map(|code| code as u16).collect())
    }
}
