//! Stage (b), first half: which codes does music need? Semantic encoder and quantiser learn to remember how each frame
//! sounds, in codes that change only where the music does.

use candle_core::Tensor;
use heartstream_models::{heartcodec::HeartCodecConfig, weights::Shards};

use crate::{
    chance::Dice,
    error::Result,
    feed::{Pool, Song, Songs, some},
    parameters::{Parameters, read_weights},
    semantic::{
        self, FEATURES, FrameFeatures, PITCH_FEATURES, PITCH_SCALE, Semantic, add_codebooks, codebooks,
        learn_codebooks, quantise,
    },
    spectral::mean,
    stage::{Setting, Stage, first_song},
    steady::{CHANGE, CodePath, Rows, steady},
};

/// Frames of a window: 7.4 s.
const WINDOW: usize = 93;
/// Windows of a step.
const BATCH: usize = 64;
const FIRST: usize = 192;
const FRESH: f64 = 0.34;
/// Share of the steps in which only some of the codebooks are heard, so that the first ones say most.
const FEWER_CODEBOOKS: f64 = 0.25;
const COMMITMENT: f64 = 0.25;
/// What a change from one frame to the next costs: codes that stay where a note is held are told and drafted more easily.
const STEADINESS: f64 = 0.15;
const MEASURED: usize = 32;

/// The stage.
pub struct Codes<'a> {
    setting: &'a Setting,
    config: HeartCodecConfig,
    parameters: Parameters,
    features: FrameFeatures,
    songs: Songs,
    /// \[T, features\] each.
    pool: Pool<Tensor>,
}

impl<'a> Codes<'a> {
    /// With first weights.
    pub fn new(setting: &'a Setting) -> Result<Self> {
        let config = setting.size.codec();
        let mut parameters = Parameters::new(&semantic::expected(setting.size), setting.seed, &setting.device)?;
        add_codebooks(&config, &mut parameters, &setting.device)?;
        let first = first_song(setting, Self::NAME)?;
        Ok(Self {
            parameters,
            features: FrameFeatures::new(&setting.device)?,
            songs: setting.source.songs(false, first, setting.seed ^ 0xD, setting.threads),
            pool: Pool::new(setting.pool, FRESH),
            config,
            setting,
        })
    }

    /// The loss of windows \[B, T, features\] and its parts.
    fn losses(&mut self, windows: &Tensor, learning: Option<&mut Dice>) -> Result<(Tensor, Vec<Tensor>)> {
        let shards = if learning.is_some() { self.parameters.shards() } else { self.parameters.frozen_shards() };
        let semantic = Semantic::load(self.setting.size, &shards, &self.setting.device)?;
        let encoded = semantic.forward(windows)?;
        let (size, frames, width) = encoded.dims3()?;
        let change = (encoded.narrow(1, 1, frames - 1)? - encoded.narrow(1, 0, frames - 1)?)?;
        let steadiness = mean(&change.abs()?)?;
        let rows = encoded.reshape((size * frames, width))?;
        let all = self.config.num_quantizers;
        let mut levels = all;
        let mut dice = learning;
        if let Some(dice) = dice.as_deref_mut()
            && dice.unit() < FEWER_CODEBOOKS
        {
            levels = 1 + dice.below(all);
        }
        let quantised = quantise(&codebooks(&self.config, &self.parameters.fixed)?, &rows, levels)?;
        let commitment = mean(&(&rows - &quantised.sum)?.sqr()?)?;
        // The gradient passes the quantiser as if it were not there.
        let heard = (&rows + (&quantised.sum - rows.detach())?)?;
        if let Some(dice) = dice {
            learn_codebooks(&self.config, &mut self.parameters, &quantised, dice)?;
        }
        let missed = (semantic.recall(&heard)?.reshape(windows.shape())? - windows)?.abs()?;
        let recall = mean(&missed)?;
        // What is missed of the mel bands, and of the pitches as a share of what is told apart.
        let bands = mean(&missed.narrow(2, 0, FEATURES - PITCH_FEATURES)?)?;
        let pitches = (mean(&missed.narrow(2, FEATURES - PITCH_FEATURES, PITCH_FEATURES)?)? / PITCH_SCALE)?;
        let loss = ((&recall + (&commitment * COMMITMENT)?)? + (&steadiness * STEADINESS)?)?;
        Ok((loss, [recall, commitment, steadiness, bands, pitches].map(|part| part.detach()).to_vec()))
    }
}

impl Stage for Codes<'_> {
    const NAME: &'static str = "codes";
    const RATE: f64 = 1e-3;
    const PARTS: &'static [&'static str] = &["recall", "commitment", "change", "bands", "pitches"];

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let (songs, features, device) = (&mut self.songs, &self.features, &self.setting.device);
        self.pool.refill(FIRST, |count| some(songs, count)?.iter().map(|song| features.of(song, device)).collect())?;
        let mut dice = Dice::new(&[self.setting.seed, 5, step as u64]);
        let mut windows = Vec::new();
        for _ in 0..self.setting.batch.unwrap_or(BATCH) {
            let song = self.pool.pick(&mut dice);
            let (whole, _) = song.dims2()?;
            let start = dice.below(whole);
            let places: Vec<u32> = (0..WINDOW).map(|frame| ((start + frame) % whole) as u32).collect();
            windows.push(song.index_select(&Tensor::new(places, device)?, 0)?);
        }
        self.losses(&Tensor::stack(&windows, 0)?, Some(&mut dice))
    }

    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let songs = self.setting.source.songs(true, 0, self.setting.seed, self.setting.threads);
        let measured = self.setting.measured.unwrap_or(MEASURED);
        let mut sums = [0.0; Self::PARTS.len()];
        for song in songs.take(measured) {
            let windows = self.features.of(&song?, &self.setting.device)?.unsqueeze(0)?;
            let (_, parts) = self.losses(&windows, None)?;
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum += f64::from(part.to_scalar::<f32>()?) / measured as f64;
            }
        }
        Ok(Self::PARTS.iter().copied().zip(sums).collect())
    }

    fn taken(&self) -> usize {
        self.pool.taken
    }
}

/// Writes songs as codes with the finished stage.
pub struct Coder {
    semantic: Semantic,
    /// The rows of each codebook, one after the other.
    codebooks: Vec<Vec<f32>>,
    width: usize,
    features: FrameFeatures,
    device: candle_core::Device,
}

impl Coder {
    /// Reads the finished weights.
    pub fn open(setting: &Setting) -> Result<Self> {
        let (weights, config) =
            (read_weights(&setting.weights_of(Codes::NAME)?, &setting.device)?, setting.size.codec());
        let rows = |codebook: Tensor| codebook.flatten_all()?.to_vec1::<f32>();
        let codebooks = codebooks(&config, &weights)?.into_iter().map(rows).collect::<candle_core::Result<_>>()?;
        Ok(Self {
            semantic: Semantic::load(setting.size, &Shards::from_tensors(weights), &setting.device)?,
            codebooks,
            width: config.codebook_dim,
            features: FrameFeatures::new(&setting.device)?,
            device: setting.device.clone(),
        })
    }

    /// The codes of songs and what they stand for, all songs at once: finding a path takes a processor longer than the
    /// encoder takes a GPU.
    pub fn paths(&self, songs: &[Song]) -> Result<Vec<CodePath>> {
        let rows: Vec<Rows<'_>> = self.codebooks.iter().map(|numbers| Rows { numbers, width: self.width }).collect();
        let encoded = songs.iter().map(|song| {
            let encoded = self.semantic.forward(&self.features.of(song, &self.device)?.unsqueeze(0)?)?;
            Ok(encoded.flatten_all()?.to_vec1::<f32>()?)
        });
        let encoded: Vec<Vec<f32>> = encoded.collect::<Result<_>>()?;
        Ok(std::thread::scope(|scope| {
            let rows = &rows;
            let found: Vec<_> =
                encoded.iter().map(|encoded| scope.spawn(move || steady(rows, encoded, CHANGE))).collect();
            found.into_iter().map(|path| path.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        }))
    }

    /// What the codes of a path stand for.
    ///
    /// # Shapes
    /// - result \[T, width of a codebook\]
    pub fn rows(&self, path: CodePath) -> Result<Tensor> {
        let frames = path.sum.len() / self.width;
        Ok(Tensor::from_vec(path.sum, (frames, self.width), &self.device)?)
    }
}
