//! Stage (c): which codes follow from words and from codes? Backbone and depth decoder learn on the codes of the finished
//! codec, in the very prompts that the engine writes.

use candle_core::{D, DType, Tensor};
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
    feed::{Pool, Song, Songs},
    parameters::Parameters,
    stage::{Setting, Stage, first_song},
};

/// Songs of a step, and how many songs are there before the first one.
const BATCH: usize = 32;
const FIRST: usize = 512;
/// New songs that a whole batch brings.
const FRESH: f64 = 6.0;
/// Share of the songs that are learnt without their words, so that guidance works.
const UNCONDITIONAL: f64 = 0.1;
const MEASURED: usize = 64;

/// How much it counts that the backbone knows how many phrases are still to begin. Nothing in a song's next codes asks for
/// that before its end, so without it the words hardly steer the length.
const AWARE: f64 = 0.5;
/// More phrases than this are as many; and what a song without its words knows of them.
const MOST_PHRASES: u32 = 14;
const UNKNOWN: u32 = MOST_PHRASES + 1;

/// A song as this stage learns from it.
pub struct Written {
    /// Its words.
    pub prompt: PromptIds,
    /// Its codes, frame after frame.
    pub codes: Vec<u16>,
    /// Phrases that begin behind each frame.
    pub to_come: Vec<u32>,
}

/// Phrases that begin behind each of so many frames.
fn to_come(phrases: &[f64], frames: usize) -> Vec<u32> {
    let behind = |frame: usize| phrases.iter().filter(|start| **start > (frame as f64 + 1.0) * 0.08).count() as u32;
    (0..frames).map(|frame| behind(frame).min(MOST_PHRASES)).collect()
}

/// The stage.
pub struct Language<'a> {
    setting: &'a Setting,
    config: HeartMulaConfig,
    end: u32,
    parameters: Parameters,
    writer: Writer,
    songs: Songs,
    pool: Pool<Written>,
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

    /// Writes one.
    pub fn written(&self, song: &Song) -> Result<Written> {
        let prompt = self.tokenizer.prompt(&song.tags, &song.lyrics)?.ids;
        let to_come = to_come(&song.phrases, song.frames());
        Ok(Written { prompt, codes: self.coder.codes(song)?, to_come })
    }
}

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
}

impl<'a> Language<'a> {
    /// With first weights, on the finished codec.
    pub fn new(setting: &'a Setting) -> Result<Self> {
        let (writer, directory) = Writer::open(setting)?;
        let config = setting.size.lm(tokens::vocabulary_size());
        let first = first_song(setting, Self::NAME)?;
        let mut tensors = expected_tensors(&config);
        let classes = UNKNOWN as usize + 1;
        tensors.push(Expected::new("phrases_head.weight", &[classes, config.backbone.embed_dim]));
        Ok(Self {
            parameters: Parameters::new(&tensors, setting.seed, &setting.device)?,
            end: directory.ids.audio_eos,
            songs: setting.source.songs(false, first, setting.seed ^ 0xC, setting.threads),
            pool: Pool::new(4 * setting.pool, FRESH * setting.batch.unwrap_or(BATCH) as f64 / BATCH as f64),
            writer,
            config,
            setting,
        })
    }

    /// # Shapes
    /// - `ids` any shape; result one more dimension of `rows`: 1 at the id, 0 elsewhere
    fn one_hot(ids: &Tensor, rows: usize) -> Result<Tensor> {
        let numbers = Tensor::arange(0u32, rows as u32, ids.device())?;
        Ok(ids.unsqueeze(D::Minus1)?.broadcast_eq(&numbers)?.to_dtype(DType::F32)?)
    }

    fn losses(&self, shards: &Shards, batch: &[(&Written, bool)]) -> Result<Losses> {
        let device = &self.setting.device;
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
        let text = Self::one_hot(&Tensor::from_vec(text, batch.len() * longest, device)?, words + 2)?;
        let sounds = get("audio_embeddings.weight", &[rows * books, width])?;
        let audio = Self::one_hot(&Tensor::from_vec(audio, (batch.len() * longest, books), device)?, rows)?;
        let audio = audio.reshape((batch.len() * longest, books * rows))?;
        let embedded = (text.matmul(&table)? + audio.matmul(&sounds)?)?;
        let backbone = Transformer::load(&self.config.backbone, shards, "backbone", device)?;
        let mut cache = KvCache::new(&self.config.backbone, batch.len(), longest, device)?;
        let hidden = backbone.forward(&embedded.reshape((batch.len(), longest, width))?, &mut cache)?;

        // From the last position of the words on, each position tells the frame that follows; the last one, the end.
        let mut tellers = Vec::new();
        let mut lasts = Vec::new();
        let mut codes = Vec::new();
        let mut phrases = Vec::new();
        for (row, (song, conditional)) in batch.iter().enumerate() {
            phrases.extend(song.to_come.iter().map(|count| if *conditional { *count } else { UNKNOWN }));
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

        let classes = UNKNOWN as usize + 1;
        let phrases = Self::one_hot(&Tensor::from_vec(phrases, count, device)?, classes)?;
        let known = Linear::load(shards, "phrases_head", [classes, width], false, device)?;
        let phrases = cross_entropy(&known.forward(&tellers)?, &phrases)?;

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
        Ok(Losses { codebooks: losses, end, phrases })
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
    const PARTS: &'static [&'static str] = &["first", "second", "last", "end", "phrases"];

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let (songs, writer) = (&mut self.songs, &self.writer);
        self.pool.refill(FIRST, || {
            let song = songs.next().unwrap_or_else(|| unreachable!("songs do not end"))?;
            writer.written(&song)
        })?;
        let mut dice = Dice::new(&[self.setting.seed, 4, step as u64]);
        let batch: Vec<(&Written, bool)> = (0..self.setting.batch.unwrap_or(BATCH))
            .map(|_| (self.pool.pick(&mut dice), dice.unit() >= UNCONDITIONAL))
            .collect();
        let Losses { codebooks, end, phrases } = self.losses(&self.parameters.shards(), &batch)?;
        // The first codebook says most and is told from the least.
        let mut loss = (&codebooks[0] * 2.0)?;
        for codebook in &codebooks[1..] {
            loss = (loss + codebook)?;
        }
        let parts = [&codebooks[0], &codebooks[1], &codebooks[codebooks.len() - 1], &end, &phrases].map(Tensor::detach);
        Ok((((loss + (end * 0.1)?)? + (phrases * AWARE)?)?, parts.to_vec()))
    }

    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let songs = self.setting.source.songs(true, 0, self.setting.seed, self.setting.threads);
        let written = songs
            .take(self.setting.measured.unwrap_or(MEASURED))
            .map(|song| self.writer.written(&song?))
            .collect::<Result<Vec<_>>>()?;
        let shards = self.parameters.frozen_shards();
        let books = self.config.audio_num_codebooks;
        let mut sums = vec![0.0; books + 1];
        for few in written.chunks(4) {
            let batch: Vec<_> = few.iter().map(|song| (song, true)).collect();
            let Losses { codebooks, end, .. } = self.losses(&shards, &batch)?;
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
