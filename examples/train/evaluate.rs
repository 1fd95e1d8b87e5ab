//! How good is the model that was exported? Figures on held-out songs, each beside what real renders have.

use std::path::Path;

use candle_core::{Device, Tensor};
use heartstream_models::{
    ModelDirectory,
    heartcodec::{FlowJob, FlowOptions, HeartCodec},
    heartmula::{HeartMula, KeyedSampler, SamplingOptions},
    quality::{MelAnalyser, mel_distances},
    signal::KeyedNoise,
    weights::Checkpoint,
};

use crate::{
    autoencoder,
    codes::Coder,
    encoder::Encoder,
    error::Result,
    feed::Song,
    language::Language,
    spectral::Analyser,
    stage::{Setting, Stage},
};

/// Frames of the longest song that is written: one window.
const LONGEST: usize = 372;
/// Guidance of the language model, as the program's default.
const GUIDANCE: f64 = 1.5;

/// What is evaluated on how many songs.
pub struct Counts {
    /// Songs that are coded and decoded.
    pub coded: usize,
    /// Songs that are written from held-out words.
    pub written: usize,
}

/// Prints the figures of the checkpoint in `model`.
pub fn evaluate(setting: &Setting, model: &Path, counts: &Counts) -> Result<()> {
    let directory = ModelDirectory::open(Checkpoint::Directory(model.to_owned()))?;
    let codec = directory.load_codec(&Device::Cpu)?;
    round_trips(setting, &codec, counts.coded)?;
    let mut language = Language::new(setting)?;
    let weights = setting.weights_of(Language::NAME)?;
    language.parameters().adopt(&weights, &setting.device)?;
    for (name, value) in language.held_out()? {
        println!("language model, held out: {name} {value:.3}");
    }
    songs(setting, &directory, &codec, counts.written)
}

/// The mean log-mel distance of both channels.
fn distance(ours: &[Vec<f32>; 2], real: &Song) -> f64 {
    let mut analyser = MelAnalyser::new(48_000);
    let mut all = Vec::new();
    for (ours, real) in ours.iter().zip([&real.left, &real.right]) {
        let length = ours.len().min(real.len());
        all.extend(mel_distances(&analyser.log_mel(&ours[..length]), &analyser.log_mel(&real[..length])));
    }
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

fn latents_of(encoder: &Encoder, song: &Song, device: &Device) -> Result<Vec<f32>> {
    let sound = [song.left.as_slice(), &song.right].concat();
    let latents = encoder.forward(&Tensor::from_vec(sound, (2, song.left.len()), device)?)?;
    Ok(latents.transpose(0, 1)?.contiguous()?.flatten_all()?.to_vec1()?)
}

fn decoded(codec: &HeartCodec, codes: &[u16], seed: u64) -> Result<[Vec<f32>; 2]> {
    let latents = codes.len() / codec.flow.quantizer.codebooks() * 2;
    let mut noise = vec![0f32; latents * codec.flow.channels()];
    KeyedNoise::new(seed).fill_latent(0, &mut noise);
    let options = FlowOptions { steps: 10, guidance: 1.25 };
    let job = FlowJob { codes, noise: &noise, in_context: &[], options };
    Ok(codec.vocoder.decode(&codec.flow.solve(job, &|| false)?.unwrap_or_default())?)
}

fn round_trips(setting: &Setting, codec: &HeartCodec, count: usize) -> Result<()> {
    let (_, encoder) = autoencoder::finished(setting)?;
    let coder = Coder::open(setting)?;
    let (mut alone, mut whole) = (0.0, 0.0);
    for (place, song) in setting.source.songs(true, 0, setting.seed, setting.threads).take(count).enumerate() {
        let song = song?;
        alone += distance(&codec.vocoder.decode(&latents_of(&encoder, &song, &setting.device)?)?, &song);
        whole += distance(&decoded(codec, &coder.codes(&song)?, place as u64)?, &song);
    }
    println!("autoencoder alone, log-mel L1 of {count} held-out songs: {:.3} (at most 0.6)", alone / count as f64);
    println!("codec round trip, log-mel L1 of {count} held-out songs: {:.3} (at most 1.0)", whole / count as f64);
    Ok(())
}

/// The share of the energy between 250 and 2000 Hz that lies on the notes of the best-fitting major scale (which has the
/// notes of a minor one).
fn share_in_scale(analyser: &Analyser, sound: &[f32]) -> Result<f64> {
    let magnitudes = analyser.magnitudes(&Tensor::from_slice(sound, (1, sound.len()), &Device::Cpu)?)?;
    let energy = magnitudes.sqr()?.sum(1)?.flatten_all()?.to_vec1::<f32>()?;
    let mut chroma = [0f64; 12];
    for (bin, energy) in energy.iter().enumerate() {
        let hertz = bin as f64 * 48_000.0 / 4096.0;
        if (250.0..2000.0).contains(&hertz) {
            let pitch = (69.0 + 12.0 * (hertz / 440.0).log2()).round() as i64;
            chroma[pitch.rem_euclid(12) as usize] += f64::from(*energy);
        }
    }
    let total: f64 = chroma.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    let in_scale = |tonic: usize| [0, 2, 4, 5, 7, 9, 11].iter().map(|step| chroma[(tonic + step) % 12]).sum::<f64>();
    Ok((0..12).map(in_scale).fold(0.0, f64::max) / total)
}

/// Codes of a song for these words, and whether it ended by itself.
fn written(lm: &HeartMula, directory: &ModelDirectory, song: &Song, seed: u64) -> Result<(Vec<u16>, bool)> {
    let prompt = directory.load_tokenizer()?.prompt(&song.tags, &song.lyrics)?.ids;
    let mut sampler = KeyedSampler::new(SamplingOptions { temperature: 1.0, top_k: 50 }, KeyedNoise::new(seed))?;
    let mut state = lm.start(&prompt, GUIDANCE, LONGEST)?;
    let mut codes = Vec::new();
    for _ in 0..LONGEST {
        let frame = lm.next_frame(&mut state, &mut sampler)?;
        if frame.iter().any(|code| *code >= directory.ids.audio_eos) {
            return Ok((codes, true));
        }
        codes.extend(frame.into_iter().map(|code| code as u16));
    }
    Ok((codes, false))
}

fn songs(setting: &Setting, directory: &ModelDirectory, codec: &HeartCodec, count: usize) -> Result<()> {
    let lm = directory.load_lm(&Device::Cpu)?;
    let analyser = Analyser::new(4096, 2048, 1, &Device::Cpu)?;
    let (mut ours, mut real, mut ended, mut loudest, mut offset) = (0.0, 0.0, 0, 0f32, 0f64);
    let (mut lines, mut lengths) = (Vec::new(), Vec::new());
    let mut measured = 0;
    for (place, song) in setting.source.songs(true, 0, setting.seed, setting.threads).take(count).enumerate() {
        let song = song?;
        let (codes, by_itself) = written(&lm, directory, &song, place as u64)?;
        ended += usize::from(by_itself);
        lines.push(song.lyrics.lines().filter(|line| !line.is_empty() && !line.starts_with('[')).count() as f64);
        lengths.push((codes.len() / directory.lm.audio_num_codebooks) as f64);
        if codes.len() < 4 * directory.lm.audio_num_codebooks {
            continue;
        }
        let sound = decoded(codec, &codes, place as u64)?;
        let both = || sound.iter().flatten();
        loudest = both().fold(loudest, |loudest, x| loudest.max(x.abs()));
        offset = offset.max((both().map(|x| f64::from(*x)).sum::<f64>() / both().count().max(1) as f64).abs());
        ours += share_in_scale(&analyser, &sound[0])?;
        real += share_in_scale(&analyser, &song.left)?;
        measured += 1;
    }
    let mean = |sum: f64| sum / f64::from(measured.max(1));
    println!("energy in the best scale: {:.3} (real renders {:.3}; at least 0.85)", mean(ours), mean(real));
    println!("songs that end by themselves: {ended} of {count} (at least 90 %)");
    println!("correlation of lines and length: {:.3} (at least 0.8)", correlation(&lines, &lengths));
    println!("largest sample {loudest:.3} (below 1), largest mean of a song {offset:.5}");
    Ok(())
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len().max(1) as f64;
    let (ma, mb) = (mean(a), mean(b));
    let products =
        |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 { x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum() };
    products(a, ma, b, mb) / (products(a, ma, a, ma) * products(b, mb, b, mb)).sqrt().max(f64::MIN_POSITIVE)
}
