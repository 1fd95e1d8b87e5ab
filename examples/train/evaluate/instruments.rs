//! Instrument classifier of the leading instrument, trained on real renders alone.

use candle_core::{D, Device, Tensor};
use heartstream_models::{
    kernels::Linear,
    weights::{Expected, TensorStore},
};

use crate::{
    corpus::{INSTRUMENTS, Manner},
    error::Result,
    feed::Song,
    parameters::Parameters,
    rng::Rng,
    semantic::{BANDS, FrameFeatures},
    setting::Setting,
};

/// Frames that are judged together: 2 s.
const WINDOW: usize = 25;
/// Numbers that a window is described by: the mean, the spread and the mean change of each band.
const NUMBERS: usize = 3 * BANDS;
const HIDDEN: usize = 96;
const STEPS: usize = 1500;
const BATCH: usize = 256;
const RATE: f64 = 2e-3;

/// The classifier.
pub struct InstrumentClassifier {
    features: FrameFeatures,
    parameters: Parameters,
}

/// The layers, outputs and inputs.
const LAYERS: [(&str, [usize; 2]); 2] = [("first", [HIDDEN, NUMBERS]), ("second", [INSTRUMENTS.len(), HIDDEN])];

/// The place of the instrument that a song's tags name first, in the list of instruments.
pub fn tagged(tags: &str) -> Option<usize> {
    tags.split(',').find_map(|tag| INSTRUMENTS.iter().position(|instrument| instrument.tag == tag.trim()))
}

impl InstrumentClassifier {
    /// A classifier trained on `count` songs of the training split.
    pub fn taught(setting: &Setting, count: usize) -> Result<Self> {
        let features = FrameFeatures::new(&Device::Cpu)?;
        let (mut windows, mut labels) = (Vec::new(), Vec::new());
        // Other songs than any stage begins with.
        for song in setting.source.songs(false, Manner::Excerpt, 0, setting.seed ^ 0xE, setting.threads).take(count) {
            let song = song?;
            let Some(label) = tagged(&song.tags) else { continue };
            for window in described(&features, &song)? {
                windows.push(window);
                labels.push(label);
            }
        }
        let tensors = LAYERS.iter().flat_map(|(name, shape)| {
            [Expected::new(format!("{name}.weight"), shape), Expected::new(format!("{name}.bias"), &shape[..1])]
        });
        let parameters = Parameters::new(&tensors.collect::<Vec<_>>(), setting.seed, &Device::Cpu)?;
        let mut classifier = Self { features, parameters };
        let mut rng = Rng::new(&[setting.seed, 7]);
        for _ in 0..if windows.is_empty() { 0 } else { STEPS } {
            let chosen: Vec<usize> = (0..BATCH).map(|_| rng.below(windows.len())).collect();
            let numbers: Vec<f32> = chosen.iter().flat_map(|place| windows[*place].iter().copied()).collect();
            let truth: Vec<f32> = chosen
                .iter()
                .flat_map(|place| (0..INSTRUMENTS.len()).map(|label| f32::from(u8::from(label == labels[*place]))))
                .collect();
            let numbers = Tensor::from_vec(numbers, (BATCH, NUMBERS), &Device::Cpu)?;
            let likelihood = likelihood(&classifier.parameters.store(), &numbers)?;
            let truth = Tensor::from_vec(truth, (BATCH, INSTRUMENTS.len()), &Device::Cpu)?;
            let loss = ((likelihood * truth)?.sum_all()? / -(BATCH as f64))?;
            classifier.parameters.step(&loss.backward()?, RATE)?;
        }
        classifier.parameters.averaged()?;
        Ok(classifier)
    }

    /// The instrument that leads a song; none in a song of less than 2 s.
    pub fn classify(&self, song: &Song) -> Result<Option<usize>> {
        let windows = described(&self.features, song)?;
        if windows.is_empty() {
            return Ok(None);
        }
        let count = windows.len();
        let windows = Tensor::from_vec(windows.concat(), (count, NUMBERS), &Device::Cpu)?;
        let likelihood = likelihood(&self.parameters.frozen_shards(), &windows)?;
        Ok(Some(likelihood.sum(0)?.argmax(D::Minus1)?.to_scalar::<u32>()? as usize))
    }
}

/// The logarithm of the likelihood of each instrument, \[windows, instruments\].
fn likelihood(store: &TensorStore, windows: &Tensor) -> Result<Tensor> {
    let layer = |(name, shape): (&str, [usize; 2])| Linear::load(store, name, shape, true, &Device::Cpu);
    let logits = layer(LAYERS[1])?.forward(&layer(LAYERS[0])?.forward(windows)?.relu()?)?;
    let logits = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
    Ok(logits.broadcast_sub(&logits.exp()?.sum_keepdim(1)?.log()?)?)
}

/// Windows of a song as numbers, whatever their level.
fn described(features: &FrameFeatures, song: &Song) -> Result<Vec<Vec<f32>>> {
    let spectra = features.spectra(song, &Device::Cpu)?.to_vec2::<f32>()?;
    let per_frame = spectra.len() / song.frames().max(1);
    let window = |spectra: &[Vec<f32>]| {
        let count = spectra.len() as f32;
        let mut numbers = vec![0f32; NUMBERS];
        for band in 0..BANDS {
            let mean = spectra.iter().map(|spectrum| spectrum[band]).sum::<f32>() / count;
            let spread = spectra.iter().map(|spectrum| (spectrum[band] - mean).powi(2)).sum::<f32>() / count;
            let change = spectra.windows(2).map(|two| (two[1][band] - two[0][band]).abs()).sum::<f32>() / count;
            (numbers[band], numbers[BANDS + band], numbers[2 * BANDS + band]) = (mean, spread.sqrt(), 4.0 * change);
        }
        let level = numbers[..BANDS].iter().sum::<f32>() / BANDS as f32;
        numbers[..BANDS].iter_mut().for_each(|number| *number -= level);
        numbers
    };
    Ok(spectra.chunks_exact((WINDOW * per_frame).max(1)).map(window).collect())
}
