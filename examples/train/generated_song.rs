//! Generated songs of a finished checkpoint, with the rows of the codebooks behind them: the encoder's training data.

use candle_core::{Device, Tensor};
use heartstream_models::{
    ModelDirectory,
    heartcodec::{Flow, FlowJob, HeartCodec},
    heartmula::{HeartMula, KeyedSampler, Sampling},
    signal::{KeyedNoise, REFERENCE_WINDOW},
    text::PromptTokenizer,
};

use crate::{error::Result, feed::Song, semantic::codebook};

/// Default sampling; but without guidance, which makes them more alike than songs are.
const SAMPLING: Sampling = Sampling { temperature: 1.0, top_k: 50, cfg_scale: 1.5 };
const GUIDANCE: f64 = 1.0;

/// A checkpoint that sings.
pub struct SampleGenerator {
    lm: HeartMula,
    codec: HeartCodec,
    tokenizer: PromptTokenizer,
    end: u32,
    /// The rows of each codebook, one after the other.
    codebooks: Vec<Vec<f32>>,
    width: usize,
}

/// A song of a checkpoint.
pub struct GeneratedSong {
    /// How it sounds.
    pub song: Song,
    /// The sums of the rows that it was sung from, frame after frame.
    pub rows: Vec<f32>,
}

impl SampleGenerator {
    /// This checkpoint, on the processor.
    pub fn open(directory: &ModelDirectory) -> Result<Self> {
        let store = directory.codec_store()?;
        let sizes = &directory.codec;
        let rows = |quantizer| {
            let shape = [1, sizes.codebook_size, sizes.codebook_dim];
            Ok(store.tensor(&codebook(quantizer), &shape, &Device::Cpu)?.flatten_all()?.to_vec1()?)
        };
        Ok(Self {
            lm: directory.load_lm(&Device::Cpu)?,
            codec: directory.load_codec(&Device::Cpu)?,
            tokenizer: directory.load_tokenizer()?,
            end: directory.ids.audio_eos,
            codebooks: (0..sizes.num_quantizers).map(rows).collect::<Result<_>>()?,
            width: sizes.codebook_dim,
        })
    }

    /// Its codebooks, \[1, rows, width\] each, by name.
    pub fn codebooks(&self, device: &Device) -> Result<Vec<(String, Tensor)>> {
        let one = |(quantizer, rows): (usize, &Vec<f32>)| {
            let shape = (1, rows.len() / self.width, self.width);
            Ok((codebook(quantizer), Tensor::from_slice(rows, shape, device)?))
        };
        self.codebooks.iter().enumerate().map(one).collect()
    }

    /// Songs by the words of others, each with the seed of its place behind `first`, on `threads` threads. One that
    /// ends before it has a frame is left out.
    ///
    /// # Errors
    /// When words cannot be read, or the model fails.
    pub fn generated_songs(&self, words: &[Song], first: usize, threads: usize) -> Result<Vec<Option<GeneratedSong>>> {
        each(words, first, threads, |words, seed| self.generated(words, seed))
    }

    fn generated(&self, words: &Song, seed: u64) -> Result<Option<GeneratedSong>> {
        let codes = self.written(words, seed)?;
        if codes.is_empty() {
            return Ok(None);
        }
        let sound = sung(&self.codec, &codes, seed)?;
        let rows = codes.chunks(self.codebooks.len()).flat_map(|frame| self.row(frame)).collect();
        Ok(Some(GeneratedSong { song: Song::sounding(&words.tags, &words.lyrics, sound, words.key), rows }))
    }

    /// The codes of a song, frame after frame, as far as all of them have a row.
    fn written(&self, words: &Song, seed: u64) -> Result<Vec<u16>> {
        let prompt = self.tokenizer.prompt(&words.tags, &words.lyrics)?.ids;
        let mut state = self.lm.start(&prompt, GUIDANCE, REFERENCE_WINDOW)?;
        let mut sampler = KeyedSampler::new(SAMPLING, KeyedNoise::new(seed))?;
        let rows = self.codebooks.first().map_or(0, Vec::len) / self.width;
        let mut codes = Vec::new();
        for _ in 0..REFERENCE_WINDOW {
            let frame = self.lm.next_frame(&mut state, &mut sampler)?;
            if frame.iter().any(|code| *code >= self.end || *code as usize >= rows) {
                break;
            }
            codes.extend(frame.into_iter().map(|code| code as u16));
        }
        Ok(codes)
    }

    fn row(&self, frame: &[u16]) -> Vec<f32> {
        let mut sum = vec![0f32; self.width];
        for (rows, code) in self.codebooks.iter().zip(frame) {
            let row = &rows[usize::from(*code) * self.width..][..self.width];
            sum.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
        }
        sum
    }
}

/// What is made of each song's words and seed, on `threads` threads, in their order.
pub fn each<W: Sync, T: Send>(
    words: &[W],
    first: usize,
    threads: usize,
    one: impl Fn(&W, u64) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let (threads, one) = (threads.max(1), &one);
    let mut all = Vec::with_capacity(words.len());
    for (round, some) in words.chunks(threads).enumerate() {
        let first = first + round * threads;
        all.extend(std::thread::scope(|scope| {
            let songs = some.iter().enumerate();
            let begun: Vec<_> =
                songs.map(|(place, words)| scope.spawn(move || one(words, (first + place) as u64))).collect();
            let joined = begun.into_iter().map(|song| song.join().unwrap_or_else(|p| std::panic::resume_unwind(p)));
            joined.collect::<Result<Vec<_>>>()
        })?);
    }
    Ok(all)
}

/// The latents that a codec makes of codes, a window long at most, as the engine has it do by default.
fn latents(codec: &HeartCodec, codes: &[u16], seed: u64) -> Result<Vec<f32>> {
    let latents = codes.len() / codec.flow.quantizer.codebooks() * 2;
    let mut noise = vec![0f32; latents * codec.flow.channels()];
    KeyedNoise::new(seed).fill_latent(0, &mut noise);
    let options = Flow { steps: 10, guidance: 1.25 };
    let job = FlowJob { codes, noise: &noise, in_context: &[], options };
    Ok(codec.flow.solve(job, &|| false)?.unwrap_or_default())
}

/// Both channels of a song from codes, a window long at most.
///
/// # Errors
/// When the codes are not whole frames of this codec.
pub fn sung(codec: &HeartCodec, codes: &[u16], seed: u64) -> Result<[Vec<f32>; 2]> {
    Ok(codec.vocoder.decode(&latents(codec, codes, seed)?)?)
}
