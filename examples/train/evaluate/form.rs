//! Form of a song: how much of it comes back, how long it dwells on a note, how long it is silent.
//!
//! A *patch* is 3 s of music: its chromagram (square roots of the shares of the pitch classes, so that level does not
//! count) and its onsets (how far the energy rises from one window to the next), each row less its mean over the patch,
//! so that neither the key nor a held note makes two patches alike. A patch comes back if another one of the same song, at
//! least 3 s from it, has a cosine above 0.8 with it.

use super::chroma::{Classes, HOP, RATE};

/// Windows of a patch.
const PATCH: usize = (3.0 * RATE) as usize;
/// Windows from one patch that is asked for to the next, 0.5 s; it is looked for at every window.
const STEP: usize = (0.5 * RATE) as usize;
/// Cosine above which two patches are the same music.
const SAME: f64 = 0.8;
/// Rows of a patch: the pitch classes, and the onsets.
const ROWS: usize = 13;
/// How much onsets count beside the pitch classes: about half of a patch's length.
const ONSETS: f64 = 0.5;
/// A patch whose numbers vary less than this is held or silent: it is no music that could come back.
const STILL: f64 = 0.05;
/// Windows that other pitch classes may lead between two of one stretch: 0.16 s, an ornament. With more, quick tunes seem to
/// dwell, too.
const ORNAMENT: usize = 4;
/// Decibels below the mean level of a song that are silence in it.
const SILENT: f64 = 40.0;

fn energy(classes: &Classes) -> f64 {
    classes.iter().sum()
}

/// The rows of a song, window after window.
fn rows(chroma: &[Classes]) -> Vec<[f64; ROWS]> {
    let loudest = chroma.iter().map(energy).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    // 50 dB below the loudest window is nothing.
    let level = |classes: &Classes| (energy(classes) / loudest + 1e-5).ln() / 1e5f64.ln();
    let mut before = 0.0;
    let row = |classes: &Classes| {
        let mut row = [0.0; ROWS];
        let total = energy(classes) + 1e-5 * loudest;
        for (row, class) in row.iter_mut().zip(classes) {
            *row = (class / total).sqrt();
        }
        let now = 1.0 + level(classes);
        row[ROWS - 1] = ONSETS * 12.0f64.sqrt() * (now - before).max(0.0);
        before = now;
        row
    };
    chroma.iter().map(row).collect()
}

/// A patch as one vector of length 1; `None` if nothing changes in it.
fn patch(rows: &[[f64; ROWS]]) -> Option<Vec<f64>> {
    let count = rows.len() as f64;
    let mut mean = [0.0; ROWS];
    rows.iter().for_each(|row| mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x / count));
    let mut all: Vec<f64> = rows.iter().flat_map(|row| row.iter().zip(mean).map(|(x, mean)| x - mean)).collect();
    let length = all.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length / count.sqrt() < STILL {
        return None;
    }
    all.iter_mut().for_each(|x| *x /= length);
    Some(all)
}

/// The share of a song's patches that come back in it; `None` for a song of less than two patches.
pub fn returning(chroma: &[Classes]) -> Option<f64> {
    let rows = rows(chroma);
    let places = rows.len().checked_sub(2 * PATCH)? + PATCH + 1;
    let patches: Vec<Option<Vec<f64>>> = (0..places).map(|place| patch(&rows[place..place + PATCH])).collect();
    let asked: Vec<usize> = (0..places).step_by(STEP).collect();
    let returns = |place: &&usize| {
        let Some(one) = &patches[**place] else { return false };
        patches.iter().enumerate().filter(|(other, _)| other.abs_diff(**place) >= PATCH).any(|(_, other)| {
            other.as_ref().is_some_and(|other| one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>() > SAME)
        })
    };
    Some(asked.iter().filter(returns).count() as f64 / asked.len() as f64)
}

/// Seconds of the longest stretch that one pitch class leads; silence ends it.
pub fn dwelling(chroma: &[Classes]) -> f64 {
    let mean = chroma.iter().map(energy).sum::<f64>() / chroma.len().max(1) as f64;
    let leads = |classes: &Classes| {
        let strongest = (0..12).max_by(|a, b| classes[*a].total_cmp(&classes[*b]))?;
        (energy(classes) > mean * 10f64.powf(-SILENT / 10.0)).then_some(strongest)
    };
    let (mut longest, mut class, mut since, mut last) = (0, None, 0, 0);
    for (place, leader) in chroma.iter().map(leads).enumerate() {
        if leader.is_none() || (leader != class && place - last > ORNAMENT) {
            // Another class led longer than an ornament: a new stretch, which began behind the last window of the old one.
            let begins = if leader.is_none() { place } else { last + 1 };
            (class, since, last) = (leader, begins.min(place), place);
        } else if leader == class {
            last = place;
        }
        if class.is_some() {
            longest = longest.max(last + 1 - since);
        }
    }
    longest as f64 / RATE
}

/// Seconds of the longest silence between a song's first and last sound.
pub fn silence_inside(sound: &[f32]) -> f64 {
    let power = |samples: &[f32]| samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / samples.len() as f64;
    let limit = power(sound) * 10f64.powf(-SILENT / 10.0);
    let loud: Vec<usize> =
        sound.chunks(HOP / 4).enumerate().filter(|(_, some)| power(some) > limit).map(|(place, _)| place).collect();
    let longest = loud.windows(2).map(|two| two[1] - two[0] - 1).max().unwrap_or(0);
    (longest * (HOP / 4)) as f64 / 48_000.0
}

#[cfg(test)]
mod tests {
    use super::{
        super::chroma::{chroma, tests::played},
        *,
    };

    /// A tune of eight notes, two a second, that depends on a number.
    fn tune(number: u64) -> Vec<(u8, f64)> {
        let mut rng = crate::rng::Rng::new(&[number]);
        (0..16).map(|_| (72 + [0, 2, 4, 5, 7, 9, 11][rng.below(7)], 0.25)).collect()
    }

    fn returning_of(notes: &[(u8, f64)]) -> Option<f64> {
        returning(&chroma(&played(notes)).expect("memory"))
    }

    #[test]
    fn what_is_played_again_comes_back_and_what_is_new_does_not() {
        let again = [tune(1), tune(2), tune(1), tune(2)].concat();
        let share = returning_of(&again).expect("long enough");
        // All but the patches that have the middle of the song in them.
        assert!((0.7..0.9).contains(&share), "{share}");
        let new: Vec<(u8, f64)> = (1..5).flat_map(tune).collect();
        assert!(returning_of(&new).expect("long enough") < 0.1);
        // Of a tune of 4 s that comes again, the patches that begin in its first second are whole.
        let twice = [tune(1), tune(2), tune(3), tune(1)].concat();
        let share = returning_of(&twice).expect("long enough");
        assert!((0.1..0.4).contains(&share), "{share}");
        assert_eq!(returning_of(&tune(1)), None);
    }

    #[test]
    fn neither_a_held_note_nor_the_key_comes_back() {
        assert!(returning_of(&[(76, 20.0)]).expect("long enough") < 0.1);
        let slow: Vec<(u8, f64)> = [72, 76, 79, 74, 77, 71].map(|pitch| (pitch, 3.3)).to_vec();
        assert!(returning_of(&slow).expect("long enough") < 0.2);
    }

    #[test]
    fn a_stretch_on_one_pitch_class_lasts_as_long_as_its_notes() {
        let longest = |notes: &[(u8, f64)]| dwelling(&chroma(&played(notes)).expect("memory"));
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 0.15, "{found} s, expected {wanted} s");
        near(longest(&[(72, 0.5), (74, 0.5), (76, 2.0), (74, 0.5)]), 2.0);
        // Struck again, in another octave, and with an ornament between it is the same class.
        near(longest(&[(74, 0.5), (76, 0.7), (76, 0.7), (88, 0.7), (77, 0.06), (76, 0.7), (74, 0.5)]), 2.86);
        near(longest(&[(76, 1.0), (0, 0.5), (76, 1.0)]), 1.0);
        assert_eq!(dwelling(&[]), 0.0);
    }

    #[test]
    fn silence_is_counted_between_the_first_and_the_last_sound() {
        let found = silence_inside(&played(&[(0, 1.0), (72, 0.5), (0, 0.8), (74, 0.5), (0, 0.3), (76, 0.5), (0, 3.0)]));
        assert!((found - 0.8).abs() < 0.05, "{found} s");
        assert_eq!(silence_inside(&[]), 0.0);
    }
}
