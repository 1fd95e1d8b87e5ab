//! Stage (a), autoencoder: latents of a sound, and the way back. Encoder and vocoder are trained together.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use heartstream_models::{
    ModelDirectory,
    heartcodec::{HeartCodecConfig, Vocoder, expected_tensors_of_vocoder},
    weights::{Expected, TensorStore},
};

use crate::{
    corpus::Manner,
    crops::Crop,
    encoder::{Encoder, expected, rounded},
    error::{Result, TrainError},
    feed::{Pool, Song, Songs, some},
    lapped::Lapped,
    parameters::{Parameters, read_weights},
    rng::{Rng, normal},
    setting::Setting,
    spectral::SoundLoss,
    stage::{Stage, first_song},
};

/// Latents of a crop: 1.28 s.
const CROP: usize = 32;
/// Crops of a step.
const BATCH: usize = 16;
/// Songs that are there before the first step, and that a step brings.
const FIRST: usize = 128;
const FRESH: f64 = 0.15;
/// Largest deviation of the noise on latents while learning: flow matching will not hit them exactly either.
const NOISE: f64 = 0.04;
/// How often the distance that quality is measured with counts when only one of both learns.
const POLISH: f64 = 6.0;
/// Held-out songs that are measured.
const MEASURED: usize = 12;

/// The stage.
pub struct Autoencoder<'a> {
    setting: &'a Setting,
    config: HeartCodecConfig,
    parameters: Parameters,
    loss: SoundLoss,
    songs: Songs,
    pool: Pool<Song>,
}

impl<'a> Autoencoder<'a> {
    /// With first weights.
    pub fn new(setting: &'a Setting) -> Result<Self> {
        let config = setting.size.codec();
        let (_, beside) = setting.size.beside();
        let tensors = match (&setting.beside, setting.vocoder_alone) {
            // The encoder begins with as many channels as the vocoder ends with.
            (None, false) => {
                let encoder = expected(&config, config.init_channel);
                expected_tensors_of_vocoder(&config).into_iter().chain(encoder).collect()
            }
            (None, true) => expected_tensors_of_vocoder(&config),
            (Some(_), false) => expected(&config, beside),
            (Some(_), true) => {
                return Err(TrainError::Order("expected --vocoder-alone or --beside, found both".to_owned()));
            }
        };
        let first = first_song(setting, Self::NAME)?;
        let lapped = Lapped::of(&config);
        let mut parameters = Parameters::beginning(&tensors, setting.seed, &setting.device, |name, shape, numbers| {
            if let Some(lapped) = &lapped {
                lapped.begin(name, shape, numbers);
            }
        })?;
        if setting.vocoder_alone {
            setting.weights_of(Self::NAME)?;
            for Expected { name, shape } in expected(&config, config.init_channel) {
                // What the stage begins with takes its place.
                parameters.fixed.insert(name, Tensor::zeros(shape, DType::F32, &setting.device)?);
            }
        }
        if let Some(directory) = setting.beside()? {
            parameters.borrowed = vocoder_of(&directory, &setting.device)?;
        }
        let emphasis = if setting.vocoder_alone || setting.beside.is_some() { POLISH } else { 1.0 };
        Ok(Self {
            parameters,
            loss: SoundLoss::new(&setting.device, emphasis)?,
            songs: setting.source.songs(false, Manner::Excerpt, first, setting.seed, setting.threads),
            pool: Pool::new(setting.pool, FRESH),
            config,
            setting,
        })
    }

    /// Real sound and what becomes of it.
    fn round_trip(&self, store: TensorStore, sound: &Tensor, noise: Option<Tensor>) -> Result<Tensor> {
        let device = &self.setting.device;
        let mut latents = Encoder::load(&self.config, &store, device)?.forward(sound)?;
        if let Some(noise) = noise {
            latents = (latents + noise)?;
        }
        Ok(Vocoder::load(&self.config, &store, device)?.forward_whole(&rounded(&latents)?)?)
    }
}

impl Stage for Autoencoder<'_> {
    const NAME: &'static str = "autoencoder";
    const RATE: f64 = 5e-4;
    const PARTS: &'static [&'static str] = &["log_mel"];

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let songs = &mut self.songs;
        self.pool.refill(FIRST, |count| some(songs, count))?;
        let mut rng = Rng::new(&[self.setting.seed, 1, step as u64]);
        let (batch, crop) = (self.setting.batch.unwrap_or(BATCH), CROP * self.config.samples_per_latent());
        let mut sound = Vec::with_capacity(batch * crop);
        let (mut counts, mut deviations) = (Vec::with_capacity(batch * crop), Vec::with_capacity(batch));
        for _ in 0..batch {
            let song = self.pool.pick(&mut rng);
            let channel = if rng.below(2) == 0 { &song.left } else { &song.right };
            let drawn = Crop::draw(channel.len(), CROP, self.config.samples_per_latent(), &mut rng);
            sound.extend(channel[drawn.start..].iter().copied().chain(std::iter::repeat(0.0)).take(crop));
            counts.extend(drawn.weights());
            deviations.push((NOISE * rng.unit()) as f32);
        }
        let device = &self.setting.device;
        let sound = Tensor::from_vec(sound, (batch, crop), device)?;
        let width = self.config.latent_hidden_dim;
        let noise = normal(&mut rng, &[batch, CROP, width], device)?;
        let noise = noise.broadcast_mul(&Tensor::from_vec(deviations, (batch, 1, 1), device)?)?;
        let ours = self.round_trip(self.parameters.store(), &sound, Some(noise))?;
        // What does not count is taken to be right.
        let counts = Tensor::from_vec(counts, (batch, crop), device)?;
        let ours = (&sound + ((ours - &sound)? * counts)?)?;
        let (loss, distance) = self.loss.of(&ours, &sound)?;
        Ok((loss, vec![distance]))
    }

    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let songs = self.setting.source.songs(true, Manner::Excerpt, 0, self.setting.seed, self.setting.threads);
        let mut distances = Vec::new();
        for song in songs.take(self.setting.measured.unwrap_or(MEASURED)) {
            let song = song?;
            let length = song.left.len();
            for channel in [song.left, song.right] {
                let real = Tensor::from_vec(channel, (1, length), &self.setting.device)?;
                let ours = self.round_trip(self.parameters.frozen_shards(), &real, None)?;
                distances.push(f64::from(self.loss.of(&ours, &real)?.1.to_scalar::<f32>()?));
            }
        }
        Ok(vec![("log_mel_distance", distances.iter().sum::<f64>() / distances.len() as f64)])
    }

    fn taken(&self) -> usize {
        self.pool.taken
    }
}

/// The tensors of a finished checkpoint's vocoder.
fn vocoder_of(directory: &ModelDirectory, device: &Device) -> Result<HashMap<String, Tensor>> {
    let store = directory.codec_store()?;
    let one = |Expected { name, shape }: Expected| {
        // Slopes are read on the host.
        let place = if name.contains("activation") { &Device::Cpu } else { device };
        let tensor = store.tensor(&name, &shape, place)?.to_dtype(DType::F32)?;
        Ok((name, tensor))
    };
    expected_tensors_of_vocoder(&directory.codec).into_iter().map(one).collect()
}

/// The finished weights of the stage, on the device of `setting`.
pub fn finished(setting: &Setting) -> Result<(HashMap<String, Tensor>, Encoder)> {
    let weights = read_weights(&setting.weights_of(Autoencoder::NAME)?, &setting.device)?;
    let store = TensorStore::from_tensors(weights.clone());
    let encoder = Encoder::load(&setting.size.codec(), &store, &setting.device)?;
    Ok((weights, encoder))
}
