//! Stage (c), language model: backbone and depth decoder are trained on the codes of the finished codec, in the very
//! prompts that the engine writes.

use candle_core::Tensor;
use heartstream_models::{ModelDirectory, SongDefaults, heartmula::prompt_positions, weights::Checkpoint};

use crate::{
    copies,
    corpus::Manner,
    error::Result,
    export,
    feed::{Pool, Songs, some},
    parameters::Parameters,
    questions::{self, Losses, Questions},
    rng::Rng,
    setting::Setting,
    stage::{Stage, first_song},
    written::{Writer, Written},
};

/// Songs of a step: 32 that last a minute did not fit into the 139 GB of an H200, 12 took 66 GB.
const BATCH: usize = 12;
/// Songs that are there before the first step.
const FIRST: usize = 512;
/// New songs that a whole batch brings.
const FRESH: f64 = 1.5;
/// Batches that are drawn together and told apart by length, of which one is learnt from.
const LENGTHS: usize = 4;
/// Positions of a batch of nothing but sequences of copies, and frames of one at least.
const COPIED: usize = 400;
const LEAST_COPIED: usize = 32;
/// Share of the songs that are learnt without their words, so that guidance works.
const UNCONDITIONAL: f64 = 0.1;
const MEASURED: usize = 64;
/// Steps of a part behind which as many frames are read as drawn as ever: the model has to find its place first.
const DRAWN_RISE: f64 = 400.0;

/// The stage.
pub struct Language<'a> {
    manner: Manner,
    setting: &'a Setting,
    questions: Questions,
    parameters: Parameters,
    writer: Writer,
    songs: Songs,
    pool: Pool<Written>,
}

impl<'a> Language<'a> {
    /// With first weights, on the finished codec, and with the tokenizer that is exported.
    pub fn new(setting: &'a Setting) -> Result<Self> {
        let folder = setting.run.join("words");
        export::write_configs(setting.size, &SongDefaults::default(), &folder)?;
        let manner = if setting.short { Manner::ShortForm } else { Manner::Form };
        Self::of(setting, &ModelDirectory::open(Checkpoint::Directory(folder))?, manner)
    }

    /// With first weights, for the words of a checkpoint, and songs in this manner.
    pub fn of(setting: &'a Setting, directory: &ModelDirectory, manner: Manner) -> Result<Self> {
        let writer = Writer::open(setting, directory)?;
        let config = directory.lm.clone();
        let first = first_song(setting, Self::NAME)?;
        let tensors = questions::expected(&config);
        let songs_of_a_batch = setting.batch.unwrap_or(BATCH) as f64 * (1.0 - setting.copies);
        Ok(Self {
            parameters: Parameters::new(&tensors, setting.seed, &setting.device)?,
            questions: Questions { config, end: directory.ids.audio_eos, device: setting.device.clone() },
            songs: setting.source.songs(false, manner, first, setting.seed ^ 0xC, setting.threads),
            pool: Pool::new(4 * setting.pool, FRESH * songs_of_a_batch / BATCH as f64),
            manner,
            writer,
            setting,
        })
    }
}

impl Language<'_> {
    /// A batch read in part as the model would sing it itself: with its own draws from a pass over the batch as it is, or
    /// from as many passes as are set, each over what the one before drew. They are passes as the one that is learnt
    /// from, but no gradient goes back through them.
    fn with_draws(&self, batch: Vec<(Written, bool)>, share: f64, rng: &mut Rng) -> Result<Vec<(Written, bool)>> {
        let mut read = batch.clone();
        for _ in 0..self.setting.draw_passes {
            let rows: Vec<_> = read.iter().map(|(song, conditional)| (song, *conditional)).collect();
            let drawn = self.questions.drawn(&self.parameters.store(), &rows, rng)?;
            let rows = batch.iter().zip(drawn);
            let drawn = |((song, conditional), drawn): (&(Written, bool), Vec<u16>)| {
                (song.clone().with_draws(&drawn, share, rng), *conditional)
            };
            read = rows.map(drawn).collect();
        }
        Ok(read)
    }
}

/// `count` rows of about one length, and whether each is learnt with its words: what is behind the end of a shorter one
/// is computed for nothing. A share of them are sequences of copies, the others songs, each song of the pool as likely as
/// every other.
fn batch_of(pool: &Pool<Written>, count: usize, copies: f64, books: usize, rng: &mut Rng) -> Vec<(Written, bool)> {
    let made = ((copies * count as f64).round() as usize).min(count);
    let length = |song: &Written| prompt_positions(&song.prompt) + song.frames();
    let mut rows = Vec::with_capacity(count);
    if made < count {
        let count = count - made;
        let mut songs: Vec<&Written> = (0..count * LENGTHS).map(|_| pool.pick(rng)).collect();
        songs.sort_by_key(|song| length(song));
        let first = count * rng.below(LENGTHS);
        for song in &songs[first..first + count] {
            rows.push(((*song).clone().with_mistakes(rng), rng.unit() >= UNCONDITIONAL));
        }
    }
    let longest = rows.iter().map(|(song, _)| length(song)).max().unwrap_or(COPIED);
    for _ in 0..made {
        let copies = copies::sequence(pool, longest.max(LEAST_COPIED), books, rng).with_mistakes(rng);
        rows.push((copies, true));
    }
    rows
}

impl Stage for Language<'_> {
    const NAME: &'static str = "language";
    const RATE: f64 = 8e-4;
    const PARTS: &'static [&'static str] = questions::PARTS;

    fn parameters(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    fn loss(&mut self, step: usize) -> Result<(Tensor, Vec<Tensor>)> {
        let (songs, writer) = (&mut self.songs, &self.writer);
        self.pool.refill(FIRST, |count| writer.written(&some(songs, count)?))?;
        let mut rng = Rng::new(&[self.setting.seed, 4, step as u64]);
        let (count, books) = (self.setting.batch.unwrap_or(BATCH), self.questions.config.audio_num_codebooks);
        let mut batch = batch_of(&self.pool, count, self.setting.copies, books, &mut rng);
        let drawn = self.setting.drawn * (step as f64 / DRAWN_RISE).min(1.0);
        if drawn > 0.0 {
            batch = self.with_draws(batch, drawn, &mut rng)?;
        }
        let batch = batch.iter().map(|(song, conditional)| (song, *conditional)).collect();
        self.questions.loss(&self.parameters, batch, self.setting.threads)
    }

    fn held_out(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let songs = self.setting.source.songs(true, self.manner, 0, self.setting.seed, self.setting.threads);
        let mut written = Vec::new();
        for song in songs.take(self.setting.measured.unwrap_or(MEASURED)) {
            written.extend(self.writer.written(&[song?])?);
        }
        let store = self.parameters.frozen_shards();
        let books = self.questions.config.audio_num_codebooks;
        let mut sums = vec![0.0; books + 3];
        for few in written.chunks(4) {
            let batch: Vec<_> = few.iter().map(|song| (song, true)).collect();
            let Losses { codebooks, end, apart: [new, again, _], .. } = self.questions.losses(&store, &batch)?;
            for (sum, loss) in sums.iter_mut().zip(codebooks.iter().chain([&end, &new, &again])) {
                *sum += f64::from(loss.to_scalar::<f32>()?) / std::f64::consts::LN_2 / written.chunks(4).len() as f64;
            }
        }
        let mut measured = Vec::new();
        for (book, bits) in sums[..books].iter().enumerate() {
            let [unigram, repeat] = baselines(&written, book, books);
            let [ours, by_frequency, by_repeating] = FIGURES[book];
            measured.extend([(ours, *bits), (by_frequency, unigram), (by_repeating, repeat)]);
        }
        measured.extend([("bits_end", sums[books]), ("bits_new", sums[books + 1]), ("bits_again", sums[books + 2])]);
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
