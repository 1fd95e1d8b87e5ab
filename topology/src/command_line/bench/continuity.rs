//! `bench continuity`: what do short windows, chaining, overlap and fewer steps do to a song?
//!
//! One song of codes is decoded in every way from the same noise, and each result is compared with the reference's way
//! at many steps, and with itself away from its seams.

use std::{fs, path::Path, time::Instant};

use candle_core::Device;
use heartstream_messages::{
    Flow, SongRequest,
    units::{Frames, SAMPLE_RATE, Seconds},
};
use heartstream_models::{
    ModelDirectory,
    heartcodec::{FlowOptions, HeartCodec, LATENTS_PER_FRAME},
    quality::{LogMel, MelAnalyser, measure_seams, mel_distances, seams_of, signal_to_noise},
    signal::{KeyedNoise, Window},
};

use super::{
    args::ContinuityArgs,
    codes,
    modes::{self, Mode},
    plot,
    report::{Measured, Report},
    table,
};
use crate::{
    EngineError, Heartstream,
    command_line::{Failed, output::probe_file, render::checkpoint, status::Status, words},
};

/// Runs the bench and prints what it says.
pub(super) fn continuity(args: &ContinuityArgs, quiet: bool) -> Result<(), Failed> {
    let directory = ModelDirectory::open(checkpoint(&args.model.model)?)?;
    directory.check_codes()?;
    let mut request = request(args)?;
    args.plot.as_deref().map_or(Ok(()), probe_plot)?;
    // What is out of range is refused before the song is written; where it ends is not known yet.
    modes::modes(args, &request)?;
    let mut mel = MelAnalyser::new(SAMPLE_RATE);
    let status = Status::new(quiet);
    status.say(&format!("writing {} of codes", Seconds(args.seconds)));
    let codes = codes::written(&directory, request.clone())?;
    let codec = directory.load_codec(&Device::Cpu)?;
    let frames = codes.len() / codec.flow.quantizer.codebooks();
    request.max_frames = Frames(frames as u64);
    let (golden, modes) = (modes::golden(args, &request)?, modes::modes(args, &request)?);
    let decoder = Decoder { codec: &codec, codes: &codes, frames, request: &request };
    status.say(&format!("decoding as the reference does, in {} steps", golden.steps));
    let golden = decoder.decode(&golden)?;
    let spectra = golden.sound.each_ref().map(|channel| mel.log_mel(channel));
    let mut measured = Vec::with_capacity(modes.len());
    for (index, mode) in modes.iter().enumerate() {
        let Mode { steps, plan, .. } = mode;
        let name = table::name(mode.continuity);
        let first = plan.first_window();
        status.say(&format!("{} of {}: {name}, first window {first}, {steps} steps", index + 1, modes.len()));
        measured.push(decoder.measure(mode, &golden, &spectra, &mut mel)?);
    }
    status.end(&format!("decoded {} in {} ways", request.max_frames.seconds(), modes.len()));
    let report =
        Report { model: args.model.model.clone(), request, golden_steps: args.reference_steps, modes: measured };
    if let Some(path) = &args.plot {
        let drawing = plot::draw(&report).map_err(|error| Failed::Error(format!("cannot draw: {error}")))?;
        fs::write(path, drawing)
            .map_err(|error| Failed::Error(format!("cannot write the plot {}: {error}", path.display())))?;
    }
    if args.json {
        out!("{:#}", report.json());
    } else {
        print!("{}", table::table(&report));
    }
    Ok(())
}

/// The song, checked as far as it can be without its model.
fn request(args: &ContinuityArgs) -> Result<SongRequest, Failed> {
    if !args.seconds.is_finite() || Seconds(args.seconds).frames() == Frames(0) {
        let (expected, found) = ("a number from 0.08 (one frame) upwards".to_owned(), args.seconds.to_string());
        return Err(EngineError::Option { option: "seconds", expected, found }.into());
    }
    let words = words::read(&args.words)?;
    let mut request = SongRequest {
        seed: args.seed,
        max_frames: Seconds(args.seconds).frames(),
        ..SongRequest::new(words.tags, words.lyrics)
    };
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

pub(super) fn probe_plot(path: &Path) -> Result<(), Failed> {
    if !path.extension().is_some_and(|suffix| suffix.eq_ignore_ascii_case("svg")) {
        return Err(Failed::Usage(format!(
            "the plot is an SVG drawing, and {} is named otherwise. Give a name that ends in .svg",
            path.display()
        )));
    }
    probe_file(path)
}

/// A song that is decoded again and again.
struct Decoder<'a> {
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

impl Decoder<'_> {
    fn decode(&self, mode: &Mode) -> Result<Decoded, Failed> {
        let noise = KeyedNoise::new(self.request.seed);
        let channels = self.codec.flow.channels();
        let mut fill = |window: &Window, start: &mut [f32]| {
            for (latent, row) in ((window.first * LATENTS_PER_FRAME) as u64..).zip(start.chunks_mut(channels)) {
                noise.fill_latent(latent, row);
            }
        };
        let options = FlowOptions { steps: mode.steps, guidance: self.request.flow.guidance };
        let began = Instant::now();
        let latents = self.codec.song_latents(self.codes, &mode.plan, options, &mut fill)?;
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
            golden: measure_seams([&golden.sound[0], &golden.sound[1]], &seams, latent, mel),
            seams,
            audio: Seconds(sound[0].len() as f64 / f64::from(SAMPLE_RATE)),
            flow,
            vocoder,
        })
    }
}
