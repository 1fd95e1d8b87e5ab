//! Rendering: notes become samples, as loud as the variation says and never clipped.

use std::sync::Arc;

use rustysynth::{SoundFont, Synthesizer, SynthesizerSettings};

use super::{
    error::{CorpusError, Result},
    loudness::loudness,
    song::{Song, Sounding},
    variation::Variation,
};

/// Samples a second.
pub const SAMPLE_RATE: u32 = 48_000;
/// Samples of a frame of codes, 80 ms.
pub const FRAME_SAMPLES: usize = 3840;
/// Largest magnitude of a sample.
pub const LOUDEST: f32 = 0.89;
/// Volumes (controller 7) of the lead and of who accompanies it.
const LEAD_VOLUME: f64 = 104.0;
const SECOND_VOLUME: f64 = 72.0;
/// The end of the ring-out that is faded to silence, in seconds.
const FADE_SECONDS: f64 = 0.4;
/// Silence between two notes of one pitch, in seconds: a key must go up before it goes down.
const KEY_UP_SECONDS: f64 = 0.008;

/// A song's sound: stereo, 48 kHz, a whole number of frames.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// Samples of the left channel.
    pub left: Vec<f32>,
    /// Samples of the right channel, as many.
    pub right: Vec<f32>,
}

/// Renders `song`.
///
/// # Errors
/// When the synthesizer refuses its settings, which it does not do with these.
pub fn render(font: &Arc<SoundFont>, song: &Song, variation: &Variation) -> Result<Rendered> {
    let unusable = |error| CorpusError::SoundFont { problem: format!("{error}") };
    let mut synthesizer = Synthesizer::new(font, &SynthesizerSettings::new(SAMPLE_RATE as i32)).map_err(unusable)?;
    for (channel, instrument, place, volume) in [
        (0, Some(variation.lead), -variation.place / 2.0, LEAD_VOLUME),
        (1, variation.second, variation.place, SECOND_VOLUME),
    ] {
        let Some(instrument) = instrument else { continue };
        synthesizer.process_midi_message(channel, 0xC0, i32::from(instrument.program), 0);
        let controllers =
            [(0x0A, 64.0 + 63.0 * place), (0x5B, 8.0 + 100.0 * variation.reverb), (0x5D, 0.0), (0x07, volume)];
        for (controller, value) in controllers {
            synthesizer.process_midi_message(channel, 0xB0, controller, value as i32);
        }
    }
    let samples = song.frames() * FRAME_SAMPLES;
    let (mut left, mut right) = (vec![0.0; samples], vec![0.0; samples]);
    let mut at = 0;
    for event in events(song, variation) {
        let until = event.sample.clamp(at, samples);
        synthesizer.render(&mut left[at..until], &mut right[at..until]);
        at = until;
        if event.velocity == 0 {
            synthesizer.note_off(event.channel, event.pitch);
        } else {
            synthesizer.note_on(event.channel, event.pitch, event.velocity);
        }
    }
    synthesizer.render(&mut left[at..], &mut right[at..]);
    finish(&mut left, &mut right, song.seconds, variation.level);
    Ok(Rendered { left, right })
}

/// A key that goes down, or up where the velocity is 0.
struct Event {
    sample: usize,
    velocity: i32,
    channel: i32,
    pitch: i32,
}

fn events(song: &Song, variation: &Variation) -> Vec<Event> {
    let channel = |note: &Sounding| i32::from(note.instrument != variation.lead);
    let mut events = Vec::new();
    for (place, note) in song.notes.iter().enumerate() {
        let again = song.notes[place + 1..].iter().find(|next| {
            next.pitch == note.pitch && next.instrument == note.instrument && next.start < note.end + KEY_UP_SECONDS
        });
        let end = again.map_or(note.end, |next| note.end.min(next.start - KEY_UP_SECONDS));
        let (channel, pitch) = (channel(note), i32::from(note.pitch));
        for (seconds, velocity) in [(note.start, i32::from(note.velocity)), (end, 0)] {
            // A note that another of the same pitch falls together with sounds once.
            if end > note.start {
                let sample = (seconds * f64::from(SAMPLE_RATE)) as usize;
                events.push(Event { sample, velocity, channel, pitch });
            }
        }
    }
    events.sort_by_key(|event| (event.sample, event.velocity, event.channel, event.pitch));
    events
}

/// Fades the end and sets the level.
fn finish(left: &mut [f32], right: &mut [f32], seconds: f64, level: f64) {
    let (begin, fade) = (seconds - FADE_SECONDS, FADE_SECONDS);
    for channel in [&mut *left, &mut *right] {
        let first = (begin * f64::from(SAMPLE_RATE)) as usize;
        for (count, sample) in channel.iter_mut().skip(first).enumerate() {
            let through = (count as f64 / f64::from(SAMPLE_RATE) / fade).min(1.0);
            *sample *= (0.5 + 0.5 * (through * std::f64::consts::PI).cos()) as f32;
        }
    }
    let peak = left.iter().chain(right.iter()).fold(0f32, |peak, x| peak.max(x.abs())).max(f32::MIN_POSITIVE);
    let wanted = 10f64.powf((level - loudness([&*left, &*right])) / 20.0);
    let gain = (wanted as f32).min(LOUDEST / peak);
    left.iter_mut().chain(right.iter_mut()).for_each(|x| *x = (*x * gain).clamp(-LOUDEST, LOUDEST));
}
