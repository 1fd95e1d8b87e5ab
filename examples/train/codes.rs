//! Stage (b), first half, codes: semantic encoder and quantiser are trained to reconstruct the spectrum of each frame,
//! with codes that change only where the music does.

use candle_core::Tensor;
use heartstream_models::{heartcodec::HeartCodecConfig, weights::TensorStore};

use crate::{
    corpus::Manner,
    error::Result,
    feed::{Pool, Song, Songs, some},
    generated_song::{GeneratedSong, SampleGenerator},
    parameters::{Parameters, read_weights},
    rng::Rng,
    semantic::{
        self, FEATURES, FrameFeatures, PITCH_FEATURES, PITCH_SCALE, Semantic, add_codebooks, codebooks,
        learn_codebooks, quantise,
    },
    setting::Setting,
    spectral::mean,
    stage::{Stage, first_song},
    steady::{CHANGE, CodePath, Rows, steady},
};

/// Frames of a window: 7.4 s.
const WINDOW: usize = 93;
/// Windows of a step.
const BATCH: usize = 64;
const FIRST: usize = 192;
const FRESH: f64 = 0.34;
/// Share of the steps with only some of the codebooks, so that the first ones carry most.
const FEWER_CODEBOOKS: f64 = 0.25;
const COMMITMENT: f64 = 0.25;
/// What a change from one frame to the next costs: codes that stay where a note is held are told and drafted more
/// easily.
const STEADINESS: f64 = 0.15;
/// Weight of the loss between encoded rows and those that a finished checkpoint decoded.
const TOLD: f64 = 1.0;
/// Songs that are there before the first step and that a step brings where a checkpoint sings each of them, too: that
/// takes longer than a step.
const FIRST_BESIDE: usize = 96;
const FRESH_BESIDE: f64 = 0.1;
const MEASURED: usize = 32;

/// A song as this stage learns from it, \[T, …\] each.
struct Heard {
    features: Tensor,
    /// Features of what a finished checkpoint sings by the same words, and the rows that it sang from.
    generated: Option<[Tensor; 2]>,
}

/// The stage.
pub struct Codes<'a> {
    setting: &'a Setting,
    config: HeartCodecConfig,
    parameters: Parameters,
    features: FrameFeatures,
    songs: Songs,
    pool: Pool<Heard>,
    /// The checkpoint for whose codes an encoder is trained, if there is one.
    generator: Option<SampleGenerator>,
}

impl<'a> Codes<'a> {
    /// With first weights.
    pub fn new(setting: &'a Setting) -> Result<Self> {
        let config = setting.size.codec();
        let generator = setting.beside()?.as_ref().map(SampleGenerator::open).transpose()?;
        let width = if generator.is_some() { setting.size.beside().0 } else { setting.size.semantic_width() };
        let tensors = semantic::expected(&config, width);
        let mut parameters = Parameters::new(&tensors, setting.seed, &setting.device)?;
        match &generator {
            Some(generator) => parameters.fixed.extend(generator.codebooks(&setting.device)?),
            None => add_codebooks(&config, &mut parameters, &setting.device)?,
        }
        let first = first_song(setting, Self::NAME)?;
        Ok(Self {
            parameters,
            features: FrameFeatures::new(&setting.device)?,
            songs: setting.source.songs(false, Manner::Excerpt, first, setting.seed ^ 0xD, setting.threads),
            pool: Pool::new(setting.pool, if generator.is_some() { FRESH_BESIDE } else { FRESH }),
            generator,
            config,
            setting,
        })
    }

    /// What is learnt from songs, the first of them the one of number `first`.
    fn heard(
        generator: Option<&SampleGenerator>,
        features: &FrameFeatures,
        songs: &[Song],
        first: usize,
        setting: &Setting,
    ) -> Result<Vec<Heard>> {
        let device = &setting.device;
        let generated_songs = match generator {
            Some(generator) => generator.generated_songs(songs, first, setting.threads)?,
            None => songs.iter().map(|_| None).collect(),
        };
        let one = |(song, generated): (&Song, Option<GeneratedSong>)| {
            let generated = match generated {
                Some(GeneratedSong { song, rows }) => {
                    let frames = song.frames();
                    let width = rows.len() / frames;
                    Some([features.of(&song, device)?, Tensor::from_vec(rows, (frames, width), device)?])
                }
                None => None,
            };
            Ok(Heard { features: features.of(song, device)?, generated })
        };
        songs.iter().zip(generated_songs).map(one).collect()
    }

    /// Frames `start`, `start + 1`, … of a song that begins anew behind its end.
    fn window(song: &Tensor, rng: &mut Rng) -> Result<(Tensor, Tensor)> {
        let whole = song.dim(0)?;
        let start = rng.below(whole);
        let places: Vec<u32> = (0..WINDOW).map(|frame| ((start + frame) % whole) as u32).collect();
        let places = Tensor::new(places, song.device())?;
        Ok((song.index_select(&places, 0)?, places))
    }

    /// Distance of encoded rows of a checkpoint's song from those that it was decoded from, and how far what these
    /// recall is from how it sounds.
    ///
    /// # Shapes
    /// - `features` \[B, T, features\], `rows` \[B, T, width\]
    fn echoed(semantic: &Semantic, [features, rows]: &[Tensor; 2]) -> Result<[Tensor; 2]> {
        let told = mean(&(semantic.forward(features)? - rows)?.sqr()?)?;
        let width = rows.dim(2)?;
        let recalled = semantic.recall(&rows.reshape(((), width))?)?.reshape(features.shape())?;
        Ok([told, mean(&(recalled - features)?.abs()?)?])
    }

    /// The loss of windows \[B, T, features\] and its parts.
    fn losses(
        &mut self,
        windows: &Tensor,
        generated_songs: Option<&[Tensor; 2]>,
        learning: Option<&mut Rng>,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let store = if learning.is_some() { self.parameters.store() } else { self.parameters.frozen_shards() };
        let semantic = Semantic::load(self.setting.size, &store, &self.setting.device)?;
        let encoded = semantic.forward(windows)?;
        let (size, frames, width) = encoded.dims3()?;
        let change = (encoded.narrow(1, 1, frames - 1)? - encoded.narrow(1, 0, frames - 1)?)?;
        let steadiness = mean(&change.abs()?)?;
        let rows = encoded.reshape((size * frames, width))?;
        let all = self.config.num_quantizers;
        let mut levels = all;
        let mut rng = learning;
        if let Some(rng) = rng.as_deref_mut()
            && rng.unit() < FEWER_CODEBOOKS
        {
            levels = 1 + rng.below(all);
        }
        let quantised = quantise(&codebooks(&self.config, &self.parameters.fixed)?, &rows, levels)?;
        let commitment = mean(&(&rows - &quantised.sum)?.sqr()?)?;
        // The gradient passes the quantiser as if it were not there.
        let heard = (&rows + (&quantised.sum - rows.detach())?)?;
        if let (Some(rng), None) = (rng, &self.generator) {
            learn_codebooks(&self.config, &mut self.parameters, &quantised, rng)?;
        }
        let missed = (semantic.recall(&heard)?.reshape(windows.shape())? - windows)?.abs()?;
        let recall = mean(&missed)?;
        // What is missed of the mel bands, and of the pitches as a share of what is told apart.
        let bands = mean(&missed.narrow(2, 0, FEATURES - PITCH_FEATURES)?)?;
        let pitches = (mean(&missed.narrow(2, FEATURES - PITCH_FEATURES, PITCH_FEATURES)?)? / PITCH_SCALE)?;
        let mut loss = ((&recall + (&commitment * COMMITMENT)?)? + (&steadiness * STEADINESS)?)?;
        let mut told = recall.zeros_like()?;
        if let Some(generated_songs) = generated_songs {
            let recalled;
            [told, recalled] = Self::echoed(&semantic, generated_songs)?;
            loss = ((loss + (&told * TOLD)?)? + recalled)?;
        }
        Ok((loss, [recall, commitment, steadiness, bands, pitches, told].map(|part| part.detach()).to_vec()))
    }
}

impl Stage for Codes<'_> {
    const NAME: &'static str = "codes";
    const RATE: f64 = 1e-3;
    const PARTS: &'static [&'static str] = &["recall", "commitment", "change", "bands", "pitches", "told"];

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let (songs, features, generator) = (&mut self.songs, &self.features, self.generator.as_ref());
        let mut first = self.pool.taken;
        let wanted = if generator.is_some() { FIRST_BESIDE } else { FIRST };
        self.pool.refill(wanted, |count| {
            let heard = Self::heard(generator, features, &some(songs, count)?, first, self.setting);
            first += count;
            heard
        })?;
        let mut rng = Rng::new(&[self.setting.seed, 5, step as u64]);
        let (mut windows, mut generated_songs) = (Vec::new(), [Vec::new(), Vec::new()]);
        for _ in 0..self.setting.batch.unwrap_or(BATCH) {
            let song = self.pool.pick(&mut rng);
            windows.push(Self::window(&song.features, &mut rng)?.0);
            if let Some([features, rows]) = &song.generated {
                let (window, places) = Self::window(features, &mut rng)?;
                generated_songs[0].push(window);
                generated_songs[1].push(rows.index_select(&places, 0)?);
            }
        }
        let windows = Tensor::stack(&windows, 0)?;
        let generated_songs = match &generated_songs {
            [features, _] if features.is_empty() => None,
            [features, rows] => Some([Tensor::stack(features, 0)?, Tensor::stack(rows, 0)?]),
        };
        self.losses(&windows, generated_songs.as_ref(), Some(&mut rng))
    }

    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let songs = self.setting.source.songs(true, Manner::Excerpt, 0, self.setting.seed, self.setting.threads);
        let measured = self.setting.measured.unwrap_or(MEASURED);
        let mut sums = [0.0; Self::PARTS.len()];
        for (place, song) in songs.take(measured).enumerate() {
            let heard = Self::heard(self.generator.as_ref(), &self.features, &[song?], place, self.setting)?.remove(0);
            let whole = |tensor: &Tensor| tensor.unsqueeze(0);
            let generated = match &heard.generated {
                Some([features, rows]) => Some([whole(features)?, whole(rows)?]),
                None => None,
            };
            let (_, parts) = self.losses(&whole(&heard.features)?, generated.as_ref(), None)?;
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
            semantic: Semantic::load(setting.size, &TensorStore::from_tensors(weights), &setting.device)?,
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
