//! Trainer of the demo model, on the code that generates.
//!
//! ```sh
//! cargo run --release --package heartstream-trainer -- autoencoder --minutes 9
//! ```
//!
//! The stages build on each other: `autoencoder`, `codes`, `codec`, `language`; then `export` writes the published
//! layout and `evaluate` measures. With `--features cuda` and `--device cuda:0` they run on a GPU. A stage that was
//! cut off goes on where it was when it is called again; one that is longer than a machine is lent for is trained in
//! parts (`--part 2/3`), each of which leaves one file of weights for the next. `docs/demo-model.md` has the commands
//! of all stages.

mod again;
mod autoencoder;
mod codec;
mod codes;
mod copies;
mod corpus;
mod crops;
mod curves;
mod encoder;
mod error;
mod evaluate;
mod export;
mod feed;
mod generated_song;
mod kept;
mod language;
mod lapped;
mod level;
mod options;
mod parameters;
mod part;
mod pitches;
mod questions;
mod repeats;
mod rng;
mod semantic;
mod setting;
mod sizes;
mod spectral;
mod stage;
mod steady;
mod written;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{
    error::Result,
    options::{EncoderArgs, Options},
};

#[derive(Debug, Parser)]
#[command(about = "Trains the small model inside heartstream")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Stage (a): encoder and vocoder
    Autoencoder(EncoderArgs),
    /// Stage (b), first half: semantic encoder and quantiser, which need no other stage
    Codes(EncoderArgs),
    /// Stage (b), second half: flow matching, on autoencoder and codes
    Codec(Options),
    /// Stage (c): backbone and depth decoder, on the codes
    Language(Options),
    /// Measures how alike the codes of what a song plays again are
    Repeats {
        #[command(flatten)]
        options: Options,
        /// Songs
        #[arg(long, default_value_t = 24)]
        songs: usize,
    },
    /// Writes the published layout
    Export {
        #[command(flatten)]
        encoders: EncoderArgs,
        /// The folder of the checkpoint
        #[arg(long)]
        out: PathBuf,
        /// How many times as long the language model's heads become, or with as many numbers as there are codebooks
        /// the head of each (1,1.2,1.2). A head that is longer writes at the temperature of 1 as it would at the inverse of
        /// this: a small model errs less there
        #[arg(long, value_delimiter = ',', default_value = "1")]
        sharpness: Vec<f64>,
        #[command(flatten)]
        defaults: export::DefaultsArgs,
    },
    /// Makes songs of an exported checkpoint louder, and has the encoders of the run expect that, both in place
    Level {
        #[command(flatten)]
        options: Options,
        /// The folder of the checkpoint
        #[arg(long)]
        model: PathBuf,
        /// Decibels that its songs become louder by
        #[arg(long, allow_negative_numbers = true)]
        decibels: f64,
    },
    /// Measures an exported checkpoint on held-out songs
    Evaluate {
        #[command(flatten)]
        options: Options,
        /// The folder of the checkpoint [default: the demo model, where the trainer was built]
        #[arg(long, default_value = evaluate::DEMO, hide_default_value = true)]
        model: PathBuf,
        /// Songs that are coded and decoded; with 0 neither that nor the language model on held-out songs is measured
        #[arg(long, default_value_t = 12)]
        coded: usize,
        /// Held-out words that songs are written from; with 0 that is not measured
        #[arg(long, default_value_t = 32)]
        written: usize,
        /// Prompts in a user's manner that songs are written from, at most 48; with 0 that is not measured
        #[arg(long, default_value_t = 48)]
        prompts: usize,
        /// Songs of each of both
        #[arg(long, default_value_t = 1)]
        takes: usize,
        /// Songs that the instrument classifier learns from
        #[arg(long, default_value_t = 600)]
        taught: usize,
        #[command(flatten)]
        sampling: evaluate::SamplingArgs,
        /// Folder for WAVs: what is coded and decoded, the first song of each words, and the render of these
        #[arg(long)]
        wavs: Option<PathBuf>,
        /// Folder for pictures of the first eight
        #[arg(long)]
        pictures: Option<PathBuf>,
    },
    /// Measures how much of the codes comes back in an exported checkpoint's songs by prompts in a user's manner
    Copied {
        #[command(flatten)]
        options: Options,
        /// The folder of the checkpoint [default: the demo model, where the trainer was built]
        #[arg(long, default_value = evaluate::DEMO, hide_default_value = true)]
        model: PathBuf,
        /// Prompts, at most 48
        #[arg(long, default_value_t = 48)]
        prompts: usize,
        /// Songs of each
        #[arg(long, default_value_t = 1)]
        takes: usize,
        #[command(flatten)]
        sampling: evaluate::SamplingArgs,
        /// A line for each song, too
        #[arg(long)]
        each: bool,
    },
    /// Measures what fewer Euler steps cost an exported checkpoint
    Steps {
        #[command(flatten)]
        options: Options,
        /// The folder of the checkpoint [default: the demo model, where the trainer was built]
        #[arg(long, default_value = evaluate::DEMO, hide_default_value = true)]
        model: PathBuf,
        /// Held-out words that two songs each are written from
        #[arg(long, default_value_t = 8)]
        prompts: usize,
        /// Songs that the instrument classifier learns from
        #[arg(long, default_value_t = 600)]
        taught: usize,
        /// Draw it
        #[arg(long, value_name = "FILE.svg")]
        plot: Option<PathBuf>,
    },
}

fn run(command: &Command) -> Result<()> {
    match command {
        Command::Autoencoder(encoders) => {
            let setting = encoders.setting()?;
            stage::run(&setting, &mut autoencoder::Autoencoder::new(&setting)?)
        }
        Command::Codes(encoders) => {
            let setting = encoders.setting()?;
            stage::run(&setting, &mut codes::Codes::new(&setting)?)
        }
        Command::Codec(options) => {
            let setting = options.setting()?;
            stage::run(&setting, &mut codec::Codec::new(&setting)?)
        }
        Command::Language(options) => {
            let setting = options.setting()?;
            stage::run(&setting, &mut language::Language::new(&setting)?)
        }
        Command::Repeats { options, songs } => repeats::print(&options.setting()?, *songs),
        Command::Evaluate { options, model, coded, written, prompts, takes, taught, sampling, wavs, pictures } => {
            let [coded, written, prompts, takes, taught] = [coded, written, prompts, takes, taught].map(|count| *count);
            let counts = evaluate::Counts { coded, written, prompts, takes, taught };
            let shown = evaluate::Shown { wavs: wavs.clone(), pictures: pictures.clone() };
            evaluate::evaluate(&options.setting()?, model, &counts, *sampling, &shown)
        }
        Command::Copied { options, model, prompts, takes, sampling, each } => {
            evaluate::copied::print(&options.setting()?, model, *sampling, [*prompts, *takes], *each)
        }
        Command::Level { options, model, decibels } => level::change(&options.setting()?, model, *decibels),
        Command::Steps { options, model, prompts, taught, plot } => {
            evaluate::steps::print(&options.setting()?, model, *prompts, *taught, plot.as_ref())
        }
        Command::Export { encoders, out, sharpness, defaults } => {
            export::export(&encoders.setting()?, out, sharpness, defaults)
        }
    }
}

fn main() -> std::process::ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use heartstream_models::{
        ModelDirectory,
        heartmula::{KeyedSampler, Sampling},
        signal::KeyedNoise,
        weights::Checkpoint,
    };

    use super::*;
    use crate::{export::DefaultsArgs, setting::Setting, sizes::Size, stage::Stage};

    #[test]
    fn all_stages_learn_and_what_they_export_is_a_checkpoint_that_writes_a_song() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut setting = Setting::tiny(folder.path().join("run"));
        stage::run(&setting, &mut autoencoder::Autoencoder::new(&setting).expect("a stage")).expect("latents");
        setting.steps = Some(5);
        let mut further = autoencoder::Autoencoder::new(&setting).expect("a stage");
        stage::run(&setting, &mut further).expect("a stage that goes on");
        assert_eq!(further.parameters().steps, 5, "2 steps more than the 3 before");
        let file = folder.path().join("run/autoencoder/weights.safetensors");
        let weights = || parameters::read_weights(&file, &Device::Cpu).expect("weights");
        let before = weights();
        setting.vocoder_alone = true;
        let mut polish = autoencoder::Autoencoder::new(&setting).expect("a stage that begins anew");
        stage::run(&setting, &mut polish).expect("a vocoder");
        for (name, tensor) in weights() {
            let numbers = |tensor: &candle_core::Tensor| tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
            let same = numbers(&tensor).expect("numbers") == numbers(&before[&name]).expect("numbers");
            let stays = name.starts_with("encoder.") || name.contains("activation");
            assert!(same || !stays, "{name} is of the encoder and changed");
        }
        stage::run(&setting, &mut codes::Codes::new(&setting).expect("a stage")).expect("codes");
        stage::run(&setting, &mut codec::Codec::new(&setting).expect("latents and codes")).expect("a flow");
        stage::run(&setting, &mut language::Language::new(&setting).expect("codes")).expect("words");
        repeats::print(&setting, 2).expect("codes to compare");
        let out = folder.path().join("model");
        for wrong in [&[0.0][..], &[f64::NAN], &[11.0], &[1.0, 1.0], &[1.0, 0.0, 1.0], &[]] {
            assert!(export::export(&setting, &out, wrong, &DefaultsArgs::default()).is_err(), "{wrong:?}");
        }
        let none = DefaultsArgs { flow_guidance: Some(0.5), ..DefaultsArgs::default() };
        let refused = export::export(&setting, &out, &[1.5], &none).expect_err("less than no guidance").to_string();
        assert!(refused.contains("flow-guidance"), "{refused}");
        let said = DefaultsArgs { flow_guidance: Some(2.0), top_k: Some(20), ..DefaultsArgs::default() };
        export::export(&setting, &out, &[1.5, 2.0, 2.0], &said).expect("all stages");
        let numbers = |name: &str, weights: &std::collections::HashMap<String, candle_core::Tensor>| {
            let all = weights[name].flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
            all.iter().map(|x| f64::from(x.abs())).sum::<f64>()
        };
        let exported = parameters::read_weights(&out.join("HeartMuLa-oss-3B/model.safetensors"), &Device::Cpu);
        let (exported, learnt) = (exported.expect("weights"), {
            let file = setting.weights_of(language::Language::NAME).expect("a stage that ended");
            parameters::read_weights(&file, &Device::Cpu).expect("weights")
        });
        for (name, longer) in [("codebook0_head.weight", 1.5), ("audio_head", 2.0), ("audio_embeddings.weight", 1.0)] {
            let (ours, theirs) = (numbers(name, &exported), numbers(name, &learnt));
            assert!((ours / theirs - longer).abs() < 1e-2, "{name}: {ours} and {theirs}");
        }
        assert!(folder.path().join("run/language/loss.svg").exists());

        let directory = ModelDirectory::open(Checkpoint::Directory(out)).expect("configs");
        assert_eq!(directory.warnings, Vec::<String>::new());
        directory.check_tensors().expect("all tensors");
        let lm = directory.load_lm(&Device::Cpu).expect("a language model");
        let prompt =
            directory.load_tokenizer().expect("a tokenizer").prompt("flute,calm", "[Verse]\nla la\n").expect("ids");
        let mut state = lm.start(&prompt.ids, 1.5, 4).expect("room");
        let options = Sampling::default();
        let mut sampler = KeyedSampler::new(options, KeyedNoise::new(1)).expect("options");
        let codes: Vec<u16> = (0..4)
            .flat_map(|_| lm.next_frame(&mut state, &mut sampler).expect("a frame"))
            .map(|code| code as u16)
            .collect();
        assert_eq!(codes.len(), 4 * directory.lm.audio_num_codebooks);
        let counts = evaluate::Counts { coded: 1, written: 1, prompts: 1, takes: 2, taught: 2 };
        let shown = evaluate::Shown { wavs: None, pictures: Some(folder.path().join("pictures")) };
        evaluate::evaluate(&setting, &directory.checkpoint.path_of(""), &counts, Default::default(), &shown)
            .expect("figures");
        assert!(folder.path().join("pictures/prompt-0.png").exists());
        let model = directory.checkpoint.path_of("");
        evaluate::copied::print(&setting, &model, Default::default(), [2, 1], true).expect("figures of codes");
        let plot = folder.path().join("steps.svg");
        evaluate::steps::print(&setting, &directory.checkpoint.path_of(""), 1, 2, Some(&plot)).expect("a table");
        assert!(std::fs::read_to_string(&plot).expect("a drawing").contains("Euler steps"));
        level::tests::check(&setting, folder.path());
        let nothing = evaluate::Counts { coded: 1, written: 1, prompts: 1, takes: 0, taught: 2 };
        let evaluated = |counts: &evaluate::Counts, setting: &Setting| {
            let model = directory.checkpoint.path_of("");
            evaluate::evaluate(setting, &model, counts, Default::default(), &evaluate::Shown::default())
        };
        assert!(evaluated(&nothing, &setting).is_err());
        // Encoders can be trained for a checkpoint alone.
        let run = folder.path().join("beside");
        let mut beside = Setting { run, seed: 5, vocoder_alone: false, ..setting.clone() };
        assert!(matches!(evaluated(&counts, &beside), Ok(())), "what is not there is said, and not measured");
        (beside.beside, beside.steps) = (Some(directory.checkpoint.path_of("")), Some(50));
        stage::run(&beside, &mut codes::Codes::new(&beside).expect("a checkpoint")).expect("codes");
        let record = std::fs::read_to_string(beside.run.join("codes/loss.csv")).expect("a record");
        let told: Vec<f64> = record.lines().skip(1).filter_map(|line| line.rsplit(',').next()?.parse().ok()).collect();
        assert!(told[1] < told[0] && told[1] > 0.0, "rows are encoded better: {told:?}");
        beside.steps = Some(3);
        stage::run(&beside, &mut autoencoder::Autoencoder::new(&beside).expect("a checkpoint")).expect("latents");
        let learnt = parameters::read_weights(&beside.run.join("autoencoder/weights.safetensors"), &Device::Cpu);
        assert!(learnt.expect("weights").keys().all(|name| name.starts_with("encoder.")), "the vocoder is another's");
        evaluated(&counts, &beside).expect("figures of the checkpoint that both were learnt beside");
        stage::run(&beside, &mut language::Language::new(&beside).expect("codes")).expect("words");
        let other = folder.path().join("other");
        let warmer = DefaultsArgs { temperature: Some(0.7), ..DefaultsArgs::default() };
        export::export(&beside, &other, &[1.0], &warmer).expect("another language model for the same codec");
        let defaults = ModelDirectory::open(Checkpoint::Directory(other.clone())).expect("configs").defaults;
        let sampling = Sampling { temperature: 0.7, top_k: 20, ..Sampling::default() };
        assert_eq!((defaults.sampling, defaults.flow.guidance), (sampling, 2.0), "those of the checkpoint beside stay");
        let codec =
            |model: &std::path::Path| std::fs::read(model.join("HeartCodec-oss/model.safetensors")).expect("there");
        assert!(codec(&other) == codec(&directory.checkpoint.path_of("")), "the codec stays as it is");
        let larger = Setting { size: Size::Demo, ..beside.clone() };
        let complaint = codes::Codes::new(&larger).err().expect("another size").to_string();
        assert!(complaint.contains("expected a codec of the sizes that --size demo has"), "{complaint}");
        beside.vocoder_alone = true;
        assert!(autoencoder::Autoencoder::new(&beside).is_err(), "both at once leave nothing to learn");
        // Codes that were learnt again are others.
        setting.seed = 2;
        std::fs::remove_dir_all(folder.path().join("run/codes")).expect("there");
        stage::run(&setting, &mut codes::Codes::new(&setting).expect("a stage")).expect("codes");
        let complaint = evaluated(&counts, &setting).expect_err("another's codes").to_string();
        assert!(complaint.contains("expected the codes of the model"), "{complaint}");
    }

    #[test]
    fn the_vocoder_learns_the_one_sound_that_it_hears() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut setting = Setting::tiny(folder.path().to_owned());
        (setting.steps, setting.batch, setting.rate) = (Some(40), Some(1), Some(3e-3));
        stage::run(&setting, &mut autoencoder::Autoencoder::new(&setting).expect("a stage")).expect("latents");
        let record = std::fs::read_to_string(folder.path().join("autoencoder/loss.csv")).expect("a record");
        let losses: Vec<f64> = record.lines().skip(1).filter_map(|line| line.split(',').nth(3)?.parse().ok()).collect();
        assert!(losses.last() < losses.first(), "{losses:?}");
    }
}
