//! Report of `bench continuity`, and its JSON.

use heartstream::{
    SongRequest,
    units::{SAMPLE_RATE, SampleIndex, Seconds},
};
use heartstream_tools::quality::{
    Heard, Listening, SPECTRUM_HOP, SPECTRUM_WINDOW, Seam, SeamMeasure, SeamReport, THUMP_BANDS, Thumps,
};
use serde_json::{Value, json};

use super::{modes::Mode, table::name};

/// All of a bench.
pub(super) struct Report {
    pub model: String,
    /// Steps of the decoding that the others are compared with.
    pub golden_steps: usize,
    pub songs: Vec<SongMeasures>,
}

/// One song, decoded in every way.
pub(super) struct SongMeasures {
    /// With the length that it has.
    pub request: SongRequest,
    pub modes: Vec<Measured>,
}

/// One way of decoding.
pub(super) struct Measured {
    pub mode: Mode,
    pub windows: usize,
    /// dB.
    pub signal_to_noise: f64,
    /// Mel distance at each look, the mean of both channels.
    pub mel: Vec<f64>,
    pub seams: Vec<Seam>,
    pub found: SeamReport,
    pub heard: Listening,
    /// The same measures at the same places in the song that this one is compared with, which has no seam there.
    pub golden: SeamReport,
    pub audio: Seconds,
    /// The time of all windows, one after the other.
    pub flow: Seconds,
    pub vocoder: Seconds,
}

impl Measured {
    /// The mean of the mel distance.
    pub(super) fn mel_distance(&self) -> f64 {
        mean(self.mel.iter().copied())
    }

    /// The mel distance of each second; the last may be of less than a second. A look counts where its middle is.
    pub(super) fn mel_by_second(&self) -> Vec<f64> {
        let second = |look: usize| (look * SPECTRUM_HOP + SPECTRUM_WINDOW / 2) / SAMPLE_RATE as usize;
        let looks: Vec<(usize, f64)> = self.mel.iter().copied().enumerate().map(|(i, mel)| (second(i), mel)).collect();
        looks.chunk_by(|a, b| a.0 == b.0).map(|second| mean(second.iter().map(|look| look.1))).collect()
    }

    /// Time of decoding per time of music.
    pub(super) fn real_time_factor(&self) -> f64 {
        (self.flow.0 + self.vocoder.0) / self.audio.0
    }
}

impl Report {
    /// Each way of decoding, as it came out in each song.
    pub(super) fn ways(&self) -> Vec<Vec<&Measured>> {
        let count = self.songs.first().map_or(0, |song| song.modes.len());
        (0..count).map(|way| self.songs.iter().filter_map(|song| song.modes.get(way)).collect()).collect()
    }

    /// One object. What is infinite or cannot be said is null.
    pub(super) fn json(&self) -> Value {
        let Self { model, golden_steps, songs } = self;
        json!({
            "model": model,
            "reference_steps": golden_steps,
            "songs": songs.iter().map(song).collect::<Vec<_>>(),
            "ways": self.ways().iter().map(|way| heard(way)).collect::<Vec<_>>(),
        })
    }
}

fn song(song: &SongMeasures) -> Value {
    let SongMeasures { request, modes } = song;
    json!({
        "seed": request.seed,
        "tags": request.tags,
        "lyrics": request.lyrics,
        "frames": request.max_frames.0,
        "flow_guidance": request.flow.guidance,
        "modes": modes.iter().map(mode).collect::<Vec<_>>(),
    })
}

/// What all songs together say of a way.
fn heard(way: &[&Measured]) -> Value {
    let Heard { thumps, begin, end } = Heard::of(way.iter().map(|measured| &measured.heard));
    let mode = way.first().map(|measured| &measured.mode);
    json!({
        "continuity": mode.map(|mode| name(mode.continuity)),
        "first_window": mode.map(|mode| mode.plan.first_window()),
        "look_ahead": mode.map(|mode| mode.plan.look_ahead()),
        "flow_steps": mode.map(|mode| mode.steps),
        "thumps": thumps.iter().zip(THUMP_BANDS).map(|(thumps, band)| thumps_of(thumps, band)).collect::<Vec<_>>(),
        "begin_db": begin,
        "end_db": end,
    })
}

fn thumps_of(thumps: &Thumps, [low, high]: [f64; 2]) -> Value {
    json!({
        "from_hz": low,
        "to_hz": high,
        "seams": thumps.seams,
        "median_db": thumps.median,
        "median_elsewhere_db": thumps.elsewhere,
        "percentile_95_elsewhere_db": thumps.limit,
        "share_above_it": thumps.above,
        "worst_db": thumps.worst,
        "holds": thumps.holds(),
    })
}

fn mode(measured: &Measured) -> Value {
    let Measured { mode, windows, signal_to_noise, seams, found, heard, golden, audio, flow, vocoder, .. } = measured;
    let seam = |seam: &Seam| json!({ "begin_s": seconds(seam.begin), "end_s": seconds(seam.end) });
    json!({
        "continuity": name(mode.continuity),
        "first_window": mode.plan.first_window(),
        "look_ahead": mode.plan.look_ahead(),
        "flow_steps": mode.steps,
        "windows": windows,
        "signal_to_noise_db": signal_to_noise,
        "mel_distance": measured.mel_distance(),
        "mel_distance_by_second": measured.mel_by_second(),
        "seams": seams.iter().map(seam).collect::<Vec<_>>(),
        "jump_db": seam_measure(&found.jump, &golden.jump),
        "step": seam_measure(&found.step, &golden.step),
        "begin_db": heard.begin,
        "end_db": heard.end,
        "audio_s": audio.0,
        "flow_s": flow.0,
        "vocoder_s": vocoder.0,
        "rtf": measured.real_time_factor(),
    })
}

fn seam_measure(measure: &SeamMeasure, golden: &SeamMeasure) -> Value {
    let at = |(place, value): &(usize, f64)| {
        let (percentile, reference) = (measure.percentile(*value), golden.at(*place));
        json!({ "at_s": seconds(*place), "value": value, "percentile": percentile, "in_reference": reference })
    };
    json!({
        "at_seams": measure.at_seams.iter().map(at).collect::<Vec<_>>(),
        "worst": measure.worst().as_ref().map(at),
        "places_elsewhere": measure.elsewhere.len(),
        "percentile_99_elsewhere": measure.limit(),
        "seams_above_it": measure.above(),
        "holds": measure.holds(),
    })
}

fn seconds(sample: usize) -> f64 {
    SampleIndex(sample as u64).seconds().0
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}
