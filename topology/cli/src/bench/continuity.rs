//! `bench continuity`: what short windows, chaining, overlap and fewer steps do to songs.
//!
//! Each song of codes is decoded in every way from the same noise. Each result is compared with the reference's way at
//! many steps, and with itself away from its seams.

use std::{path::Path, time::Instant};

use candle_core::Device;
use heartstream::{
    EngineError, Flow, Heartstream, SongRequest,
    units::{Frames, SAMPLE_RATE, Seconds},
};
use heartstream_models::{
    ModelDirectory,
    heartcodec::{HeartCodec, LATENTS_PER_FRAME},
    signal::KeyedNoise,
};
use heartstream_tools::quality::{
    LogMel, MelAnalyser, listen, measure_seams, mel_distances, seams_of, signal_to_noise,
};

use super::{
    args::ContinuityArgs,
    codes,
    modes::{self, Mode},
    plot,
    report::{Measured, Report, SongMeasures},
    table, write_plot,
};
use crate::{Failed, asked::checkpoint, output::probe_file, prompt_input, status::Status};

/// Runs the bench and prints what it says.
pub(super) fn continuity(args: &ContinuityArgs, quiet: bool) -> Result<(), Failed> {
    let directory = ModelDirectory::open(checkpoint(&args.model.model)?)?;
    directory.check_codes()?;
    let requests = requests(args)?;
    probe_plot(args.plot.as_deref())?;
    // What is out of range is refused before the song is written; where it ends is not known yet.
    requests.iter().try_for_each(|request| modes::modes(args, request).map(drop))?;
    let mut mel = MelAnalyser::new(SAMPLE_RATE);
    let status = Status::new(quiet);
    let codec = directory.load_codec(&Device::Cpu)?;
    let mut written = Vec::with_capacity(requests.len());
    for (index, mut request) in requests.into_iter().enumerate() {
        status.say(&format!("writing {} of codes, song {}", Seconds(args.seconds), index + 1));
        let codes = codes::written(&directory, request.clone())?;
        request.max_frames = Frames((codes.len() / codec.flow.quantizer.codebooks()) as u64);
        written.push((request, codes));
    }
    // All songs are decoded in the same ways: in those that the shortest has windows for.
    let shortest = written.iter().map(|(request, _)| request).min_by_key(|request| request.max_frames);
    let modes = shortest.map_or(Ok(Vec::new()), |request| modes::modes(args, request))?;
    let mut songs = Vec::with_capacity(written.len());
    for (index, (request, codes)) in written.iter().enumerate() {
        let decoder = WindowDecoder { codec: &codec, codes, frames: request.max_frames.0 as usize, request };
        let song = format!("song {} of {}", index + 1, written.len());
        status.say(&format!("{song}: as the reference does, in {} steps", args.reference_steps));
        let golden = decoder.decode(&modes::golden(args, request)?)?;
        let spectra = golden.sound.each_ref().map(|channel| mel.log_mel(channel));
        let mut measured = Vec::with_capacity(modes.len());
        for (index, mode) in modes.iter().enumerate() {
            let (name, first) = (table::name(mode.continuity), mode.plan.first_window());
            let way = format!("{} of {}: {name}, first window {first}, {} steps", index + 1, modes.len(), mode.steps);
            status.say(&format!("{song}, {way}"));
            measured.push(decoder.measure(mode, &golden, &spectra, &mut mel)?);
        }
        songs.push(SongMeasures { request: request.clone(), modes: measured });
    }
    status.end(&format!("decoded {} songs in {} ways", songs.len(), modes.len()));
    let report = Report { model: args.model.model.clone(), golden_steps: args.reference_steps, songs };
    if let Some(path) = &args.plot {
        write_plot(path, plot::draw(&report))?;
    }
    if args.json {
        out!("{:#}", report.json());
    } else {
        print!("{}", table::table(&report));
    }
    Ok(())
}

/// Tags that the demo model has learnt, one instrument or two each.
const INSTRUMENTS: [&str; 8] = [
    "flute,calm,solo",
    "violin,cheerful,reel",
    "trumpet,major",
    "organ,minor,dark",
    "clarinet,folk",
    "piano,calm",
    "guitar,warm",
    "strings,chorale",
];

/// The songs, checked as far as they can be without their model.
fn requests(args: &ContinuityArgs) -> Result<Vec<SongRequest>, Failed> {
    let one = request(args)?;
    let tags = if args.instruments { INSTRUMENTS.map(str::to_owned).to_vec() } else { vec![one.tags.clone()] };
    let song = |seed: u64| {
        let one = &one;
        tags.iter().map(move |tags| SongRequest { seed, tags: tags.clone(), ..one.clone() })
    };
    Ok(args.seeds.iter().copied().flat_map(song).collect())
}

/// What all songs have in common.
fn request(args: &ContinuityArgs) -> Result<SongRequest, Failed> {
    if !args.seconds.is_finite() || Seconds(args.seconds).frames() == Frames(0) {
        let (expected, found) = ("a number from 0.08 (one frame) upwards".to_owned(), args.seconds.to_string());
        return Err(EngineError::Option { option: "seconds", expected, found }.into());
    }
    let words = prompt_input::read(&args.words)?;
    let mut request =
        SongRequest { max_frames: Seconds(args.seconds).frames(), ..SongRequest::new(words.tags, words.lyrics) };
    request.first_window.most = request.first_window.most.min(request.max_frames);
    let guidance = request.flow.guidance;
    for (option, steps) in std::iter::once(("reference-steps", args.reference_steps))
        .chain(args.flow_steps.iter().map(|steps| ("flow-steps", *steps)))
    {
        let asked = SongRequest { flow: Flow { steps, guidance }, ..request.clone() };
        Heartstream::check_options(&asked).map_err(|error| match error {
            EngineError::Model(heartstream_models::ModelError::Option { option: "flow-steps", expected, found }) => {
                EngineError::Option { option, expected, found }
            }
            error => error,
        })?;
    }
    Ok(request)
}

/// Refuses a plot that could not be written, where one is asked for.
pub(super) fn probe_plot(path: Option<&Path>) -> Result<(), Failed> {
    let Some(path) = path else { return Ok(()) };
    if !path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("svg")) {
        return Err(Failed::Usage(format!(
            "the plot is an SVG drawing, and {} is named otherwise. Give a name that ends in .svg",
            path.display()
        )));
    }
    probe_file(path)
}

/// A song that is decoded again and again.
struct WindowDecoder<'a> {
    codec: &'a HeartCodec,
    codes: &'a [u16],
    frames: usize,
    request: &'a SongRequest,
}

/// A song decoded once.
struct Decoded {
    /// Left and right.
    sound: [Vec<f32>; 2],
    flow: Seconds,
    vocoder: Seconds,
}

impl WindowDecoder<'_> {
    fn decode(&self, mode: &Mode) -> Result<Decoded, Failed> {
        let noise = KeyedNoise::new(self.request.seed);
        let options = Flow { steps: mode.steps, guidance: self.request.flow.guidance };
        let began = Instant::now();
        let latents = self.codec.keyed_latents(self.codes, &mode.plan, options, noise)?;
        let flow = Seconds(began.elapsed().as_secs_f64());
        let began = Instant::now();
        let sound = self.codec.song_sound(&latents, &mode.plan, self.frames)?;
        let vocoder = Seconds(began.elapsed().as_secs_f64());
        let channel = |channel: usize| sound.iter().skip(channel).step_by(2).copied().collect();
        Ok(Decoded { sound: [channel(0), channel(1)], flow, vocoder })
    }

    fn measure(
        &self,
        mode: &Mode,
        golden: &Decoded,
        golden_mel: &[LogMel; 2],
        mel: &mut MelAnalyser,
    ) -> Result<Measured, Failed> {
        let Decoded { sound, flow, vocoder } = self.decode(mode)?;
        let samples_per_frame = self.codec.samples_per_frame();
        let seams = seams_of(&mode.plan, self.frames, samples_per_frame);
        // The reference loses a sample of some songs.
        let length = sound[0].len().min(golden.sound[0].len());
        let both = |sound: &[Vec<f32>; 2]| [&sound[0][..length], &sound[1][..length]].concat();
        let mut distances = [Vec::new(), Vec::new()];
        for ((distances, channel), golden) in distances.iter_mut().zip(&sound).zip(golden_mel) {
            *distances = mel_distances(&mel.log_mel(channel), golden);
        }
        let latent = samples_per_frame / LATENTS_PER_FRAME;
        let [left, right] = distances;
        Ok(Measured {
            mode: *mode,
            windows: mode.plan.windows(self.frames).len(),
            signal_to_noise: signal_to_noise(&both(&sound), &both(&golden.sound)),
            mel: left.iter().zip(&right).map(|(left, right)| (left + right) / 2.0).collect(),
            found: measure_seams([&sound[0], &sound[1]], &seams, latent, mel),
            heard: listen([&sound[0], &sound[1]], &seams, latent),
            golden: measure_seams([&golden.sound[0], &golden.sound[1]], &seams, latent, mel),
            seams,
            audio: Seconds(sound[0].len() as f64 / f64::from(SAMPLE_RATE)),
            flow,
            vocoder,
        })
    }
}
