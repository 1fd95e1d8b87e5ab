//! How is a drafter trained? On songs of the model that it will draft for, with the model's own law as the teacher.
//!
//! A song is written by the model, so what the drafter sees in training is what it will see at work. For each frame the
//! teacher's law of each code is kept, guided as it is drawn from; the drafter learns it by the Kullback-Leibler
//! divergence, and at the end by the total variation, which is what acceptance depends on. How good it is, is measured on
//! songs that it was not trained on: how often it draws the teacher's code when it draws with the same noise.

use std::{collections::BTreeMap, path::Path};

use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, loss::cross_entropy, ops::log_softmax};

use super::{drafters::DrafterWeights, target::Frame};
use crate::{
    error::{ModelError, Result},
    heartmula::{CodeSampler, HeartMula, HeartMulaConfig, KeyedSampler, PromptIds, SongTarget, VerifyBuffers},
    signal::KeyedNoise,
    weights::Shards,
};

/// Each frame further ahead counts so much less.
const FURTHER: f64 = 0.8;
/// The last share of the steps, in which the total variation is what is made small.
const LAST_SHARE: f64 = 0.2;
/// Steps in which the learning rate grows, as a share of all.
const WARM_UP: f64 = 0.1;
/// How much of the cross entropy with the code itself goes into the loss of transitions.
const TRANSITION: f64 = 0.2;

/// How a drafter is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct DistillOptions {
    /// Frames that heads reach, and that the next-state map is unrolled over.
    pub heads: usize,
    /// Numbers of a code in the transition score.
    pub rank: usize,
    /// Positions in a step.
    pub batch: usize,
    /// Steps.
    pub steps: usize,
    /// The largest learning rate.
    pub learning_rate: f64,
    /// Chance of the beginning and of the order.
    pub seed: u64,
}

impl Default for DistillOptions {
    fn default() -> Self {
        Self { heads: 3, rank: 16, batch: 128, steps: 2000, learning_rate: 1e-3, seed: 1 }
    }
}

/// A song of the teacher, with what the drafter learns from it.
pub struct TaughtSong {
    sampler: KeyedSampler,
    frames: Vec<Frame>,
    /// Outputs of the backbone, guided \[T, D\].
    outputs: Tensor,
    /// Embeddings of whole frames \[T, D\].
    embeddings: Tensor,
    /// For each codebook from 1 on: sums of the embeddings of the codes before it \[T, D\].
    prefixes: Vec<Tensor>,
    /// For each codebook the teacher's law \[T, vocabulary\].
    laws: Vec<Tensor>,
}

impl TaughtSong {
    /// Has the model write a song of at most `frames` frames; `sampler` draws it. It ends before a frame with a code from
    /// `audio_eos` on.
    ///
    /// # Errors
    /// When prompt and frames need more positions than the model has.
    pub fn write(
        model: &HeartMula,
        prompt: &PromptIds,
        guidance: f64,
        frames: usize,
        audio_eos: u32,
        mut sampler: KeyedSampler,
    ) -> Result<Self> {
        let codebooks = model.config().audio_num_codebooks;
        let mut state = model.start(prompt, guidance, frames)?;
        let mut buffers = VerifyBuffers::default();
        let mut target = SongTarget::new(model, &mut state, &mut buffers);
        let mut song = Self {
            sampler: sampler.clone(),
            frames: Vec::new(),
            outputs: Tensor::zeros((0, model.config().backbone.embed_dim), DType::F32, &Device::Cpu)?,
            embeddings: Tensor::zeros((0, model.config().backbone.embed_dim), DType::F32, &Device::Cpu)?,
            prefixes: Vec::new(),
            laws: Vec::new(),
        };
        let mut logits: Vec<Vec<f32>> = vec![Vec::new(); codebooks];
        let (mut outputs, mut embeddings, mut prefixes) = (Vec::new(), Vec::new(), vec![Vec::new(); codebooks - 1]);
        for place in 0..frames as u64 {
            let first = target.open(&[])?.swap_remove(0);
            let mut codes = vec![sampler.sample(place, 0, &first)?];
            let mut laws = vec![first];
            for codebook in 1..codebooks {
                let list = target.finish_logits(0, &codes, codebook)?.swap_remove(0);
                codes.push(sampler.sample(place, codebook, &list)?);
                laws.push(list);
            }
            if codes.iter().any(|code| *code >= audio_eos) {
                break;
            }
            outputs.push(target.led_outputs(1)?);
            embeddings.push(model.frame_embedding(&codes)?);
            let mut sum = model.code_embedding(0, codes[0])?;
            for codebook in 1..codebooks {
                prefixes[codebook - 1].push(sum.clone());
                sum = (sum + model.code_embedding(codebook, codes[codebook])?)?;
            }
            logits.iter_mut().zip(laws).for_each(|(all, list)| all.extend(list));
            target.commit(std::slice::from_ref(&codes))?;
            song.frames.push(codes);
        }
        let count = song.frames.len();
        if count == 0 {
            return Ok(song);
        }
        song.outputs = Tensor::cat(&outputs, 0)?;
        song.embeddings = Tensor::cat(&embeddings, 0)?;
        song.prefixes = prefixes.iter().map(|rows| Tensor::cat(rows, 0)).collect::<candle_core::Result<_>>()?;
        let vocabulary = model.config().audio_vocab_size;
        song.laws = logits
            .into_iter()
            .map(|all| candle_nn::ops::softmax_last_dim(&Tensor::from_vec(all, (count, vocabulary), &Device::Cpu)?))
            .collect::<candle_core::Result<_>>()?;
        Ok(song)
    }

    /// Its frames.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }
}

/// The heads of the model as tensors that gradients pass through; they are not trained.
struct ModelHeads {
    /// \[D, vocabulary\] each.
    heads: Vec<Tensor>,
}

impl ModelHeads {
    fn load(config: &HeartMulaConfig, shards: &Shards) -> Result<Self> {
        let (width, inner, vocabulary) = (config.backbone.embed_dim, config.decoder.embed_dim, config.audio_vocab_size);
        let first = shards.tensor("codebook0_head.weight", &[vocabulary, width], &Device::Cpu)?.t()?.contiguous()?;
        let others = shards.tensor("audio_head", &[config.audio_num_codebooks - 1, inner, vocabulary], &Device::Cpu)?;
        let mut heads = vec![first];
        for codebook in 0..config.audio_num_codebooks - 1 {
            heads.push(others.get(codebook)?.contiguous()?);
        }
        Ok(Self { heads })
    }
}

/// A drafter that is being trained.
pub struct Distillation {
    options: DistillOptions,
    model_heads: ModelHeads,
    variables: BTreeMap<String, Var>,
    weights: DrafterWeights,
    optimizer: AdamW,
    step: usize,
}

impl Distillation {
    /// Begins with a drafter that says that the backbone's output stays what it is.
    ///
    /// # Errors
    /// When `lm`, the tensors of the language model, do not fit its config.
    pub fn new(config: &HeartMulaConfig, lm: &Shards, options: DistillOptions) -> Result<Self> {
        let expected = DrafterWeights::expected(config, options.heads, options.rank);
        let noise = KeyedNoise::new(options.seed);
        let mut variables = BTreeMap::new();
        for (place, tensor) in (0u64..).zip(&expected) {
            let count: usize = tensor.shape.iter().product();
            let mut values = vec![0f32; count];
            match tensor.name.as_str() {
                "next_state.weight" => {
                    let width = tensor.shape[0];
                    (0..width).for_each(|row| values[row * 2 * width + row] = 1.0);
                }
                "mixer.input.weight" | "transition.from" => {
                    noise.fill_latent(place, &mut values);
                    let scale = 1.0 / (tensor.shape[1] as f32).sqrt();
                    values.iter_mut().for_each(|value| *value *= scale);
                }
                _ => (),
            }
            let values = Tensor::from_vec(values, tensor.shape.as_slice(), &Device::Cpu)?;
            variables.insert(tensor.name.clone(), Var::from_tensor(&values)?);
        }
        Self::with(config, lm, options, variables, 0)
    }

    /// Goes on with weights that [`Distillation::tensors`] gave, after `step` steps.
    ///
    /// # Errors
    /// When the tensors do not fit.
    pub fn resume(
        config: &HeartMulaConfig,
        lm: &Shards,
        options: DistillOptions,
        trained: &Shards,
        step: usize,
    ) -> Result<Self> {
        let expected = DrafterWeights::expected(config, options.heads, options.rank);
        trained.check(&expected)?;
        let variable = |tensor: &crate::weights::Expected| {
            let values = trained.tensor(&tensor.name, &tensor.shape, &Device::Cpu)?;
            Ok((tensor.name.clone(), Var::from_tensor(&values)?))
        };
        let variables = expected.iter().map(variable).collect::<Result<_>>()?;
        Self::with(config, lm, options, variables, step)
    }

    fn with(
        config: &HeartMulaConfig,
        lm: &Shards,
        options: DistillOptions,
        variables: BTreeMap<String, Var>,
        step: usize,
    ) -> Result<Self> {
        let held = variables.iter().map(|(name, variable)| (name.clone(), variable.as_tensor().clone()));
        let weights = DrafterWeights::load(config, &Shards::from_tensors(held), &Device::Cpu)?;
        let parameters = ParamsAdamW { lr: options.learning_rate, weight_decay: 0.01, ..ParamsAdamW::default() };
        let optimizer = AdamW::new(variables.values().cloned().collect(), parameters)?;
        let model_heads = ModelHeads::load(config, lm)?;
        Ok(Self { options, model_heads, variables, weights, optimizer, step })
    }

    /// Steps done.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Whether all steps are done.
    pub fn is_done(&self) -> bool {
        self.step >= self.options.steps
    }

    /// The weights as they are now.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.variables.iter().map(|(name, variable)| (name.as_str(), variable.as_tensor()))
    }

    /// One step on positions drawn from `songs`; gives the loss.
    ///
    /// # Errors
    /// When no song has more frames than the heads reach.
    pub fn train(&mut self, songs: &[TaughtSong]) -> Result<f32> {
        let reach = self.options.heads;
        let long: Vec<&TaughtSong> = songs.iter().filter(|song| song.frames() > reach + 1).collect();
        if long.is_empty() {
            return Err(ModelError::shape("songs", format!("some of more than {} frames", reach + 1), "shorter ones"));
        }
        let progress = self.step as f64 / self.options.steps.max(1) as f64;
        let rate = if progress < WARM_UP {
            progress / WARM_UP
        } else {
            0.5 * (1.0 + (std::f64::consts::PI * (progress - WARM_UP) / (1.0 - WARM_UP)).cos())
        };
        self.optimizer.set_learning_rate(self.options.learning_rate * rate.max(0.01));
        // All positions of a step come from one song: its tensors are looked up once.
        let chance = KeyedNoise::new(self.options.seed ^ 0x5EED);
        let uniform = |purpose: u32| (-(-chance.gumbel(self.step as u64, 0, 4 * purpose)).exp()).exp();
        let song = long[((uniform(0) * long.len() as f64) as usize).min(long.len() - 1)];
        let last = song.frames() - reach - 1;
        let place = |index: u32| ((uniform(index + 1) * (last + 1) as f64) as usize).min(last) as u32;
        let places: Vec<u32> = (0..self.options.batch as u32).map(place).collect();
        let loss = self.loss(song, &places, progress >= 1.0 - LAST_SHARE)?;
        self.optimizer.backward_step(&loss)?;
        self.step += 1;
        Ok(loss.to_scalar()?)
    }

    fn loss(&self, song: &TaughtSong, places: &[u32], variation: bool) -> Result<Tensor> {
        let count = places.len();
        let later = |ahead: usize| {
            Tensor::from_vec(places.iter().map(|place| place + ahead as u32).collect(), count, &Device::Cpu)
        };
        let now = later(0)?;
        let (hidden, frame) = (song.outputs.index_select(&now, 0)?, song.embeddings.index_select(&now, 0)?);
        let mut sum = Tensor::new(0f32, &Device::Cpu)?;
        let mut rolled = hidden.clone();
        for ahead in 1..=self.options.heads {
            let (rows, before) = (later(ahead)?, later(ahead - 1)?);
            rolled = self.weights.next(&rolled, &song.embeddings.index_select(&before, 0)?)?;
            let from_head = self.weights.ahead(ahead, &hidden, &frame)?;
            let weight = FURTHER.powi(ahead as i32 - 1);
            let firsts: Vec<u32> = places.iter().map(|place| song.frames[*place as usize + ahead - 1][0]).collect();
            let links = self.weights.transitions(&Tensor::from_vec(firsts, count, &Device::Cpu)?)?;
            for (output, links) in [(&rolled, None), (&from_head, Some(&links))] {
                let part = self.frame_loss(song, &rows, output, links, variation)?;
                sum = (sum + (part * weight)?)?;
            }
            // What the heads' output does not know, transitions may: they learn from the codes themselves.
            let targets: Vec<u32> = places.iter().map(|place| song.frames[*place as usize + ahead][0]).collect();
            let logits = (from_head.detach().matmul(&self.model_heads.heads[0])? + links)?;
            let part = cross_entropy(&logits, &Tensor::from_vec(targets, count, &Device::Cpu)?)?;
            sum = (sum + (part * (weight * TRANSITION))?)?;
        }
        Ok(sum)
    }

    /// How far the drafter's law of the codes of the frames `rows` is from the teacher's, all codebooks together.
    fn frame_loss(
        &self,
        song: &TaughtSong,
        rows: &Tensor,
        output: &Tensor,
        links: Option<&Tensor>,
        variation: bool,
    ) -> Result<Tensor> {
        let mut sum = Tensor::new(0f32, &Device::Cpu)?;
        for (codebook, law) in song.laws.iter().enumerate() {
            let mut logits = self.logits(song, rows, codebook, output)?;
            if let (0, Some(links)) = (codebook, links) {
                logits = (logits + links)?;
            }
            let law = law.index_select(rows, 0)?;
            let drafted = log_softmax(&logits, D::Minus1)?;
            let part = if variation {
                ((drafted.exp()? - law)?.abs()?.sum(1)?.mean(0)? * 2.0)?
            } else {
                (law * drafted)?.sum(1)?.mean(0)?.neg()?
            };
            sum = (sum + part)?;
        }
        Ok(sum)
    }

    fn logits(&self, song: &TaughtSong, rows: &Tensor, codebook: usize, output: &Tensor) -> Result<Tensor> {
        let head = &self.model_heads.heads[codebook];
        if codebook == 0 {
            return Ok(output.matmul(head)?);
        }
        let prefix = song.prefixes[codebook - 1].index_select(rows, 0)?;
        Ok(self.weights.mixed(codebook, output, &prefix)?.matmul(head)?)
    }

    /// How often the drafter draws the teacher's code of the next frame, with the noise of its place and under the right
    /// codes before it: for each codebook, the next-state map first and the first head second.
    ///
    /// # Errors
    /// When the device cannot compute.
    pub fn matches(&self, songs: &[TaughtSong]) -> Result<Vec<[f64; 2]>> {
        let codebooks = self.model_heads.heads.len();
        let mut right = vec![[0f64; 2]; codebooks];
        let mut count = 0f64;
        for song in songs.iter().filter(|song| song.frames() > 1) {
            let places = song.frames() - 1;
            let rows = Tensor::arange(1u32, song.frames() as u32, &Device::Cpu)?;
            let (hidden, frame) = (song.outputs.narrow(0, 0, places)?, song.embeddings.narrow(0, 0, places)?);
            let firsts: Vec<u32> = song.frames[..places].iter().map(|frame| frame[0]).collect();
            let links = self.weights.transitions(&Tensor::from_vec(firsts, places, &Device::Cpu)?)?;
            let outputs = [self.weights.next(&hidden, &frame)?, self.weights.ahead(1, &hidden, &frame)?];
            let mut sampler = song.sampler.clone();
            for (way, output) in outputs.iter().enumerate() {
                for (codebook, right) in right.iter_mut().enumerate() {
                    let mut logits = self.logits(song, &rows, codebook, output)?;
                    if codebook == 0 && way == 1 {
                        logits = (logits + &links)?;
                    }
                    for (place, logits) in (1..).zip(logits.to_vec2::<f32>()?) {
                        let drawn = sampler.sample(place as u64, codebook, &logits)?;
                        right[way] += f64::from(u8::from(drawn == song.frames[place][codebook]));
                    }
                }
            }
            count += places as f64;
        }
        right.iter_mut().flatten().for_each(|right| *right /= count.max(1.0));
        Ok(right)
    }

    /// Writes the weights to `path`, all at once when the file is complete, with `notes` beside.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path, notes: BTreeMap<String, String>) -> Result<()> {
        let unwritable = |reason: String| ModelError::Unwritable {
            path: path.to_owned(),
            reason,
            remedy: "Give a path in a directory that exists and may be written to".to_owned(),
        };
        let tensors: Vec<(&str, Tensor)> = self.tensors().map(|(name, tensor)| (name, tensor.clone())).collect();
        let notes = Some(notes.into_iter().collect());
        let bytes = safetensors::serialize(tensors, notes).map_err(|error| unwritable(error.to_string()))?;
        let beside = path.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path)).map_err(|error| {
            let _ = std::fs::remove_file(&beside); // what is there of it is of no use
            unwritable(error.to_string())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        heartmula::SamplingOptions,
        synth::tiny,
        weights::{Checkpoint, EmbeddedFile},
    };

    #[test]
    fn a_drafter_gets_better_by_training_and_goes_on_from_what_was_written() {
        let (_folder, directory) = tiny();
        let (model, shards) =
            (directory.load_lm(&Device::Cpu).expect("a model"), directory.lm_shards().expect("its tensors"));
        let prompt = PromptIds { tags: vec![1, 80, 90, 2], lyrics: vec![1, 100, 110, 120, 2] };
        let song = |seed| {
            let options = SamplingOptions { temperature: 1.0, top_k: 50 };
            let sampler = KeyedSampler::new(options, KeyedNoise::new(seed)).expect("in range");
            TaughtSong::write(&model, &prompt, 1.5, 60, u32::MAX, sampler).expect("a song")
        };
        let (songs, held_out) = ([song(1), song(2)], [song(3)]);
        let options = DistillOptions { heads: 2, rank: 4, batch: 32, steps: 60, learning_rate: 1e-2, seed: 1 };
        let mut training = Distillation::new(&directory.lm, &shards, options.clone()).expect("a drafter");
        let before = training.matches(&held_out).expect("matches");
        let first = training.train(&songs).expect("a step");
        for _ in 1..30 {
            training.train(&songs).expect("a step");
        }
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("lm")).expect("a folder");
        let path = folder.path().join("lm/drafter.safetensors");
        training.write(&path, BTreeMap::new()).expect("written");
        let checkpoint = Checkpoint::open(folder.path()).expect("a directory");
        let written = Shards::open_file(&checkpoint, "lm/drafter.safetensors").expect("a file");
        let mut again =
            Distillation::resume(&directory.lm, &shards, options, &written, training.step()).expect("it goes on");
        assert_eq!(again.matches(&held_out).expect("matches"), training.matches(&held_out).expect("matches"));
        let last = again.train(&songs).expect("a step");
        assert!(last < 0.9 * first, "loss {first}, then {last}");
        let mean = |matches: Vec<[f64; 2]>| matches.iter().flatten().sum::<f64>() / 16.0;
        let (before, after) = (mean(before), mean(again.matches(&held_out).expect("matches")));
        assert!(after > before, "{before} before, {after} after");
        // It is found beside the language model on disk, and as well inside the program.
        let bytes = std::fs::read(&path).expect("written").leak();
        let files = vec![EmbeddedFile { path: "lm/drafter.safetensors", bytes }].leak();
        for checkpoint in [checkpoint, Checkpoint::Embedded { name: "test", files }] {
            let found = DrafterWeights::find(&checkpoint, "lm", &directory.lm, &Device::Cpu).expect("a drafter");
            assert_eq!(found.map(|weights| weights.reach()), Some(2), "{checkpoint:?}");
        }
    }
}
