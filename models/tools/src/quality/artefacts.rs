//! Thumps at the seams of a song, and bursts at its beginning and its end.
//!
//! - A *thump* is energy of a band of frequencies around an instant: the mean over the 10 ms before it and the 60 ms
//!   behind it, over the mean from 100 ms to 500 ms before it and from 125 ms to 500 ms behind it, dB. A click of
//!   [`super::measure_seams`] lasts a millisecond; what a window without a future does to the end of its latents lasts
//!   this long.
//! - The *beginning* is the first 40 ms over those from 60 ms to 100 ms, dB, and the *end* the last 10 ms over the
//!   250 ms before them.
//!
//! Both channels are heard as one, their mean. *Elsewhere* is every latent that is more than 500 ms away from every
//! seam.

use std::ops::Range;

use super::{SECOND, band::BandEnergy, seam::SeamMeasure, seam_places::Seam};

/// The bands that thumps are looked for in, from the lower corner to the upper, Hz: where the thumps of a trained model
/// were heard, and all of what they are made of.
pub const THUMP_BANDS: [[f64; 2]; 2] = [[50.0, 350.0], [100.0, 1500.0]];
/// Samples before an instant, and behind it, that a thump is looked for in.
const NEAR: [usize; 2] = [SECOND / 100, SECOND * 6 / 100];
/// Samples from an instant to where its surroundings begin, before and behind it, and to where they end.
const AROUND: [usize; 3] = [SECOND / 10, SECOND / 8, SECOND / 2];
/// Instants nearer to an end of the song are not looked at.
const MARGIN: usize = SECOND * 7 / 10;
/// Samples from a seam to where elsewhere begins.
const CLEAR: usize = SECOND / 2;
/// Mean energy that is inaudible: 120 dB under full scale, so that silence has neither thumps nor bursts.
const FLOOR: f64 = 1e-12;
/// The share of places elsewhere whose measure a seam may not exceed, …
const LIMIT: f64 = 0.95;
/// … but for this share of all seams: one in twenty is expected.
const MOST_ABOVE: f64 = 0.12;
/// Decibels by which the median of all seams may be above that of all places elsewhere.
const MOST_MEDIAN: f64 = 1.0;
/// Decibels of the bursts with which half of all songs may begin and end.
const MOST_BURST: f64 = 3.0;

/// What is heard of how a song was cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Listening {
    /// A measure for each of [`THUMP_BANDS`].
    pub thumps: [SeamMeasure; THUMP_BANDS.len()],
    /// dB; `None` in a song too short to have a beginning.
    pub begin: Option<f64>,
    /// dB; `None` in a song too short to have an end.
    pub end: Option<f64>,
}

/// Listens to a song of 48 kHz, left and right channel, whose latents are `latent` samples long, at its `seams`.
///
/// A seam nearer than 700 ms to an end of the song is left out.
pub fn listen(sound: [&[f32]; 2], seams: &[Seam], latent: usize) -> Listening {
    let mono: Vec<f64> = sound[0].iter().zip(sound[1]).map(|(l, r)| (f64::from(*l) + f64::from(*r)) / 2.0).collect();
    let measurable = |place: &usize| *place >= MARGIN && place + MARGIN <= mono.len();
    let at: Vec<usize> = seams.iter().flat_map(Seam::instants).filter(measurable).collect();
    let elsewhere: Vec<usize> = (0..mono.len())
        .step_by(latent.max(1))
        .filter(|place| measurable(place) && !seams.iter().any(|seam| seam.is_near(*place, CLEAR)))
        .collect();
    let thumps = THUMP_BANDS.map(|band| {
        let energy = BandEnergy::new(&mono, band);
        let thump = |place: &usize| thump(&energy, *place);
        SeamMeasure::new(at.iter().map(|place| (*place, thump(place))).collect(), elsewhere.iter().map(thump).collect())
    });
    let (end, tenth) = (mono.len(), SECOND / 10);
    let has_edges = end >= SECOND * 26 / 100;
    let begin = || ratio(mean(&mono[..SECOND / 25]), mean(&mono[SECOND * 6 / 100..tenth]));
    let last = || ratio(mean(&mono[end - SECOND / 100..]), mean(&mono[end - SECOND * 26 / 100..end - SECOND / 100]));
    Listening { thumps, begin: has_edges.then(begin), end: has_edges.then(last) }
}

/// The thump at `place`, which has [`MARGIN`] samples to each side.
fn thump(energy: &BandEnergy, place: usize) -> f64 {
    let mean = |ranges: &[Range<usize>]| {
        let samples: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        ranges.iter().map(|range| energy.of(range.clone())).sum::<f64>() / samples as f64
    };
    let near = place - NEAR[0]..place + NEAR[1];
    let around = [place - AROUND[2]..place - AROUND[0], place + AROUND[1]..place + AROUND[2]];
    ratio(mean(&[near]), mean(&around))
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().map(|sample| sample * sample).sum::<f64>() / samples.len().max(1) as f64
}

fn ratio(energy: f64, other: f64) -> f64 {
    10.0 * ((energy + FLOOR) / (other + FLOOR)).log10()
}

/// What all songs of one way of cutting come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// A judgement for each of [`THUMP_BANDS`].
    pub thumps: [Thumps; THUMP_BANDS.len()],
    /// The median of the songs' beginnings, dB; `None` without a song.
    pub begin: Option<f64>,
    /// The median of the songs' ends, dB.
    pub end: Option<f64>,
}

/// The seams of all songs in one band, beside all places elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thumps {
    /// Seams that were looked at.
    pub seams: usize,
    /// The median of all seams, dB; `None` where there is none.
    pub median: Option<f64>,
    /// The median of all places elsewhere, dB.
    pub elsewhere: Option<f64>,
    /// The 95th percentile of all places elsewhere, dB.
    pub limit: Option<f64>,
    /// Share of the seams that are above it.
    pub above: f64,
    /// The seam that stands out most, dB.
    pub worst: Option<f64>,
}

impl Heard {
    /// All songs taken together.
    pub fn of<'a>(songs: impl IntoIterator<Item = &'a Listening>) -> Self {
        let songs: Vec<&Listening> = songs.into_iter().collect();
        let median = |values: Vec<f64>| percentile(&sorted(values), 0.5);
        Self {
            thumps: std::array::from_fn(|band| Thumps::of(songs.iter().map(|song| &song.thumps[band]))),
            begin: median(songs.iter().filter_map(|song| song.begin).collect()),
            end: median(songs.iter().filter_map(|song| song.end).collect()),
        }
    }

    /// Whether no cut, no beginning and no end can be told from the rest of the songs.
    pub fn holds(&self) -> bool {
        let quiet = |burst: Option<f64>| burst.is_none_or(|burst| burst <= MOST_BURST);
        self.thumps.iter().all(Thumps::holds) && quiet(self.begin) && quiet(self.end)
    }
}

impl Thumps {
    fn of<'a>(songs: impl Iterator<Item = &'a SeamMeasure>) -> Self {
        let (mut seams, mut elsewhere) = (Vec::new(), Vec::new());
        for song in songs {
            seams.extend(song.at_seams.iter().map(|(_, value)| *value));
            elsewhere.extend_from_slice(&song.elsewhere);
        }
        let (seams, elsewhere) = (sorted(seams), sorted(elsewhere));
        let limit = percentile(&elsewhere, LIMIT);
        let above = seams.iter().filter(|seam| limit.is_none_or(|limit| **seam > limit)).count();
        Self {
            seams: seams.len(),
            median: percentile(&seams, 0.5),
            elsewhere: percentile(&elsewhere, 0.5),
            limit,
            above: above as f64 / seams.len().max(1) as f64,
            worst: seams.last().copied(),
        }
    }

    /// Whether the seams cannot be told from all other places. Seams without an elsewhere cannot be judged, and do not
    /// hold.
    pub fn holds(&self) -> bool {
        let Some(median) = self.median else { return true };
        self.above <= MOST_ABOVE && self.elsewhere.is_some_and(|elsewhere| median <= elsewhere + MOST_MEDIAN)
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The value below which this share of ascending `values` lies, linearly between its neighbours; `None` where there is
/// none.
fn percentile(values: &[f64], share: f64) -> Option<f64> {
    let place = share * values.len().checked_sub(1)? as f64;
    let (low, high) = (values.get(place as usize)?, values.get(place.ceil() as usize)?);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use heartstream_models::signal::KeyedNoise;

    use super::*;

    const LATENT: usize = 1920;
    const LENGTH: usize = 6 * SECOND;
    /// In the midst of a note: where one begins is louder than elsewhere.
    const SEAM: usize = 3 * SECOND + 5000;

    /// A tune: a note of a quarter of a second after the other, each dying away, over a little noise.
    fn tune(seed: u64) -> Vec<f32> {
        let mut noise = vec![0f32; LENGTH];
        KeyedNoise::new(seed).fill_latent(0, &mut noise);
        let note = |place: usize| {
            let (since, hertz) = (place % 12_000, 220.0 * f64::powi(1.06, (place / 12_000 * 5 % 12) as i32));
            let decay = (-(since as f64) / 9000.0).exp() * (since as f64 / 400.0).min(1.0);
            0.2 * decay * (TAU * hertz * place as f64 / SECOND as f64).sin()
        };
        noise.iter().enumerate().map(|(place, noise)| 0.002 * noise + note(place) as f32).collect()
    }

    /// Adds a burst of 200 Hz at `place`, 60 ms long.
    fn with_thump(mut sound: Vec<f32>, place: usize, loud: f64) -> Vec<f32> {
        for (offset, sample) in sound[place..place + SECOND * 6 / 100].iter_mut().enumerate() {
            let shape = (TAU * offset as f64 / (SECOND as f64 * 0.12)).sin();
            *sample += (loud * shape * (TAU * 200.0 * offset as f64 / SECOND as f64).sin()) as f32;
        }
        sound
    }

    fn heard(sound: &[f32]) -> Heard {
        let seams = [Seam { begin: SEAM, end: SEAM }];
        Heard::of([&listen([sound, sound], &seams, LATENT)])
    }

    #[test]
    fn a_tune_that_runs_on_has_no_thump_no_burst_and_nothing_that_stands_out() {
        for seed in 1..4 {
            let heard = heard(&tune(seed)[100..]);
            assert!(heard.holds(), "{heard:?}");
        }
    }

    #[test]
    fn a_planted_thump_is_found_at_the_seam_in_both_bands_and_is_no_seam_elsewhere() {
        let heard_at_seam = heard(&with_thump(tune(1), SEAM, 0.4));
        for thumps in heard_at_seam.thumps {
            assert!(!thumps.holds() && thumps.above == 1.0, "{thumps:?}");
        }
        assert!(heard(&with_thump(tune(1), SEAM + SECOND, 0.4)).thumps.iter().all(Thumps::holds));
    }

    #[test]
    fn a_planted_thump_of_one_channel_is_found() {
        let (left, right) = (with_thump(tune(1), SEAM, 0.5), tune(1));
        let seams = [Seam { begin: SEAM, end: SEAM }];
        assert!(!Heard::of([&listen([&left, &right], &seams, LATENT)]).holds());
    }

    #[test]
    fn a_planted_burst_is_found_at_the_beginning_and_at_the_end() {
        let sound = tune(2);
        let begun = heard(&with_thump(sound.clone(), 0, 0.8));
        assert!(!begun.holds() && begun.begin.is_some_and(|begin| begin > 6.0), "{begun:?}");
        let mut ended = sound;
        ended[LENGTH - SECOND / 100..].iter_mut().for_each(|sample| *sample = -4.0 * *sample - 0.4);
        let ended = heard(&ended);
        assert!(!ended.holds() && ended.end.is_some_and(|end| end > 6.0), "{ended:?}");
    }

    #[test]
    fn one_bad_seam_among_many_songs_is_chance_and_many_are_not() {
        let seams = [Seam { begin: SEAM, end: SEAM }];
        let song = |thump: bool, seed| {
            let sound = if thump { with_thump(tune(seed), SEAM, 0.4) } else { tune(seed) };
            listen([&sound, &sound], &seams, LATENT)
        };
        let songs: Vec<Listening> = (0..10).map(|seed| song(seed == 0, seed)).collect();
        assert!(Heard::of(&songs).holds(), "{:?}", Heard::of(&songs));
        let songs: Vec<Listening> = (0..10).map(|seed| song(seed < 2, seed)).collect();
        assert!(!Heard::of(&songs).holds(), "{:?}", Heard::of(&songs));
    }

    #[test]
    fn silence_has_nothing_that_stands_out_and_a_song_too_short_has_no_edges() {
        assert!(heard(&vec![0.0; LENGTH]).holds());
        let short = listen([&[0.5; 4800], &[0.5; 4800]], &[Seam { begin: 1920, end: 1920 }], LATENT);
        assert_eq!((short.begin, short.end, short.thumps[0].at_seams.len()), (None, None, 0));
        assert!(Heard::of([]).holds());
    }

    #[test]
    fn a_percentile_lies_between_its_neighbours() {
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(percentile(&[7.0], 0.95), Some(7.0));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
