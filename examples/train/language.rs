//! Stage (c): which codes follow from words and from codes? Backbone and depth decoder learn on the codes of the finished
//! codec, in the very prompts that the engine writes.

use candle_core::{D, DType, Device, Tensor};
use heartstream_models::{
    ModelDirectory,
    heartmula::{HeartMulaConfig, KvCache, PromptIds, Transformer, expected_tensors},
    kernels::Linear,
    text::PromptTokenizer,
    weights::{Checkpoint, Expected, Shards},
};

use crate::{
    chance::Dice,
    codes::Coder,
    corpus::tokens,
    error::Result,
    export,
    feed::{KEYS, Pool, Song, Songs, some},
    parameters::Parameters,
    stage::{Setting, Stage, first_song},
    steady::Path,
};

/// Songs of a step, and how many songs are there before the first one.
const BATCH: usize = 32;
const FIRST: usize = 512;
/// New songs that a whole batch brings.
const FRESH: f64 = 4.0;
/// Share of the songs that are learnt without their words, so that guidance works.
const UNCONDITIONAL: f64 = 0.1;
const MEASURED: usize = 64;

/// How much it counts that the backbone knows how many phrases are still to begin. Nothing in a song's next codes asks for
/// that before its end, so without it the words hardly steer the length.
const AWARE: f64 = 0.5;
/// More phrases than this are as many; and what a song without its words knows of them.
const MOST_PHRASES: u32 = 14;
const UNKNOWN: u32 = MOST_PHRASES + 1;

/// How much it counts that the backbone knows the key: who forgets it wanders.
const IN_KEY: f64 = 0.2;

/// A song as this stage learns from it.
pub struct Written {
    /// Its words.
    pub prompt: PromptIds,
    /// Its codes, frame after frame.
    pub codes: Vec<u16>,
    /// Phrases that begin behind each frame.
    pub to_come: Vec<u32>,
    /// Its key.
    pub key: u32,
}

/// Phrases that begin behind each of so many frames.
fn to_come(phrases: &[f64], frames: usize) -> Vec<u32> {
    let behind = |frame: usize| phrases.iter().filter(|start| **start > (frame as f64 + 1.0) * 0.08).count() as u32;
    (0..frames).map(|frame| behind(frame).min(MOST_PHRASES)).collect()
}

/// The stage.
pub struct Language<'a> {
    setting: &'a Setting,
    questions: Questions,
    parameters: Parameters,
    writer: Writer,
    songs: Songs,
    pool: Pool<Written>,
}

/// What a model of some size is asked.
struct Questions {
    config: HeartMulaConfig,
    /// The code that ends a song.
    end: u32,
    device: Device,
}

/// Turns songs into what the language model learns from.
pub struct Writer {
    tokenizer: PromptTokenizer,
    coder: Coder,
}

impl Writer {
    /// With the finished codec, and the tokenizer that is exported.
    pub fn open(setting: &Setting) -> Result<(Self, ModelDirectory)> {
        let folder = setting.run.join("words");
        export::write_configs(setting.size, &folder)?;
        let directory = ModelDirectory::open(Checkpoint::Directory(folder))?;
        Ok((Self { tokenizer: directory.load_tokenizer()?, coder: Coder::open(setting)? }, directory))
    }

    /// Writes some.
    pub fn written(&self, songs: &[Song]) -> Result<Vec<Written>> {
        let one = |(song, path): (&Song, Path)| {
            let prompt = self.tokenizer.prompt(&song.tags, &song.lyrics)?.ids;
            let to_come = to_come(&song.phrases, song.frames());
            Ok(Written { prompt, codes: path.frames(), to_come, key: song.key })
        };
        songs.iter().zip(self.coder.paths(songs)?).map(one).collect()
    }
}

/// What the backbone is asked beside the codes, and how many answers there are.
const HEADS: [(&str, usize); 2] = [("phrases_head", UNKNOWN as usize + 1), ("key_head", KEYS)];

/// The id of no row: its embedding is nothing.
const NOTHING: u32 = u32::MAX;

/// Cross-entropies of a batch.
struct Losses {
    /// In nats, the mean for each codebook.
    codebooks: Vec<Tensor>,
    /// Of the frame behind the last: that the song ends.
    end: Tensor,
    /// Of how many phrases are to come.
    phrases: Tensor,
    /// Of which key it is.
    key: Tensor,
}

impl<'a> Language<'a> {
    /// With first weights, on the finished codec.
    pub fn new(setting: &'a Setting) -> Result<Self> {
        let (writer, directory) = Writer::open(setting)?;
        let config = setting.size.lm(tokens::vocabulary_size());
        let first = first_song(setting, Self::NAME)?;
        let mut tensors = expected_tensors(&config);
        for (name, classes) in HEADS {
            tensors.push(Expected::new(format!("{name}.weight"), &[classes, config.backbone.embed_dim]));
        }
        Ok(Self {
            parameters: Parameters::new(&tensors, setting.seed, &setting.device)?,
            questions: Questions { config, end: directory.ids.audio_eos, device: setting.device.clone() },
            songs: setting.source.songs(false, first, setting.seed ^ 0xC, setting.threads),
            pool: Pool::new(4 * setting.pool, FRESH * setting.batch.unwrap_or(BATCH) as f64 / BATCH as f64),
            writer,
            setting,
        })
    }
}

impl Questions {
    /// # Shapes
    /// - `ids` any shape; result one more dimension of `rows`: 1 at the id, 0 elsewhere
    fn one_hot(ids: &Tensor, rows: usize) -> Result<Tensor> {
        let numbers = Tensor::arange(0u32, rows as u32, ids.device())?;
        Ok(ids.unsqueeze(D::Minus1)?.broadcast_eq(&numbers)?.to_dtype(DType::F32)?)
    }

    /// The sums of the rows that `ids` \[N, places\] name, place after place in `table` \[places · rows, D\];
    /// [`NOTHING`] is a row of zeros.
    fn embedded(table: &Tensor, ids: Vec<u32>, places: usize) -> Result<Tensor> {
        let (device, count) = (table.device(), ids.len() / places);
        let (all, width) = table.dims2()?;
        let rows = all / places;
        if !device.is_cpu() {
            // The gradient of a product has an order; a GPU adds that of chosen rows up in any.
            let chosen = Self::one_hot(&Tensor::from_vec(ids, (count, places), device)?, rows)?;
            return Ok(chosen.reshape((count, all))?.matmul(table)?);
        }
        let table = Tensor::cat(&[table, &Tensor::zeros((1, width), DType::F32, device)?], 0)?;
        let place = |(number, id): (usize, u32)| {
            if id == NOTHING { all as u32 } else { ((number % places) * rows) as u32 + id }
        };
        let ids: Vec<u32> = ids.into_iter().enumerate().map(place).collect();
        Ok(table.index_select(&Tensor::new(ids, device)?, 0)?.reshape((count, places, width))?.sum(1)?)
    }

    fn losses(&self, shards: &Shards, batch: &[(&Written, bool)]) -> Result<Losses> {
        let device = &self.device;
        let HeartMulaConfig { audio_vocab_size: rows, audio_num_codebooks: books, text_vocab_size: words, .. } =
            self.config;
        let (width, inner) = (self.config.backbone.embed_dim, self.config.decoder.embed_dim);
        let frames = |song: &Written| song.codes.len() / books;
        let longest = batch.iter().map(|(song, _)| song.prompt.positions() + frames(song)).max().unwrap_or(0);

        // Every position is a word, the empty slot, "no words", or a frame; what is behind the end is nothing.
        let (slot, no_words) = (words as u32, words as u32 + 1);
        let mut text = vec![NOTHING; batch.len() * longest];
        let mut audio = vec![NOTHING; batch.len() * longest * books];
        for (row, (song, conditional)) in batch.iter().enumerate() {
            let prompt = song.prompt.tags.iter().copied().chain([slot]).chain(song.prompt.lyrics.iter().copied());
            for (place, id) in prompt.enumerate() {
                text[row * longest + place] = if *conditional { id } else { no_words };
            }
            let start = (row * longest + song.prompt.positions()) * books;
            for (place, code) in song.codes.iter().enumerate() {
                audio[start + place] = u32::from(*code);
            }
        }
        let get = |name: &str, shape: &[usize]| shards.tensor(name, shape, device);
        let table = Tensor::cat(
            &[
                &get("text_embeddings.weight", &[words, width])?,
                &get("muq_linear.bias", &[width])?.unsqueeze(0)?,
                &get("unconditional_text_embedding.weight", &[1, width])?,
            ],
            0,
        )?;
        let sounds = get("audio_embeddings.weight", &[rows * books, width])?;
        let embedded = (Self::embedded(&table, text, 1)? + Self::embedded(&sounds, audio, books)?)?;
        let backbone = Transformer::load(&self.config.backbone, shards, "backbone", device)?;
        let mut cache = KvCache::new(&self.config.backbone, batch.len(), longest, device)?;
        let hidden = backbone.forward(&embedded.reshape((batch.len(), longest, width))?, &mut cache)?;

        // From the last position of the words on, each position tells the frame that follows; the last one, the end.
        let mut tellers = Vec::new();
        let mut lasts = Vec::new();
        let mut codes = Vec::new();
        let (mut phrases, mut keys) = (Vec::new(), Vec::new());
        for (row, (song, conditional)) in batch.iter().enumerate() {
            phrases.extend(song.to_come.iter().map(|count| if *conditional { *count } else { UNKNOWN }));
            keys.extend(std::iter::repeat_n(song.key, frames(song)));
            let row = hidden.narrow(0, row, 1)?.squeeze(0)?;
            let first = song.prompt.positions() - 1;
            tellers.push(row.narrow(0, first, frames(song))?);
            lasts.push(row.narrow(0, first + frames(song), 1)?);
            codes.extend(song.codes.iter().map(|code| u32::from(*code)));
        }
        let (tellers, lasts) = (Tensor::cat(&tellers, 0)?, Tensor::cat(&lasts, 0)?);
        let count = tellers.dim(0)?;
        let codes = Tensor::from_vec(codes, (count, books), device)?;
        let one_hot = Self::one_hot(&codes, rows)?; // [N, K, V]
        let head = Linear::load(shards, "codebook0_head", [rows, width], false, device)?;
        let mut losses = vec![cross_entropy(&head.forward(&tellers)?, &one_hot.narrow(1, 0, 1)?.squeeze(1)?)?];
        let ends = Self::one_hot(&Tensor::full(self.end, batch.len(), device)?, rows)?;
        let end = cross_entropy(&head.forward(&lasts)?, &ends)?;

        let asked = |(name, classes): (&str, usize), truth: Vec<u32>| {
            let truth = Self::one_hot(&Tensor::from_vec(truth, count, device)?, classes)?;
            cross_entropy(&Linear::load(shards, name, [classes, width], false, device)?.forward(&tellers)?, &truth)
        };
        let (phrases, key) = (asked(HEADS[0], phrases)?, asked(HEADS[1], keys)?);

        // The depth decoder sees the teller, then code after code, and tells the next code from the second place on.
        let tables = sounds.reshape((books, rows, width))?.narrow(0, 0, books - 1)?;
        let heard = one_hot.narrow(1, 0, books - 1)?.transpose(0, 1)?.contiguous()?;
        let heard = heard.matmul(&tables.contiguous()?)?.transpose(0, 1)?; // [N, K - 1, D]
        let inputs = Tensor::cat(&[&tellers.unsqueeze(1)?, &heard.contiguous()?], 1)?.contiguous()?;
        let projection = Linear::load(shards, "projection", [inner, width], false, device)?;
        let decoder = Transformer::load(&self.config.decoder, shards, "decoder", device)?;
        let mut cache = KvCache::new(&self.config.decoder, count, books, device)?;
        let told = decoder.forward(&projection.forward(&inputs)?, &mut cache)?; // [N, K, D']
        let heads = get("audio_head", &[books - 1, inner, rows])?;
        for book in 1..books {
            let told = told.narrow(1, book, 1)?.squeeze(1)?.contiguous()?;
            let logits = told.matmul(&heads.get(book - 1)?)?;
            losses.push(cross_entropy(&logits, &one_hot.narrow(1, book, 1)?.squeeze(1)?)?);
        }
        Ok(Losses { codebooks: losses, end, phrases, key })
    }

    /// What is learnt from, and its parts.
    fn loss(&self, shards: &Shards, batch: &[(&Written, bool)]) -> Result<(Tensor, Vec<Tensor>)> {
        let Losses { codebooks, end, phrases, key } = self.losses(shards, batch)?;
        // The first codebook says most and is told from the least.
        let mut loss = (&codebooks[0] * 2.0)?;
        for codebook in &codebooks[1..] {
            loss = (loss + codebook)?;
        }
        let last = &codebooks[codebooks.len() - 1];
        let parts = [&codebooks[0], &codebooks[1], last, &end, &phrases, &key].map(Tensor::detach);
        let beside = (((end * 0.1)? + (phrases * AWARE)?)? + (key * IN_KEY)?)?;
        Ok(((loss + beside)?, parts.to_vec()))
    }

    /// The same, for processors: so many parts of a batch at once, each forward and back on a thread of its own, for
    /// most operations have one. The loss that is returned has the value and the gradients of their mean.
    fn loss_in_parts(
        &self,
        parameters: &Parameters,
        mut batch: Vec<(&Written, bool)>,
        parts: usize,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        // Songs of a length together: what is behind the end of a shorter one is computed for nothing.
        batch.sort_by_key(|(song, _)| song.prompt.positions() * self.config.audio_num_codebooks + song.codes.len());
        let shards = &parameters.shards();
        let learnt = |part: &[(&Written, bool)]| -> Result<_> {
            let (loss, parts) = self.loss(shards, part)?;
            Ok((part.len() as f64, loss.detach(), parts, loss.backward()?))
        };
        let learnt: Vec<_> = std::thread::scope(|scope| {
            let learnt = &learnt;
            let parts = batch.chunks(batch.len().div_ceil(parts.max(1)));
            let parts: Vec<_> = parts.map(|part| scope.spawn(move || learnt(part))).collect();
            parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let learnt = learnt.into_iter().collect::<Result<Vec<_>>>()?;
        let (mut total, mut parts) = (0.0, vec![0.0; Language::PARTS.len()]);
        let scalar = |value: f64| Ok(Tensor::new(value as f32, &self.device)?);
        let mut slope: Tensor = scalar(0.0)?;
        for (count, loss, values, gradients) in &learnt {
            let share = count / batch.len() as f64;
            total += share * f64::from(loss.to_scalar::<f32>()?);
            for (part, value) in parts.iter_mut().zip(values) {
                *part += share * f64::from(value.to_scalar::<f32>()?);
            }
            slope = (slope + (parameters.along(gradients)? * share)?)?;
        }
        let value = (scalar(total)? - slope.detach())?;
        Ok(((slope + value)?, parts.into_iter().map(scalar).collect::<Result<_>>()?))
    }
}

/// The mean cross-entropy in nats.
fn cross_entropy(logits: &Tensor, one_hot: &Tensor) -> Result<Tensor> {
    let (count, _) = logits.dims2()?;
    let logits = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
    let total = logits.exp()?.sum(1)?.log()?.sum_all()?;
    Ok(((total - (logits * one_hot)?.sum_all()?)? / count as f64)?)
}

impl Stage for Language<'_> {
    const NAME: &'static str = "language";
    const RATE: f64 = 1e-3;
    const PARTS: &'static [&'static str] = &["first", "second", "last", "end", "phrases", "key"];

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let (songs, writer) = (&mut self.songs, &self.writer);
        self.pool.refill(FIRST, |count| writer.written(&some(songs, count)?))?;
        let mut dice = Dice::new(&[self.setting.seed, 4, step as u64]);
        let batch: Vec<(&Written, bool)> = (0..self.setting.batch.unwrap_or(BATCH))
            .map(|_| (self.pool.pick(&mut dice), dice.unit() >= UNCONDITIONAL))
            .collect();
        if self.setting.device.is_cpu() {
            return self.questions.loss_in_parts(&self.parameters, batch, self.setting.threads);
        }
        self.questions.loss(&self.parameters.shards(), &batch)
    }

    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let songs = self.setting.source.songs(true, 0, self.setting.seed, self.setting.threads);
        let mut written = Vec::new();
        for song in songs.take(self.setting.measured.unwrap_or(MEASURED)) {
            written.extend(self.writer.written(&[song?])?);
        }
        let shards = self.parameters.frozen_shards();
        let books = self.questions.config.audio_num_codebooks;
        let mut sums = vec![0.0; books + 1];
        for few in written.chunks(4) {
            let batch: Vec<_> = few.iter().map(|song| (song, true)).collect();
            let Losses { codebooks, end, .. } = self.questions.losses(&shards, &batch)?;
            for (sum, loss) in sums.iter_mut().zip(codebooks.iter().chain([&end])) {
                *sum += f64::from(loss.to_scalar::<f32>()?) / std::f64::consts::LN_2 / written.chunks(4).len() as f64;
            }
        }
        let mut measured = Vec::new();
        for (book, bits) in sums[..books].iter().enumerate() {
            let [unigram, repeat] = baselines(&written, book, books);
            let [ours, by_frequency, by_repeating] = FIGURES[book];
            measured.extend([(ours, *bits), (by_frequency, unigram), (by_repeating, repeat)]);
        }
        measured.push(("bits_end", sums[books]));
        Ok(measured)
    }

    fn taken(&self) -> usize {
        self.pool.taken
    }
}

/// The figures of each codebook: the model's bits, and those of the two who know nothing.
const FIGURES: [[&str; 3]; 8] = [
    ["bits_0", "unigram_0", "repeat_0"],
    ["bits_1", "unigram_1", "repeat_1"],
    ["bits_2", "unigram_2", "repeat_2"],
    ["bits_3", "unigram_3", "repeat_3"],
    ["bits_4", "unigram_4", "repeat_4"],
    ["bits_5", "unigram_5", "repeat_5"],
    ["bits_6", "unigram_6", "repeat_6"],
    ["bits_7", "unigram_7", "repeat_7"],
];

/// What a codebook costs those who know nothing, in bits: by the frequency of its codes, and by guessing that the frame
/// before is repeated (as often as it is, any other code being equally likely).
fn baselines(written: &[Written], book: usize, books: usize) -> [f64; 2] {
    let mut counts = std::collections::HashMap::new();
    let (mut same, mut pairs) = (0.0, 0.0);
    for song in written {
        let codes: Vec<u16> = song.codes.iter().skip(book).step_by(books).copied().collect();
        codes.iter().for_each(|code| *counts.entry(*code).or_insert(0.0) += 1.0);
        same += codes.windows(2).filter(|two| two[0] == two[1]).count() as f64;
        pairs += codes.len().saturating_sub(1) as f64;
    }
    let total: f64 = counts.values().sum();
    let unigram = -counts.values().map(|count: &f64| count / total * (count / total).log2()).sum::<f64>();
    let p = (same / pairs.max(1.0)).clamp(1e-6, 1.0 - 1e-6);
    let others = (counts.len() as f64 - 1.0).max(1.0);
    [unigram, -p * p.log2() - (1.0 - p) * ((1.0 - p) / others).log2()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::Size;

    #[test]
    fn a_batch_in_parts_is_learnt_as_it_is_at_once() {
        let config = Size::Tiny.lm(40);
        let mut tensors = expected_tensors(&config);
        for (name, classes) in HEADS {
            tensors.push(Expected::new(format!("{name}.weight"), &[classes, config.backbone.embed_dim]));
        }
        let parameters = Parameters::new(&tensors, 3, &Device::Cpu).expect("variables");
        let questions = Questions { config, end: 32, device: Device::Cpu };
        let mut dice = Dice::new(&[4]);
        let mut written = |conditional| {
            let mut ids = |count| (0..count).map(|_| dice.below(40) as u32).collect();
            let prompt = PromptIds { tags: ids(3), lyrics: ids(5) };
            let codes = (0..7 * 3).map(|_| dice.below(32) as u16).collect();
            (Written { prompt, codes, to_come: (0..7).rev().collect(), key: dice.below(KEYS) as u32 }, conditional)
        };
        let songs = [written(true), written(false), written(true), written(true)];
        let batch: Vec<(&Written, bool)> = songs.iter().map(|(song, conditional)| (song, *conditional)).collect();
        let slopes = |(loss, parts): (Tensor, Vec<Tensor>)| {
            let gradients = loss.backward().expect("gradients");
            let along = parameters.along(&gradients).and_then(|sum| Ok(sum.to_scalar::<f32>()?)).expect("a sum");
            let number = |tensor: &Tensor| tensor.to_scalar::<f32>().expect("a number");
            [vec![along, number(&loss)], parts.iter().map(number).collect()].concat()
        };
        let whole = slopes(questions.loss(&parameters.shards(), &batch).expect("a loss"));
        for parts in [1, 2, 3, 4, 9] {
            let apart = slopes(questions.loss_in_parts(&parameters, batch.clone(), parts).expect("a loss"));
            assert_eq!(apart.len(), whole.len());
            for (apart, whole) in apart.iter().zip(&whole) {
                assert!((apart - whole).abs() <= 1e-4 * whole.abs().max(1.0), "in {parts} parts: {apart}, not {whole}");
            }
        }
    }
}
