//! Round trip of a sound: through latents, and through codes.

use candle_core::{Device, Tensor};
use heartstream_models::ModelDirectory;
use heartstream_tools::quality::{MelAnalyser, mel_distances};

use super::{
    Shown,
    chroma::share_in_scale,
    instruments::{InstrumentClassifier, tagged},
    wav,
};
use crate::{
    autoencoder, codes::Coder, corpus::Manner, encoder::Encoder, error::Result, feed::Song, generated_song::sung,
    setting::Setting,
};

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

/// What is measured of each song, and its mean.
#[derive(Default)]
struct Means {
    songs: f64,
    alone: f64,
    whole: f64,
    /// Energy in the best scale: of the render, from its latents, from its codes.
    in_scale: [f64; 3],
    recognised: usize,
    named: usize,
}

/// Prints both distances, the mean of `count` held-out songs, and what of scale and instrument is left: what a language
/// model writes goes through the same codec.
pub fn print(
    setting: &Setting,
    directory: &ModelDirectory,
    classifier: &InstrumentClassifier,
    count: usize,
    shown: &Shown,
) -> Result<()> {
    let codec = directory.load_codec(&Device::Cpu)?;
    let (_, encoder) = autoencoder::finished(setting)?;
    let coder = Coder::open(setting)?;
    let mut means = Means::default();
    for (place, song) in
        setting.source.songs(true, Manner::Excerpt, 0, setting.seed, setting.threads).take(count).enumerate()
    {
        let song = song?;
        let of_latents = codec.vocoder.decode(&latents_of(&encoder, &song, &setting.device)?)?;
        let path = coder.paths(std::slice::from_ref(&song))?.remove(0);
        let of_codes = sung(&codec, &path.codes_by_frame(), place as u64)?;
        means.songs += 1.0;
        means.alone += distance(&of_latents, &song);
        means.whole += distance(&of_codes, &song);
        for (sum, sound) in means.in_scale.iter_mut().zip([&song.left, &of_latents[0], &of_codes[0]]) {
            *sum += share_in_scale(sound)?;
        }
        if let Some(folder) = &shown.wavs {
            wav::write([&song.left, &song.right], folder, &format!("coded-{place:02}-real.wav"))?;
            wav::write([&of_latents[0], &of_latents[1]], folder, &format!("coded-{place:02}-from-latents.wav"))?;
            wav::write([&of_codes[0], &of_codes[1]], folder, &format!("coded-{place:02}-from-codes.wav"))?;
        }
        if let Some(tagged) = tagged(&song.tags) {
            let [left, right] = of_codes;
            means.named += 1;
            means.recognised += usize::from(classifier.classify(&Song { left, right, ..song })? == Some(tagged));
        }
    }
    means.print();
    Ok(())
}

impl Means {
    fn print(&self) {
        let Self { songs, alone, whole, in_scale, recognised, named } = self;
        println!("autoencoder alone, log-mel L1 of {songs} held-out songs: {:.3} (at most 0.6)", alone / songs);
        println!("codec round trip, log-mel L1 of {songs} held-out songs: {:.3} (at most 1.0)", whole / songs);
        let [real, latents, codes] = in_scale.map(|sum| sum / songs);
        println!(
            "  energy in the best scale: renders {real:.3}, from their latents {latents:.3}, from their codes {codes:.3}"
        );
        println!("  tagged instrument recognised from codes: {recognised} of {named}");
    }
}
