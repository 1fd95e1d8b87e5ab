//! Seam measures: two measures at the joins of windows, each compared with its values elsewhere in the same song.
//!
//! - The *jump*: the mean energy of the second difference less than 1 ms from the instant over that from 1 ms to 20 ms
//!   from it, dB. The second difference passes what a click is made of and little of what music is made of; the
//!   surroundings make a quiet passage as strict a judge as a loud one.
//! - The *step*: the distance ([`super::mel_distances`]) of the log-mel spectrum of the 2048 samples that end at the
//!   instant from that of the 2048 samples that begin there. It finds a change of timbre or loudness that no click
//!   gives away.
//!
//! Of the two channels the worse one counts. *Elsewhere* is every whole multiple of the length of a latent that is
//! more than 100 ms away from every seam. Seams lie on such multiples too, so that whatever the vocoder does at every
//! latent is on both sides of the comparison.

use super::{
    mel::{MelAnalyser, distance},
    seam_places::Seam,
    spectrum::SPECTRUM_WINDOW,
};

/// Samples to each side that a jump is looked for in: 1 ms at 48 kHz.
const NEAR: usize = 48;
/// Samples to each side that it is compared with: 20 ms at 48 kHz.
const AROUND: usize = 960;
/// Energy of an inaudible difference (120 dB under full scale), so that silence has no jumps.
const FLOOR: f64 = 1e-12;
/// Samples from a seam to where elsewhere begins: 100 ms at 48 kHz.
const CLEAR: usize = 4800;
/// The share of all places elsewhere that a seam may not stand out of.
const LIMIT: f64 = 0.99;

/// What the seams of a song measure.
#[derive(Debug, Clone, PartialEq)]
pub struct SeamReport {
    /// Clicks.
    pub jump: SeamMeasure,
    /// Changes of timbre.
    pub step: SeamMeasure,
}

/// One measure at the seams, beside what it is elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct SeamMeasure {
    /// The measure at each instant of each seam: sample of one channel, value.
    pub at_seams: Vec<(usize, f64)>,
    /// The measure at all other places, in ascending order.
    pub elsewhere: Vec<f64>,
}

impl SeamMeasure {
    /// The seam that stands out most: sample of one channel, value. `None` where there is no seam.
    pub fn worst(&self) -> Option<(usize, f64)> {
        self.at_seams.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// The measure at the seam at `place`; `None` where there is none.
    pub fn at(&self, place: usize) -> Option<f64> {
        self.at_seams.iter().find(|(seam, _)| *seam == place).map(|(_, value)| *value)
    }

    /// Percent of all places elsewhere whose measure is below `value`; `None` where there is no elsewhere.
    pub fn percentile(&self, value: f64) -> Option<f64> {
        let below = self.elsewhere.partition_point(|elsewhere| elsewhere.total_cmp(&value).is_lt());
        (!self.elsewhere.is_empty()).then(|| 100.0 * below as f64 / self.elsewhere.len() as f64)
    }

    /// The 99th percentile elsewhere: the least measure that at least 99 of 100 places do not exceed.
    pub fn limit(&self) -> Option<f64> {
        let rank = (LIMIT * self.elsewhere.len() as f64).ceil() as usize;
        self.elsewhere.get(rank.checked_sub(1)?).copied()
    }

    /// Whether no seam is above the 99th percentile elsewhere. Seams without an elsewhere cannot be judged, and do not
    /// hold.
    pub fn holds(&self) -> bool {
        self.above() == 0
    }

    /// How many instants are above the 99th percentile elsewhere. One in a hundred is expected.
    pub fn above(&self) -> usize {
        self.at_seams.iter().filter(|(_, value)| self.limit().is_none_or(|limit| *value > limit)).count()
    }

    pub(super) fn new(at_seams: Vec<(usize, f64)>, mut elsewhere: Vec<f64>) -> Self {
        elsewhere.sort_by(f64::total_cmp);
        Self { at_seams, elsewhere }
    }
}

/// Measures `seams` of a song, left and right channel, whose latents are `latent` samples long.
///
/// An instant too near to an end of the song to be measured, within 2048 samples, is left out.
pub fn measure_seams(sound: [&[f32]; 2], seams: &[Seam], latent: usize, mel: &mut MelAnalyser) -> SeamReport {
    let length = sound[0].len().min(sound[1].len());
    let measurable = |place: &usize| *place >= SPECTRUM_WINDOW && place + SPECTRUM_WINDOW <= length;
    let at: Vec<usize> = seams.iter().flat_map(Seam::instants).filter(measurable).collect();
    let elsewhere: Vec<usize> = (0..length)
        .step_by(latent.max(1))
        .filter(|place| measurable(place) && !seams.iter().any(|seam| seam.is_near(*place, CLEAR)))
        .collect();
    let compare = |measure: &mut dyn FnMut(&[f32], usize) -> f64| {
        let mut worse = |place: usize| measure(sound[0], place).max(measure(sound[1], place));
        let at = at.iter().map(|place| (*place, worse(*place))).collect();
        SeamMeasure::new(at, elsewhere.iter().map(|place| worse(*place)).collect())
    };
    SeamReport {
        jump: compare(&mut |sound, place| jump(sound, place)),
        step: compare(&mut |sound, place| step(sound, place, mel)),
    }
}

/// The jump at `place`, which has [`AROUND`] samples and one more to each side.
fn jump(sound: &[f32], place: usize) -> f64 {
    let (mut near, mut around) = (0f64, 0f64);
    // One more to each side: a second difference needs its neighbours.
    let samples = &sound[place - AROUND - 1..place + AROUND + 1];
    for (offset, three) in samples.windows(3).enumerate() {
        let [before, here, after] = [three[0], three[1], three[2]].map(f64::from);
        let energy = (before - 2.0 * here + after).powi(2);
        if (AROUND - NEAR..AROUND + NEAR).contains(&offset) { near += energy } else { around += energy }
    }
    let mean = |energy: f64, samples: usize| energy / samples as f64 + FLOOR;
    10.0 * (mean(near, 2 * NEAR) / mean(around, 2 * (AROUND - NEAR))).log10()
}

/// The step at `place`, which has [`SPECTRUM_WINDOW`] samples to each side.
fn step(sound: &[f32], place: usize, mel: &mut MelAnalyser) -> f64 {
    distance(&mel.moment(&sound[place..]), &mel.moment(&sound[place - SPECTRUM_WINDOW..]))
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use heartstream_models::signal::KeyedNoise;

    use super::*;

    const LATENT: usize = 1920;
    const LENGTH: usize = 200 * LATENT;
    const SEAM: usize = 77 * LATENT;

    fn sine() -> Vec<f32> {
        (0..LENGTH).map(|i| (0.3 * (TAU * 441.3 * i as f64 / 48_000.0).sin()) as f32).collect()
    }

    /// Noise through a gentle low-pass: like music, most of it is low.
    fn murmur(seed: u64) -> Vec<f32> {
        let mut samples = vec![0f32; LENGTH];
        KeyedNoise::new(seed).fill_latent(0, &mut samples);
        let mut last = 0.0;
        samples
            .iter()
            .map(|sample| {
                last = 0.9 * last + 0.03 * sample;
                last
            })
            .collect()
    }

    fn measured(left: &[f32], right: &[f32], seam: Seam) -> SeamReport {
        measure_seams([left, right], &[seam], LATENT, &mut MelAnalyser::new(48_000))
    }

    fn at(place: usize) -> Seam {
        Seam { begin: place, end: place }
    }

    #[test]
    fn a_sine_that_runs_on_has_no_seam() {
        let report = measured(&sine(), &sine(), at(SEAM));
        let (_, jump) = report.jump.worst().expect("a seam");
        assert!(jump.abs() < 0.5, "{jump} dB");
        assert!(report.jump.holds() && report.step.worst().expect("a seam").1 < 0.3, "{:?}", report.step.at_seams);
    }

    #[test]
    fn a_sine_whose_phase_breaks_at_the_seam_is_found_in_either_channel() {
        let whole = sine();
        let mut broken = whole.clone();
        broken[SEAM..].copy_from_slice(&whole[50..][..LENGTH - SEAM]);
        for (left, right) in [(&broken, &whole), (&whole, &broken)] {
            let report = measured(left, right, at(SEAM));
            assert!(!report.jump.holds(), "{:?}", report.jump.worst());
            assert!(report.jump.worst().expect("a seam").1 > 20.0, "{:?}", report.jump.worst());
        }
    }

    #[test]
    fn a_planted_click_is_found_at_the_seam_and_is_no_seam_elsewhere() {
        let mut clicked = murmur(1);
        clicked[SEAM] += 0.6;
        let report = measured(&clicked, &murmur(2), at(SEAM));
        assert!(!report.jump.holds(), "{:?}", report.jump.worst());
        assert_eq!(report.jump.percentile(report.jump.worst().expect("a seam").1), Some(100.0));
        let report = measured(&clicked, &murmur(2), at(SEAM + 10 * LATENT));
        assert_eq!(report.jump.elsewhere.last().map(|most| *most > 5.0), Some(true), "the click is elsewhere");
        assert!(report.jump.holds(), "{:?}", report.jump.worst());
    }

    #[test]
    fn a_click_too_soft_for_a_loud_passage_is_found_in_a_quiet_one() {
        let quiet = |place: usize| if place < LENGTH / 2 { 0.01 } else { 1.0 };
        let mut sound: Vec<f32> = murmur(1).iter().enumerate().map(|(i, sample)| quiet(i) * sample).collect();
        sound[SEAM] += 0.01;
        assert!(!measured(&sound, &sound, at(SEAM)).jump.holds());
    }

    #[test]
    fn a_change_of_timbre_without_a_click_is_a_step_and_no_jump() {
        let (dull, bright) = (murmur(1), murmur(2));
        let mut changed = dull.clone();
        for place in SEAM - 400..LENGTH {
            let weight = ((place + 400 - SEAM) as f32 / 800.0).min(1.0);
            // The sum of neighbours is duller still.
            let duller = bright[place - 40..place].iter().sum::<f32>() / 20.0;
            changed[place] = (1.0 - weight) * dull[place] + weight * duller;
        }
        let report = measured(&changed, &changed, at(SEAM));
        assert!(!report.step.holds() && report.jump.holds(), "{:?} {:?}", report.step.worst(), report.jump.worst());
    }

    #[test]
    fn silence_has_no_seams_and_a_song_too_short_cannot_be_judged() {
        let silence = vec![0f32; LENGTH];
        assert!(measured(&silence, &silence, at(SEAM)).jump.holds());
        let short = vec![0f32; 3 * LATENT];
        let report = measured(&short, &short, at(2 * LATENT - 1000));
        assert!(report.jump.elsewhere.is_empty() && !report.jump.holds() && report.jump.limit().is_none());
        assert!(measured(&short, &short, at(LATENT / 2)).jump.worst().is_none());
    }

    #[test]
    fn the_limit_is_the_99th_percentile_and_a_seam_on_it_holds() {
        let mut measure = SeamMeasure::new(vec![(7, 98.0)], (0..100).rev().map(f64::from).collect());
        assert_eq!((measure.limit(), measure.percentile(98.0)), (Some(98.0), Some(98.0)));
        assert_eq!((measure.at(7), measure.at(8)), (Some(98.0), None));
        assert!(measure.holds());
        measure.at_seams.push((1, 98.5));
        assert!(!measure.holds() && measure.above() == 1);
    }
}
