//! Losses of the language model: a batch, forward in one go for every position.

use candle_core::{D, DType, Device, Tensor};
use heartstream_models::{
    heartmula::{HeartMulaConfig, KvCache, Transformer, expected_tensors, prompt_positions},
    kernels::Linear,
    weights::{Expected, TensorStore},
};

use crate::{
    again::NEW,
    error::Result,
    feed::{KEYS, PLACES},
    parameters::Parameters,
    rng::Rng,
    written::Written,
};

/// How much it counts that the backbone knows how many phrases are still to begin. Nothing in a song's next codes asks
/// for that before its end, so without it the words hardly steer the length.
const AWARE: f64 = 0.5;
/// More phrases than this are as many; and what a song without its words knows of them.
pub const MOST_PHRASES: u32 = 18;
const UNKNOWN: u32 = MOST_PHRASES + 1;

/// How much it counts that the backbone knows the key: who forgets it wanders.
const IN_KEY: f64 = 0.2;
/// How much it counts that the backbone knows which phrase of which part it is in: only so can it play that again.
const IN_PLACE: f64 = 0.2;

/// How much the first codebook counts, and each later one: the first says most and is told from the least.
const FIRST_BOOK: f64 = 2.0;
const LATER_BOOK: f64 = 1.5;
/// How much more a frame that is played again counts in later codebooks, beside one that is new. A model that learns all
/// codebooks alike copies the first one and makes the others up.
const LATER_AGAIN: f64 = 2.0;

/// What the backbone is asked beside the codes, and how many answers there are.
const HEADS: [(&str, usize); 3] =
    [("phrases_head", UNKNOWN as usize + 1), ("key_head", KEYS), ("place_head", PLACES + 1)];

/// What a model learns: its own tensors, and the heads that only these questions need.
pub fn expected(config: &HeartMulaConfig) -> Vec<Expected> {
    let width = config.backbone.embed_dim;
    let heads = HEADS.iter().map(|(name, classes)| Expected::new(format!("{name}.weight"), &[*classes, width]));
    expected_tensors(config).into_iter().chain(heads).collect()
}

/// What the parts of a loss are called.
pub const PARTS: &[&str] = &["first", "second", "last", "end", "phrases", "key", "place", "new", "again", "copied"];

/// Songs, and whether each is learnt with its words.
type Batch<'a> = [(&'a Written, bool)];

/// The id of no row: its embedding is nothing.
const NOTHING: u32 = u32::MAX;

/// How much a whole batch has, of which losses are the mean: a part of it has a part of that.
#[derive(Clone, Copy, Default)]
struct Whole {
    songs: f64,
    means: [f64; MEANS],
}

/// What is a mean over the frames of a batch: what is learnt from in the first codebook and in later ones, all frames of
/// songs, those that are new, those that are played again, and those of sequences of copies that are learnt from.
const MEANS: usize = 6;
/// The place of all frames of songs.
const OF_SONGS: usize = 2;

/// How much a frame counts in each mean.
fn shares(song: &Written, frame: usize) -> [f64; MEANS] {
    let (weight, new) = (song.weights[frame], song.sources[frame] == NEW);
    let is = |holds: bool| f64::from(u8::from(holds));
    let of_song = song.form.is_some();
    let copied = is(!of_song && weight > 0.0);
    let (weight, again) = (f64::from(weight), if new { 1.0 } else { LATER_AGAIN });
    [weight, weight * again, is(of_song), is(of_song && new), is(of_song && !new), copied]
}

impl Whole {
    fn of(batch: &Batch<'_>) -> Self {
        let mut whole = Self::default();
        for (song, _) in batch {
            whole.songs += f64::from(u8::from(song.form.is_some()));
            for frame in 0..song.frames() {
                whole.means.iter_mut().zip(shares(song, frame)).for_each(|(sum, share)| *sum += share);
            }
        }
        whole
    }
}

/// Cross-entropies of a batch.
pub struct Losses {
    /// In nats, the mean for each codebook: each frame counts as much as it is learnt from.
    learnt: Vec<Tensor>,
    /// The mean of the frames of songs.
    pub codebooks: Vec<Tensor>,
    /// The mean of all codebooks where songs are new, where they play again, and where sequences copy.
    pub apart: [Tensor; 3],
    /// Of the frame behind the last: that the song ends.
    pub end: Tensor,
    /// Of how many phrases are to come.
    phrases: Tensor,
    /// Of which key it is.
    key: Tensor,
    /// Of which phrase of which part it is.
    place: Tensor,
}

/// What a model of some size is asked.
pub struct Questions {
    /// The sizes.
    pub config: HeartMulaConfig,
    /// The code that ends a song.
    pub end: u32,
    /// Where is computed.
    pub device: Device,
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

    /// How wrong a model with these tensors is.
    pub fn losses(&self, store: &TensorStore, batch: &Batch<'_>) -> Result<Losses> {
        self.losses_of(store, batch, Whole::of(batch))
    }

    /// The loss of a whole batch, and its parts by the names of [`PARTS`]; on a processor on several threads.
    pub fn loss(
        &self,
        parameters: &Parameters,
        batch: Vec<(&Written, bool)>,
        threads: usize,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        if self.device.is_cpu() {
            return self.loss_in_parts(parameters, batch, threads);
        }
        self.loss_of(&parameters.store(), &batch, Whole::of(&batch))
    }

    /// What the backbone makes of each position of a batch, which is as long as its longest row, \[B, T, D\].
    fn hidden(&self, store: &TensorStore, batch: &Batch<'_>) -> Result<Tensor> {
        let device = &self.device;
        let HeartMulaConfig { audio_vocab_size: rows, audio_num_codebooks: books, text_vocab_size: words, .. } =
            self.config;
        let width = self.config.backbone.embed_dim;
        let longest = batch.iter().map(|(song, _)| prompt_positions(&song.prompt) + song.frames()).max().unwrap_or(0);

        // Every position is a word, the empty slot, "no words", or a frame; what is behind the end is nothing.
        let (slot, no_words) = (words as u32, words as u32 + 1);
        let mut text = vec![NOTHING; batch.len() * longest];
        let mut audio = vec![NOTHING; batch.len() * longest * books];
        for (row, (song, conditional)) in batch.iter().enumerate() {
            let prompt = song.prompt.tags.iter().copied().chain([slot]).chain(song.prompt.lyrics.iter().copied());
            for (place, id) in prompt.enumerate() {
                text[row * longest + place] = if *conditional { id } else { no_words };
            }
            let start = (row * longest + prompt_positions(&song.prompt)) * books;
            for (place, code) in song.read.iter().enumerate() {
                audio[start + place] = u32::from(*code);
            }
        }
        let get = |name: &str, shape: &[usize]| store.tensor(name, shape, device);
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
        let backbone = Transformer::load(&self.config.backbone, store, "backbone", device)?;
        let mut cache = KvCache::new(&self.config.backbone, batch.len(), longest, device)?;
        Ok(backbone.forward(&embedded.reshape((batch.len(), longest, width))?, &mut cache)?)
    }

    /// The positions of `hidden` that tell a frame of a row.
    fn tellers(hidden: &Tensor, row: usize, song: &Written) -> Result<Tensor> {
        let first = prompt_positions(&song.prompt) - 1;
        Ok(hidden.narrow(0, row, 1)?.squeeze(0)?.narrow(0, first, song.frames())?)
    }

    /// The depth decoder sees the teller, then code after code, and tells the next code from the second place on: the
    /// logits of each codebook but the first.
    ///
    /// # Shapes
    /// - `tellers` \[N, D\], `heard` 1 at each code of all codebooks \[N, K, V\]; results \[N, V\]
    fn depth(&self, store: &TensorStore, tellers: &Tensor, heard: &Tensor) -> Result<Vec<Tensor>> {
        let (device, count) = (&self.device, tellers.dim(0)?);
        let HeartMulaConfig { audio_vocab_size: rows, audio_num_codebooks: books, .. } = self.config;
        let (width, inner) = (self.config.backbone.embed_dim, self.config.decoder.embed_dim);
        let sounds = store.tensor("audio_embeddings.weight", &[rows * books, width], device)?;
        let tables = sounds.reshape((books, rows, width))?.narrow(0, 0, books - 1)?;
        let heard = heard.narrow(1, 0, books - 1)?.transpose(0, 1)?.contiguous()?;
        let heard = heard.matmul(&tables.contiguous()?)?.transpose(0, 1)?; // [N, K - 1, D]
        let inputs = Tensor::cat(&[&tellers.unsqueeze(1)?, &heard.contiguous()?], 1)?.contiguous()?;
        let projection = Linear::load(store, "projection", [inner, width], false, device)?;
        let decoder = Transformer::load(&self.config.decoder, store, "decoder", device)?;
        let mut cache = KvCache::new(&self.config.decoder, count, books, device)?;
        let told = decoder.forward(&projection.forward(&inputs)?, &mut cache)?; // [N, K, D']
        let heads = store.tensor("audio_head", &[books - 1, inner, rows], device)?;
        let logits = |book: usize| -> Result<Tensor> {
            let told = told.narrow(1, book, 1)?.squeeze(1)?.contiguous()?;
            Ok(told.matmul(&heads.get(book - 1)?)?)
        };
        (1..books).map(logits).collect()
    }

    /// The codes that a model with these tensors draws for each frame of each row, having read what is before that frame
    /// in it: all frames in parallel, the codebooks of a frame one after the other.
    pub fn drawn(&self, store: &TensorStore, batch: &Batch<'_>, rng: &mut Rng) -> Result<Vec<Vec<u16>>> {
        let HeartMulaConfig { audio_vocab_size: rows, audio_num_codebooks: books, .. } = self.config;
        let hidden = self.hidden(store, batch)?.detach();
        let tellers = batch.iter().enumerate().map(|(row, (song, _))| Self::tellers(&hidden, row, song));
        let tellers = Tensor::cat(&tellers.collect::<Result<Vec<_>>>()?, 0)?;
        let head = Linear::load(store, "codebook0_head", [rows, self.config.backbone.embed_dim], false, &self.device)?;
        let mut codes = vec![self.draw(&head.forward(&tellers)?, rng)?];
        let nothing = Tensor::zeros_like(&codes[0])?;
        while codes.len() < books {
            // What was not drawn yet is not seen by what is asked for now.
            let heard = codes.iter().chain(std::iter::repeat(&nothing)).take(books).collect::<Vec<_>>();
            let heard = Self::one_hot(&Tensor::stack(&heard, 1)?, rows)?;
            codes.push(self.draw(&self.depth(store, &tellers, &heard)?[codes.len() - 1], rng)?);
        }
        let codes = Tensor::stack(&codes, 1)?.flatten_all()?.to_vec1::<u32>()?;
        let mut codes = codes.into_iter().map(|code| code as u16);
        Ok(batch.iter().map(|(song, _)| codes.by_ref().take(song.frames() * books).collect()).collect())
    }

    /// A code for each row, as likely as its logits say. None of them ends a song.
    ///
    /// # Shapes
    /// - `logits` \[N, V\]; result \[N\]
    fn draw(&self, logits: &Tensor, rng: &mut Rng) -> Result<Tensor> {
        let codes = self.end as usize;
        let logits = logits.detach().narrow(1, 0, codes)?.contiguous()?;
        let weights = logits.broadcast_sub(&logits.max_keepdim(1)?)?.exp()?;
        let sums = weights.cumsum(1)?;
        let count = logits.dim(0)?;
        let places: Vec<f32> = (0..count).map(|_| rng.unit() as f32).collect();
        let places = Tensor::from_vec(places, (count, 1), &self.device)?;
        let places = places.mul(&sums.narrow(1, codes - 1, 1)?)?;
        let below = sums.broadcast_le(&places)?.to_dtype(DType::F32)?.sum(1)?;
        Ok(below.minimum((codes - 1) as f64)?.to_dtype(DType::U32)?)
    }

    fn losses_of(&self, store: &TensorStore, batch: &Batch<'_>, whole: Whole) -> Result<Losses> {
        let device = &self.device;
        let HeartMulaConfig { audio_vocab_size: rows, audio_num_codebooks: books, .. } = self.config;
        let width = self.config.backbone.embed_dim;
        let hidden = self.hidden(store, batch)?;

        // From the last position of the words on, each position tells the frame that follows; the last one, the end.
        let mut tellers = Vec::new();
        let (mut of_songs, mut lasts) = (Vec::new(), Vec::new());
        let (mut codes, mut heard) = (Vec::new(), Vec::new());
        let mut counts = Vec::new();
        let (mut phrases, mut keys, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (row, (song, conditional)) in batch.iter().enumerate() {
            let told = Self::tellers(&hidden, row, song)?;
            if let Some(form) = &song.form {
                phrases.extend(form.to_come.iter().map(|count| if *conditional { *count } else { UNKNOWN }));
                keys.extend(std::iter::repeat_n(form.key, song.frames()));
                places.extend_from_slice(&form.places);
                let last = prompt_positions(&song.prompt) - 1 + song.frames();
                lasts.push(hidden.narrow(0, row, 1)?.squeeze(0)?.narrow(0, last, 1)?);
                of_songs.push(told.clone());
            }
            tellers.push(told);
            codes.extend(song.codes.iter().map(|code| u32::from(*code)));
            heard.extend(song.heard.iter().map(|code| u32::from(*code)));
            counts.extend((0..song.frames()).flat_map(|frame| {
                let shares = shares(song, frame).into_iter().zip(whole.means);
                shares.map(|(share, all)| if all > 0.0 { (share / all) as f32 } else { 0.0 })
            }));
        }
        let tellers = Tensor::cat(&tellers, 0)?;
        let count = tellers.dim(0)?;
        let counts = Tensor::from_vec(counts, (count, MEANS), device)?;
        let codes = Tensor::from_vec(codes, (count, books), device)?;
        let one_hot = Self::one_hot(&codes, rows)?; // [N, K, V]
        let heard = Self::one_hot(&Tensor::from_vec(heard, (count, books), device)?, rows)?;
        let head = Linear::load(store, "codebook0_head", [rows, width], false, device)?;
        let means = |logits: &Tensor, book: usize| -> Result<Tensor> {
            let nats = cross_entropies(logits, &one_hot.narrow(1, book, 1)?.squeeze(1)?)?;
            Ok(nats.unsqueeze(0)?.matmul(&counts)?.squeeze(0)?)
        };
        let mut losses = vec![means(&head.forward(&tellers)?, 0)?];
        let nothing = || Tensor::zeros((), DType::F32, device);
        let (mut end, [mut phrases_asked, mut key, mut place]) = (nothing()?, [nothing()?, nothing()?, nothing()?]);
        if !lasts.is_empty() {
            let ends = Self::one_hot(&Tensor::full(self.end, lasts.len(), device)?, rows)?;
            let lasts = Tensor::cat(&lasts, 0)?;
            end = (cross_entropies(&head.forward(&lasts)?, &ends)?.sum_all()? / whole.songs)?;
            let of_songs = Tensor::cat(&of_songs, 0)?;
            let asked = |(name, classes): (&str, usize), truth: Vec<u32>| -> Result<Tensor> {
                let truth = Self::one_hot(&Tensor::from_vec(truth, of_songs.dim(0)?, device)?, classes)?;
                let head = Linear::load(store, name, [classes, width], false, device)?;
                Ok((cross_entropies(&head.forward(&of_songs)?, &truth)?.sum_all()? / whole.means[OF_SONGS])?)
            };
            (phrases_asked, key, place) = (asked(HEADS[0], phrases)?, asked(HEADS[1], keys)?, asked(HEADS[2], places)?);
        }

        for (logits, book) in self.depth(store, &tellers, &heard)?.iter().zip(1..) {
            losses.push(means(logits, book)?);
        }
        let all = (Tensor::stack(&losses, 0)?.sum(0)? / books as f64)?;
        let learnt = losses.iter().enumerate().map(|(book, means)| means.get(book.min(1)));
        Ok(Losses {
            learnt: learnt.collect::<candle_core::Result<_>>()?,
            codebooks: losses.iter().map(|means| means.get(OF_SONGS)).collect::<candle_core::Result<_>>()?,
            apart: [all.get(3)?, all.get(4)?, all.get(5)?],
            end,
            phrases: phrases_asked,
            key,
            place,
        })
    }

    /// What is learnt from, and its parts.
    fn loss_of(&self, store: &TensorStore, batch: &Batch<'_>, whole: Whole) -> Result<(Tensor, Vec<Tensor>)> {
        let Losses { learnt, codebooks, apart: [new, again, copied], end, phrases, key, place } =
            self.losses_of(store, batch, whole)?;
        let mut loss = (&learnt[0] * FIRST_BOOK)?;
        for codebook in &learnt[1..] {
            loss = (loss + (codebook * LATER_BOOK)?)?;
        }
        let last = &codebooks[codebooks.len() - 1];
        let parts = [&codebooks[0], &codebooks[1], last, &end, &phrases, &key, &place, &new, &again, &copied];
        let parts = parts.map(Tensor::detach);
        let beside = ((((end * 0.1)? + (phrases * AWARE)?)? + (key * IN_KEY)?)? + (place * IN_PLACE)?)?;
        Ok(((loss + beside)?, parts.to_vec()))
    }

    /// The same of a whole batch, for processors: `parts` parts of it at once, each forward and back on a thread of its
    /// own, for most operations have one. The loss that is returned has the value and the gradients of the whole.
    fn loss_in_parts(
        &self,
        parameters: &Parameters,
        mut batch: Vec<(&Written, bool)>,
        parts: usize,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let whole = Whole::of(&batch);
        // Songs of a length together: what is behind the end of a shorter one is computed for nothing.
        batch.sort_by_key(|(song, _)| prompt_positions(&song.prompt) + song.frames());
        let store = &parameters.store();
        let learnt = |part: &Batch<'_>| -> Result<_> {
            let (loss, parts) = self.loss_of(store, part, whole)?;
            Ok((loss.detach(), parts, loss.backward()?))
        };
        let learnt: Vec<_> = std::thread::scope(|scope| {
            let learnt = &learnt;
            let parts = batch.chunks(batch.len().div_ceil(parts.max(1)).max(1));
            let parts: Vec<_> = parts.map(|part| scope.spawn(move || learnt(part))).collect();
            parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let learnt = learnt.into_iter().collect::<Result<Vec<_>>>()?;
        let zero = || Tensor::zeros((), DType::F32, &self.device);
        let (mut total, mut slope) = (zero()?, zero()?);
        let mut sums = vec![zero()?; PARTS.len()];
        for (loss, parts, gradients) in &learnt {
            total = (total + loss)?;
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum = (&*sum + part)?;
            }
            slope = (slope + parameters.along(gradients)?)?;
        }
        // The gradients of `slope`, the value of `total`.
        Ok(((&slope + (total - slope.detach())?)?, sums))
    }
}

/// The cross-entropies in nats.
///
/// # Shapes
/// - `logits`, `one_hot` \[N, classes\]; result \[N\]
fn cross_entropies(logits: &Tensor, one_hot: &Tensor) -> Result<Tensor> {
    let logits = logits.broadcast_sub(&logits.detach().max_keepdim(1)?)?;
    Ok((logits.exp()?.sum(1)?.log()? - (logits * one_hot)?.sum(1)?)?)
}

#[cfg(test)]
mod tests {
    use heartstream_models::heartmula::PromptTokens;

    use super::*;
    use crate::{feed::NO_FORM, rng::Rng, sizes::Size, written::Form};

    #[test]
    fn codes_are_drawn_as_often_as_their_logits_say_and_none_of_them_ends_a_song() {
        let config = Size::Tiny.lm(40);
        let questions = Questions { config, end: 3, device: Device::Cpu };
        let count = 20_000;
        let weights = [1.0f32, 0.0, 3.0, 100.0];
        let logits = Tensor::new(weights.map(|weight| weight.ln().max(-1e9)).as_slice(), &Device::Cpu);
        let logits = logits.and_then(|logits| logits.unsqueeze(0)?.broadcast_as((count, 4))).expect("logits");
        let drawn = questions.draw(&logits, &mut Rng::new(&[6])).and_then(|drawn| Ok(drawn.to_vec1::<u32>()?));
        let drawn = drawn.expect("codes");
        let share = |code: u32| drawn.iter().filter(|drawn| **drawn == code).count() as f64 / count as f64;
        assert_eq!((share(1), share(3)), (0.0, 0.0));
        assert!((share(0) - 0.25).abs() < 0.02, "{}", share(0));
    }

    /// A model that is nearly sure of every code draws those that cost it next to nothing: each at its own frame, and
    /// later codebooks behind the first ones that were drawn.
    #[test]
    fn what_is_drawn_is_what_costs_least_where_it_was_drawn() {
        let config = Size::Tiny.lm(40);
        let parameters = Parameters::new(&expected(&config), 3, &Device::Cpu).expect("variables");
        let store = parameters.store();
        let sure = expected(&config).into_iter().map(|Expected { name, shape }| {
            let tensor = store.tensor(&name, &shape, &Device::Cpu).expect("a tensor");
            let longer = if ["codebook0_head.weight", "audio_head"].contains(&name.as_str()) { 1e4 } else { 1.0 };
            (name, (tensor * longer).expect("a tensor"))
        });
        let store = TensorStore::from_tensors(sure);
        let end = config.audio_vocab_size as u32;
        let questions = Questions { config, end, device: Device::Cpu };
        let mut rng = Rng::new(&[4]);
        let mut song = |frames: usize| {
            let codes: Vec<u16> = (0..frames * 3).map(|_| rng.below(32) as u16).collect();
            Written {
                prompt: PromptTokens { tags: vec![1, 2], lyrics: vec![3] },
                read: codes.clone(),
                heard: codes.clone(),
                codes,
                sources: vec![NEW; frames],
                weights: vec![1.0; frames],
                form: Some(Form { to_come: vec![0; frames], places: vec![0; frames], key: 0 }),
            }
        };
        let songs = [song(30), song(50)];
        let batch = songs.each_ref().map(|song| (song, true));
        let drawn = questions.drawn(&store, &batch, &mut Rng::new(&[5])).expect("draws");
        assert_eq!(drawn.iter().map(Vec::len).collect::<Vec<_>>(), [90, 150]);
        let cost = |songs: &[Written]| -> Vec<f32> {
            let batch: Vec<_> = songs.iter().map(|song| (song, true)).collect();
            let losses = questions.losses(&store, &batch).expect("losses").codebooks;
            losses.iter().map(|loss| loss.to_scalar::<f32>().expect("a number")).collect()
        };
        let as_drawn: Vec<Written> = songs
            .iter()
            .zip(&drawn)
            .map(|(song, drawn)| Written { codes: drawn.clone(), heard: drawn.clone(), ..song.clone() })
            .collect();
        let (drawn, written) = (cost(&as_drawn), cost(&songs));
        for (drawn, written) in drawn.iter().zip(&written) {
            assert!(*drawn < 1.0 && *written > 50.0 * drawn, "{drawn} nats where others cost {written}");
        }
    }

    #[test]
    fn a_batch_in_parts_is_learnt_as_it_is_at_once() {
        let config = Size::Tiny.lm(40);
        let parameters = Parameters::new(&expected(&config), 3, &Device::Cpu).expect("variables");
        let questions = Questions { config, end: 32, device: Device::Cpu };
        let mut rng = Rng::new(&[4]);
        let mut written = |frames: usize, conditional| {
            let mut ids = |count| (0..count).map(|_| rng.below(40) as u32).collect();
            let prompt = PromptTokens { tags: ids(3), lyrics: ids(2 * frames) };
            let codes: Vec<u16> = (0..frames * 3).map(|_| rng.below(32) as u16).collect();
            let to_come = (0..frames as u32).map(|frame| frame % MOST_PHRASES).collect();
            let places = (0..frames as u32).map(|frame| frame % NO_FORM).collect();
            let form = Form { to_come, places, key: rng.below(KEYS) as u32 };
            let sources = (0..frames as u32).map(|frame| if frame % 3 == 0 { NEW } else { 0 }).collect();
            let weights = (0..frames).map(|frame| (frame % 4) as f32).collect();
            let (read, heard) = (codes.clone(), codes.clone());
            (Written { prompt, codes, read, heard, sources, weights, form: Some(form) }, conditional)
        };
        let mut songs = [written(7, true), written(3, false), written(20, true), written(12, true)];
        songs[2].0.form = None;
        let batch: Vec<(&Written, bool)> = songs.iter().map(|(song, conditional)| (song, *conditional)).collect();
        let learnt = |(loss, parts): (Tensor, Vec<Tensor>)| -> Vec<Vec<f32>> {
            let gradients = loss.backward().expect("gradients");
            let numbers = |tensor: &Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("numbers");
            let values = [&loss].into_iter().chain(&parts).map(numbers);
            values.chain(parameters.gradients(&gradients).into_iter().map(|gradient| numbers(&gradient))).collect()
        };
        let whole =
            learnt(questions.loss_of(&parameters.store(), &batch, Whole::of(&batch)).expect("a loss of the whole"));
        for parts in [1, 2, 3, 4, 9] {
            let apart = learnt(questions.loss_in_parts(&parameters, batch.clone(), parts).expect("a loss of parts"));
            assert_eq!(apart.len(), whole.len());
            for (place, (apart, whole)) in apart.iter().zip(&whole).enumerate() {
                let largest = whole.iter().fold(1e-3f32, |largest, x| largest.max(x.abs()));
                let far = apart.iter().zip(whole).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                assert!(far <= 1e-4 * largest, "{parts} parts, number {place}: {far} beside {largest}");
            }
        }
    }
}
