//! Golden data of the codec: part by part, and as a whole.

use candle_core::Tensor;
use heartstream_models::{
    ModelError, Result,
    heartcodec::{Flow, HeartCodec, LATENTS_PER_FRAME, check_flow, round_to_ninths},
    signal::{ReferenceWindows, SegmentPlan, Window},
    weights::TensorStore,
};

use super::{Row, dims, floats, ids, measure::decibels, unfit};
use crate::quality::signal_to_noise;

/// Relative error of a single module.
const MODULE: f64 = 1e-4;
/// Relative error of latents after all steps of all windows.
const LATENTS: f64 = 1e-3;
/// dB of the vocoder alone.
const VOCODER: f64 = 80.0;
/// dB from codes to sound …
const WHOLE: f64 = 60.0;
/// … and when a latent at a rounding edge went the other way, which the vocoder then makes audible.
const WHOLE_WITH_FLIPS: f64 = 35.0;
/// How near to an edge a latent must be for that to be an excuse.
const EDGE: f64 = 1e-4;

/// Compares every tensor `codec.…` that this code knows. The caller sets the `slack` of the rows; here it says
/// which latents are near an edge.
pub(super) fn check(codec: &HeartCodec, goldens: &TensorStore, slack: f64, report: &mut dyn FnMut(Row)) -> Result<()> {
    quantizer(codec, goldens, report)?;
    estimator(codec, goldens, report)?;
    vocoder(codec, goldens, report)?;
    let runs: Vec<String> = goldens
        .names()
        .filter_map(|name| Some(name.strip_prefix("codec.")?.strip_suffix(".noise")?.to_owned()))
        .collect();
    runs.iter().try_for_each(|run| whole(codec, goldens, run, slack, report))
}

fn quantizer(codec: &HeartCodec, goldens: &TensorStore, report: &mut dyn FnMut(Row)) -> Result<()> {
    const OUTPUT: &str = "codec.rvq_output";
    const CONDITION: &str = "codec.condition";
    if goldens.shape(OUTPUT).is_none() {
        return Ok(());
    }
    let (output, [frames, _]) = floats::<2>(goldens, OUTPUT)?;
    let codes = codes(codec, goldens, "codec.codes")?;
    let wanted = frames * codec.flow.quantizer.codebooks();
    let codes = codes
        .get(..wanted)
        .ok_or_else(|| ModelError::shape("codes of golden data", format!("at least {wanted}"), codes.len()))?;
    let embedded = codec.flow.quantizer.embed(codes)?;
    report(Row::relative(OUTPUT, &host(&embedded)?, &output, MODULE));
    if goldens.shape(CONDITION).is_some() {
        let condition = codec.flow.quantizer.condition(&embedded)?;
        report(Row::relative(CONDITION, &host(&condition)?, &goldens.floats(CONDITION)?, MODULE));
    }
    Ok(())
}

fn estimator(codec: &HeartCodec, goldens: &TensorStore, report: &mut dyn FnMut(Row)) -> Result<()> {
    const OUTPUT: &str = "codec.estimator.output";
    if goldens.shape(OUTPUT).is_none() {
        return Ok(());
    }
    const INPUT: &str = "codec.estimator.input";
    const TIME: &str = "codec.estimator.timestep";
    let (input, shape @ [batch, length, width]) = floats::<3>(goldens, INPUT)?;
    if width != codec.flow.estimator.in_channels() {
        return Err(unfit(INPUT, [batch, length, codec.flow.estimator.in_channels()], shape));
    }
    let times = goldens.floats(TIME)?;
    if times.len() != batch {
        return Err(unfit(TIME, [batch], [times.len()]));
    }
    let input = Tensor::from_vec(input, &shape, codec.flow.device())?;
    let ours = codec.flow.estimator.forward(&input, &times)?;
    report(Row::relative(OUTPUT, &host(&ours)?, &goldens.floats(OUTPUT)?, MODULE));
    Ok(())
}

fn vocoder(codec: &HeartCodec, goldens: &TensorStore, report: &mut dyn FnMut(Row)) -> Result<()> {
    const PCM: &str = "codec.vocoder.pcm";
    if goldens.shape(PCM).is_none() {
        return Ok(());
    }
    const LATENT: &str = "codec.vocoder.latent";
    let (latent, shape @ [halves, channels, length]) = floats::<3>(goldens, LATENT)?;
    if 2 * channels != codec.flow.channels() || halves != 2 {
        return Err(unfit(LATENT, [2, codec.flow.channels() / 2, length], shape));
    }
    let [left, right] = codec.vocoder.decode(&frame_by_frame(&latent, channels, length))?;
    report(Row::ratio(PCM, &[left, right].concat(), &goldens.floats(PCM)?, VOCODER));
    Ok(())
}

/// One run of the whole codec: the reference's noise in, latents of each window and the joined sound out.
fn whole(codec: &HeartCodec, goldens: &TensorStore, run: &str, slack: f64, report: &mut dyn FnMut(Row)) -> Result<()> {
    let options = options(run)?;
    let own = format!("codec.{run}.codes");
    let codes = codes(codec, goldens, if goldens.shape(&own).is_some() { &own } else { "codec.codes" })?;
    let frames = codes.len() / codec.flow.quantizer.codebooks();
    let name = format!("codec.{run}.noise");
    let (noise, shape @ [count, length, channels]) = floats::<3>(goldens, &name)?;
    if channels != codec.flow.channels() || !length.is_multiple_of(LATENTS_PER_FRAME) {
        return Err(unfit(&name, [count, length.next_multiple_of(LATENTS_PER_FRAME), codec.flow.channels()], shape));
    }
    let plan = SegmentPlan::reference(ReferenceWindows::new(length / LATENTS_PER_FRAME)?);
    if plan.windows(frames).len() != count {
        return Err(ModelError::shape("windows of golden noise", plan.windows(frames).len(), count));
    }
    let mut fill = |window: &Window, start: &mut [f32]| {
        start.copy_from_slice(&noise[window.index * length * channels..][..start.len()]);
    };
    let ours = codec.song_latents(&codes, &plan, options, &mut fill)?;
    let name = format!("codec.{run}.latents");
    let (stored, shape @ [_, _, half, _]) = floats::<4>(goldens, &name)?;
    if shape != [count, 2, channels / 2, length] {
        return Err(unfit(&name, [count, 2, channels / 2, length], shape));
    }
    let golden = stored.chunks((2 * half * length).max(1)).map(|window| frame_by_frame(window, half, length));
    let golden: Vec<_> = ours.iter().map(|(window, _)| *window).zip(golden).collect();
    report(Row::relative(&name, &flat(&ours), &flat(&golden), LATENTS));
    let name = format!("codec.{run}.pcm");
    if goldens.shape(&name).is_some() {
        let song = Song { codec, plan, frames, slack };
        report(song.compare(&name, &ours, &golden, &goldens.floats(&name)?)?);
    }
    Ok(())
}

/// The latents of each window.
type Latents = [(Window, Vec<f32>)];

fn flat(latents: &Latents) -> Vec<f32> {
    latents.iter().flat_map(|(_, latents)| latents).copied().collect()
}

/// How latents become a song.
struct Song<'a> {
    codec: &'a HeartCodec,
    plan: SegmentPlan,
    frames: usize,
    slack: f64,
}

impl Song<'_> {
    /// Compares the joined sound. Latents that were rounded to another ninth are an excuse only when each was at an
    /// edge, and when the reference's own latents give the reference's sound.
    fn compare(&self, name: &str, ours: &Latents, golden: &Latents, pcm: &[f32]) -> Result<Row> {
        let row = Row::ratio(name, &self.sound(ours)?, pcm, WHOLE);
        if row.ok() {
            return Ok(row);
        }
        let pairs = flat(ours).into_iter().zip(flat(golden));
        let flipped: Vec<f32> =
            pairs.filter(|(a, b)| round_to_ninths(*a) != round_to_ninths(*b)).map(|(_, b)| b).collect();
        let far = flipped.iter().filter(|latent| f64::from(distance_to_edge(**latent)) > EDGE * self.slack).count();
        let from_golden = signal_to_noise(&self.sound(golden)?, pcm);
        let note = format!(
            "{} latents rounded the other way, {far} of them not at an edge; from the reference's latents {from_golden:.1} dB",
            flipped.len()
        );
        let excused = !flipped.is_empty() && far == 0 && from_golden >= WHOLE - decibels(self.slack);
        Ok(Row { tolerance: if excused { WHOLE_WITH_FLIPS } else { WHOLE }, note, ..row })
    }

    /// Left, then right, of the whole song, as the golden data has it.
    fn sound(&self, latents: &Latents) -> Result<Vec<f32>> {
        let stereo = self.codec.song_sound(latents, &self.plan, self.frames)?;
        let channel = |offset: usize| stereo.iter().skip(offset).step_by(2).copied();
        Ok(channel(0).chain(channel(1)).collect())
    }
}

/// Distance of a latent from the nearest place where rounding to ninths changes.
fn distance_to_edge(latent: f32) -> f32 {
    let ninths = 9.0 * latent;
    ((ninths - ninths.floor()) - 0.5).abs() / 9.0
}

/// \[2, C, L\] as it is stored, as frame after frame of 2 · C numbers, as the engine has it.
fn frame_by_frame(stored: &[f32], channels: usize, length: usize) -> Vec<f32> {
    let place = |frame: usize, channel: usize| stored.get(channel * length + frame).copied().unwrap_or(f32::NAN);
    (0..length).flat_map(|frame| (0..2 * channels).map(move |channel| place(frame, channel))).collect()
}

/// \[K, T\] as it is stored, as frame after frame of K codes.
fn codes(codec: &HeartCodec, goldens: &TensorStore, name: &str) -> Result<Vec<u16>> {
    let shape @ [codebooks, frames] = dims(goldens, name)?;
    if codebooks != codec.flow.quantizer.codebooks() {
        return Err(unfit(name, [codec.flow.quantizer.codebooks(), frames], shape));
    }
    let stored = ids(goldens, name)?;
    let code = |place: usize| {
        u16::try_from(stored[place])
            .map_err(|_| ModelError::shape("codes of golden data", "below 65536", stored[place]))
    };
    (0..frames).flat_map(|frame| (0..codebooks).map(move |codebook| codebook * frames + frame)).map(code).collect()
}

/// What a run's name says: `stepsN` with guidance 1.25, `stepsN_noguide` without; every other run has 6 steps with.
fn options(run: &str) -> Result<Flow> {
    let digits: String = run.strip_prefix("steps").unwrap_or("6").chars().take_while(char::is_ascii_digit).collect();
    let steps =
        digits.parse().map_err(|_| ModelError::shape("name of a run of the codec", "steps and their count", run))?;
    check_flow(Flow { steps, guidance: if run.ends_with("_noguide") { 1.0 } else { 1.25 } })
}

fn host(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}
