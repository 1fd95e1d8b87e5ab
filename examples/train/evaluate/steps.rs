//! Cost of fewer Euler steps: distances of songs to the same songs in a hundred steps, and what the instrument classifier
//! recognises in them.

use std::path::{Path, PathBuf};

use candle_core::Device;
use heartstream::{FirstWindow, Flow, Heartstream, Sink, Sinks, SongRequest, codes::SavedSong, units::Seconds};
use heartstream_models::{
    ModelDirectory, SongCodes,
    heartcodec::HeartCodec,
    signal::{KeyedNoise, SegmentPlan},
    weights::Checkpoint,
};
use heartstream_tools::quality::{MelAnalyser, mel_distances, signal_to_noise, spectral_convergence};

use super::{
    instruments::{InstrumentClassifier, tagged},
    rendered::failed,
    steps_plot,
};
use crate::{
    corpus::Manner,
    error::{Result, at},
    feed::Song,
    setting::Setting,
};

/// Steps that all others are compared with.
const GOLDEN: usize = 100;
/// Steps that are compared.
const STEPS: [usize; 6] = [20, 15, 10, 5, 4, 1];
/// Songs of each prompt.
const SEEDS: [u64; 2] = [1, 2];
/// Songs end here at the latest.
const LONGEST: Seconds = Seconds(20.0);

/// What a number of steps comes to, in the mean of all songs.
#[derive(Default, Clone)]
pub struct Cost {
    /// Euler steps.
    pub steps: usize,
    /// Mel distance to the golden song.
    pub mel: f64,
    /// Signal-to-noise ratio, dB.
    pub ratio: f64,
    /// Spectral convergence.
    pub convergence: f64,
    /// Share of the songs in which the tagged instrument is recognised.
    pub recognised: f64,
}

/// Prints a table of what fewer steps cost the checkpoint in `model`, on `prompts` held-out prompts with two songs each,
/// and draws it. The classifier learns from `taught` real renders.
pub fn print(setting: &Setting, model: &Path, prompts: usize, taught: usize, plot: Option<&PathBuf>) -> Result<()> {
    let checkpoint = Checkpoint::Directory(model.to_owned());
    let directory = ModelDirectory::open(checkpoint.clone())?;
    let codec = directory.load_codec(&Device::Cpu)?;
    let classifier = InstrumentClassifier::taught(setting, taught)?;
    let songs = written(setting, checkpoint, prompts)?;
    let mut costs: Vec<Cost> =
        std::iter::once(GOLDEN).chain(STEPS).map(|steps| Cost { steps, ..Cost::default() }).collect();
    for (place, (words, seed, codes)) in songs.iter().enumerate() {
        println!("  {place:>2}: {}, seed {seed}, {:.1} s", words.tags, codes.frames() as f64 * 0.08);
        let golden = decoded(&codec, codes, *seed, GOLDEN)?;
        for cost in &mut costs {
            let ours = if cost.steps == GOLDEN { golden.clone() } else { decoded(&codec, codes, *seed, cost.steps)? };
            cost.add(&classifier, words, ours, &golden)?;
        }
    }
    let count = songs.len().max(1) as f64;
    for cost in &mut costs {
        for sum in [&mut cost.mel, &mut cost.ratio, &mut cost.convergence, &mut cost.recognised] {
            *sum /= count;
        }
    }
    println!(
        "\n| steps | mel distance | SNR, dB | spectral convergence | instrument recognised |\n|---|---|---|---|---|"
    );
    for Cost { steps, mel, ratio, convergence, recognised } in &costs {
        println!("| {steps} | {mel:.4} | {ratio:.1} | {convergence:.3} | {:.1} % |", 100.0 * recognised);
    }
    plot.map_or(Ok(()), |path| std::fs::write(path, steps_plot::draw(&costs)).map_err(at(path)))
}

/// Songs of held-out words as codes, with their words and seeds.
fn written(setting: &Setting, checkpoint: Checkpoint, prompts: usize) -> Result<Vec<(Song, u64, SongCodes)>> {
    let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
    let folder = tempfile::tempdir().map_err(failed)?;
    let path = folder.path().join("song.codes");
    runtime.block_on(async {
        let engine = Heartstream::builder(checkpoint).build().await.map_err(failed)?;
        let mut songs = Vec::new();
        // In the order of the corpus, those whose instrument the classifier can name.
        let prompts = setting.source.songs(true, Manner::Excerpt, 0, setting.seed, setting.threads).take(prompts);
        for words in prompts {
            let words = words?;
            for seed in SEEDS {
                // Only the codes are looked at, so the sound is made with as little work as can be.
                let flow = Flow { steps: 1, guidance: 1.0 };
                let request = SongRequest {
                    seed,
                    flow,
                    max_frames: LONGEST.frames(),
                    ..SongRequest::new(&words.tags, &words.lyrics)
                };
                let sinks = Sinks::from(Sink::Subscriber).and_codes(&path);
                let mut song = engine.sing_to(request, sinks).await.map_err(failed)?;
                while song.next_block().await.is_some() {}
                song.finished().await;
                let words = Song::sounding(&words.tags, &words.lyrics, [Vec::new(), Vec::new()], words.key);
                songs.push((words, seed, SavedSong::read(&path)?.codes));
            }
        }
        Ok(songs)
    })
}

/// Both channels of a song, cut as songs are by default.
fn decoded(codec: &HeartCodec, codes: &SongCodes, seed: u64, steps: usize) -> Result<[Vec<f32>; 2]> {
    let (first, look_ahead) = (FirstWindow::USUAL.0 as usize, SongRequest::USUAL_LOOK_AHEAD.0 as usize);
    let plan = SegmentPlan::chained(first, look_ahead)?;
    let options = Flow { steps, guidance: Flow::default().guidance };
    let latents = codec.keyed_latents(&codes.codes, &plan, options, KeyedNoise::new(seed))?;
    let sound = codec.song_sound(&latents, &plan, codes.frames())?;
    Ok([0, 1].map(|channel| sound.iter().skip(channel).step_by(2).copied().collect()))
}

impl Cost {
    fn add(
        &mut self,
        classifier: &InstrumentClassifier,
        words: &Song,
        ours: [Vec<f32>; 2],
        golden: &[Vec<f32>; 2],
    ) -> Result<()> {
        let mut mel = MelAnalyser::new(48_000);
        for (ours, golden) in ours.iter().zip(golden) {
            let distances = mel_distances(&mel.log_mel(ours), &mel.log_mel(golden));
            self.mel += distances.iter().sum::<f64>() / distances.len().max(1) as f64 / 2.0;
            self.convergence += spectral_convergence(ours, golden) / 2.0;
        }
        self.ratio += signal_to_noise(&ours.concat(), &golden.concat());
        let song = Song::sounding(&words.tags, &words.lyrics, ours, words.key);
        let heard = classifier.classify(&song)?;
        self.recognised += f64::from(u8::from(heard.is_some() && heard == tagged(&words.tags)));
        Ok(())
    }
}
