//! Stage (b), second half, codec: flow matching is trained from the embeddings of the finished codes to the latents of
//! the finished autoencoder.

use candle_core::Tensor;
use heartstream_models::{
    heartcodec::{Estimator, HeartCodecConfig, LATENTS_PER_FRAME, expected_tensors},
    kernels::Linear,
    weights::TensorStore,
};

use crate::{
    autoencoder,
    codes::Coder,
    corpus::Manner,
    encoder::Encoder,
    error::Result,
    feed::{Pool, Song, Songs, some},
    parameters::Parameters,
    rng::{Rng, normal},
    setting::Setting,
    spectral::mean,
    stage::{Stage, first_song},
    steady::CodePath,
};

/// Frames of a window, and how often one of that length is learnt from: the engine's, and shorter ones.
const WINDOWS: [(usize, usize); 3] = [(372, 2), (186, 1), (93, 1)];
/// Frames of a step.
const BATCH_FRAMES: usize = 16 * 372;
const FIRST: usize = 192;
const FRESH: f64 = 1.0;
/// Share of the windows without a condition, so that guidance works.
const UNCONDITIONAL: f64 = 0.1;
/// Share of the windows that begin with known latents.
const CONTINUED: f64 = 0.5;
/// Noise that is left at the end of the way, as in the solver.
const NOISE_FLOOR: f64 = 1e-6;
const MEASURED: usize = 16;

/// A song as this stage learns from it.
pub struct Prepared {
    /// \[L, channels\]
    latents: Tensor,
    /// \[T, width of a codebook\]
    rows: Tensor,
}

/// The stage.
pub struct Codec<'a> {
    setting: &'a Setting,
    config: HeartCodecConfig,
    parameters: Parameters,
    encoder: Encoder,
    coder: Coder,
    songs: Songs,
    pool: Pool<Prepared>,
}

/// Windows of songs.
struct Batch {
    latents: Tensor,
    rows: Tensor,
}

impl<'a> Codec<'a> {
    /// With first weights, on the finished autoencoder.
    pub fn new(setting: &'a Setting) -> Result<Self> {
        let config = setting.size.codec();
        let mut tensors = expected_tensors(&config);
        tensors.retain(|tensor| !tensor.name.starts_with("scalar_model") && !tensor.name.contains("_codebook"));
        let parameters = Parameters::new(&tensors, setting.seed, &setting.device)?;
        let (_, encoder) = autoencoder::finished(setting)?;
        let first = first_song(setting, Self::NAME)?;
        Ok(Self {
            parameters,
            encoder,
            coder: Coder::open(setting)?,
            songs: setting.source.songs(false, Manner::Excerpt, first, setting.seed ^ 0xB, setting.threads),
            pool: Pool::new(setting.pool, FRESH),
            config,
            setting,
        })
    }

    fn prepared(encoder: &Encoder, coder: &Coder, songs: &[Song], setting: &Setting) -> Result<Vec<Prepared>> {
        let one = |(song, path): (&Song, CodePath)| {
            let length = song.left.len();
            let sound = Tensor::from_vec([song.left.as_slice(), &song.right].concat(), (2, length), &setting.device)?;
            let latents = encoder.forward(&sound)?.transpose(0, 1)?.contiguous()?.flatten_from(1)?;
            Ok(Prepared { latents: latents.detach(), rows: coder.rows(path)? })
        };
        songs.iter().zip(coder.paths(songs)?).map(one).collect()
    }

    /// Frames `start`, `start + 1`, … of a song, which begins anew behind its end as short songs do in the engine.
    fn window(song: &Prepared, start: usize, frames: usize) -> Result<(Tensor, Tensor)> {
        let (whole, _) = song.rows.dims2()?;
        let places = (0..frames).map(|frame| ((start + frame) % whole) as u32);
        let latents = places.clone().flat_map(|frame| {
            let rows = frame * LATENTS_PER_FRAME as u32..(frame + 1) * LATENTS_PER_FRAME as u32;
            rows.collect::<Vec<_>>()
        });
        let device = song.rows.device();
        let select = |tensor: &Tensor, rows: Vec<u32>| tensor.index_select(&Tensor::new(rows, device)?, 0);
        Ok((select(&song.latents, latents.collect())?, select(&song.rows, places.collect())?))
    }

    /// The loss of flow matching.
    fn batch_loss(&self, batch: &Batch, rng: &mut Rng, learning: bool) -> Result<Tensor> {
        let device = &self.setting.device;
        let store = if learning { self.parameters.store() } else { self.parameters.frozen_shards() };
        let estimator = Estimator::load(&self.config, &store, device)?;
        let (size, frames, width) = batch.rows.dims3()?;
        let (length, channels, dim) = (frames * LATENTS_PER_FRAME, self.config.out_channels, self.config.dim);
        let heard = batch.rows.reshape((size * frames, width))?;
        let condition = condition(&self.config, &store, &heard, device)?.reshape((size, frames, dim))?;

        let mut known = vec![0f32; size * length];
        let (mut times, mut conditional) = (Vec::new(), Vec::new());
        for place in 0..size {
            times.push(((place as f64 + rng.unit()) / size as f64) as f32);
            conditional.push(if rng.unit() < UNCONDITIONAL { 0f32 } else { 1.0 });
            if rng.unit() < CONTINUED {
                let span = LATENTS_PER_FRAME * rng.below(frames / 2);
                known[place * length..][..span].fill(1.0);
            }
        }
        let known = Tensor::from_vec(known, (size, length, 1), device)?;
        let conditional = Tensor::from_vec(conditional, (size, 1, 1), device)?;
        let condition = condition.broadcast_mul(&conditional)?;
        let condition = condition.unsqueeze(2)?.broadcast_as((size, frames, LATENTS_PER_FRAME, dim))?;
        let condition = condition.contiguous()?.reshape((size, length, dim))?;
        let noise = normal(rng, &[size, length, channels], device)?;
        let time = Tensor::from_slice(&times, (size, 1, 1), device)?;
        let way = (&batch.latents - (&noise * (1.0 - NOISE_FLOOR))?)?;
        let state = (&noise + way.broadcast_mul(&time)?)?;
        let context = batch.latents.broadcast_mul(&known)?;
        let input = Tensor::cat(&[&state, &context, &condition], 2)?.contiguous()?;
        let velocity = estimator.forward(&input, &times)?;
        let open = (1.0 - &known)?;
        let error = mean(&(velocity - way)?.sqr()?.broadcast_mul(&open)?)?;
        Ok((error / mean(&open.squeeze(2)?)?)?)
    }
}

/// What flow matching is conditioned on, from rows of the quantiser's sum.
fn condition(
    config: &HeartCodecConfig,
    store: &TensorStore,
    rows: &Tensor,
    device: &candle_core::Device,
) -> Result<Tensor> {
    let linear =
        |name: &str, inputs| Linear::load(store, &format!("flow_matching.{name}"), [config.dim, inputs], true, device);
    let projected = linear("vq_embed.project_out", config.codebook_dim)?.forward(rows)?;
    Ok(linear("cond_feature_emb", config.dim)?.forward(&projected)?)
}

impl Stage for Codec<'_> {
    const NAME: &'static str = "codec";
    const RATE: f64 = 8e-4;
    const PARTS: &'static [&'static str] = &["flow"];

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let (songs, encoder, coder, setting) = (&mut self.songs, &self.encoder, &self.coder, self.setting);
        self.pool.refill(FIRST, |count| Self::prepared(encoder, coder, &some(songs, count)?, setting))?;
        let mut rng = Rng::new(&[setting.seed, 2, step as u64]);
        let total: usize = WINDOWS.iter().map(|(_, weight)| weight).sum();
        let mut place = rng.below(total);
        let mut frames = WINDOWS[0].0;
        for (window, weight) in WINDOWS {
            frames = window;
            if place < weight {
                break;
            }
            place -= weight;
        }
        let size = setting.batch.unwrap_or(BATCH_FRAMES / frames);
        let (mut latents, mut rows) = (Vec::new(), Vec::new());
        for _ in 0..size {
            let song = self.pool.pick(&mut rng);
            let (whole, _) = song.rows.dims2()?;
            // Songs are no longer than the longest window, so half of them are seen from their beginning.
            let start = if rng.below(2) == 0 { 0 } else { rng.below(whole) };
            let (latent, row) = Self::window(song, start, frames)?;
            latents.push(latent);
            rows.push(row);
        }
        let batch = Batch { latents: Tensor::stack(&latents, 0)?, rows: Tensor::stack(&rows, 0)? };
        let flow = self.batch_loss(&batch, &mut rng, true)?;
        Ok((flow.clone(), vec![flow.detach()]))
    }

    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let songs = self.setting.source.songs(true, Manner::Excerpt, 0, self.setting.seed, self.setting.threads);
        let mut rng = Rng::new(&[self.setting.seed, 3]);
        let mut flow = 0.0;
        let measured = self.setting.measured.unwrap_or(MEASURED);
        for song in songs.take(measured) {
            let song = &Self::prepared(&self.encoder, &self.coder, &[song?], self.setting)?[0];
            let (latents, rows) = Self::window(song, 0, song.rows.dims2()?.0)?;
            let batch = Batch { latents: latents.unsqueeze(0)?, rows: rows.unsqueeze(0)? };
            flow += f64::from(self.batch_loss(&batch, &mut rng, false)?.to_scalar::<f32>()?);
        }
        Ok(vec![("flow", flow / measured as f64)])
    }

    fn taken(&self) -> usize {
        self.pool.taken
    }
}
