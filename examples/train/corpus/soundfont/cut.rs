//! Cut of a SoundFont: what the instruments play, in the keys and at the velocities of the corpus, and softened.

use std::collections::BTreeMap;

use super::{
    super::{
        error::Result,
        instruments::{INSTRUMENTS, Instrument, VELOCITIES},
    },
    tables::{Font, Sound, Zone, generator, unusable},
};

/// Keys beyond an instrument's range whose samples stay.
const MARGIN: u8 = 1;

/// The shortest release, in timecents: 71 ms.
const SHORTEST_RELEASE: i16 = -4571;

/// The SoundFont with the presets of [`INSTRUMENTS`] alone.
pub fn cut(whole: &Font) -> Result<Font> {
    let (mut presets, mut instruments, mut kept) = (vec![], vec![], Kept::default());
    for ours in &INSTRUMENTS {
        let Some(preset) = whole.presets.iter().find(|preset| preset.program == (u16::from(ours.program), 0)) else {
            return unusable(format!("it has no program {} ({})", ours.program, ours.tag));
        };
        let mut zones = preset.zones.clone();
        for (_, number) in zones.iter_mut().flatten().filter(|(operator, _)| *operator == generator::INSTRUMENT) {
            let Some(instrument) = whole.instruments.get(usize::from(*number)) else {
                return unusable(format!("a zone of {} plays an instrument that is not there", ours.tag));
            };
            *number = instruments.len() as u16;
            let global = instrument.zones.first().filter(|zone| amount(zone, generator::SAMPLE).is_none());
            let release = global.and_then(|zone| amount(zone, generator::RELEASE));
            let zones = instrument.zones.iter().filter(|zone| is_heard(zone, ours));
            let zones = zones.map(|zone| softened(kept.renumbered(zone), release)).collect();
            instruments.push(Sound { zones, ..instrument.clone() });
        }
        presets.push(Sound { zones, ..preset.clone() });
    }
    let mut samples = Vec::new();
    for &old in &kept.samples {
        let Some(sample) = whole.samples.get(usize::from(old)) else {
            return unusable("a zone plays a sample that is not there");
        };
        let mut sample = sample.clone();
        sample.link = kept.new.get(&sample.link).copied().unwrap_or(0);
        samples.push(sample);
    }
    Ok(Font { info: whole.info.clone(), presets, instruments, samples })
}

/// The samples that stay, and their new numbers.
#[derive(Default)]
struct Kept {
    samples: Vec<u16>,
    new: BTreeMap<u16, u16>,
}

impl Kept {
    fn renumbered(&mut self, zone: &Zone) -> Zone {
        let mut zone = zone.clone();
        for (_, amount) in zone.iter_mut().filter(|(operator, _)| *operator == generator::SAMPLE) {
            let samples = &mut self.samples;
            *amount = *self.new.entry(*amount).or_insert_with_key(|old| {
                samples.push(*old);
                (samples.len() - 1) as u16
            });
        }
        zone
    }
}

/// A zone whose sound does not break off with a click; `global` is the release of its instrument's global zone.
fn softened(mut zone: Zone, global: Option<u16>) -> Zone {
    if amount(&zone, generator::SAMPLE).is_some() {
        let release = amount(&zone, generator::RELEASE).or(global).map_or(i16::MIN, |timecents| timecents as i16);
        zone.retain(|(operator, _)| *operator != generator::RELEASE);
        // The sample is a zone's last generator, by the specification.
        zone.insert(zone.len() - 1, (generator::RELEASE, release.max(SHORTEST_RELEASE) as u16));
    }
    zone
}

/// Whether a zone of an instrument can sound. One that plays no sample is the instrument's global zone, and stays.
fn is_heard(zone: &Zone, ours: &Instrument) -> bool {
    let meets = |wanted: (u8, u8), operator| {
        let [low, high] = amount(zone, operator).map_or([0, 127], u16::to_le_bytes);
        low <= wanted.1 && wanted.0 <= high
    };
    let keys = (ours.range.0 - MARGIN, ours.range.1 + MARGIN);
    amount(zone, generator::SAMPLE).is_none()
        || (meets(keys, generator::KEYS) && meets(VELOCITIES, generator::VELOCITIES))
}

fn amount(zone: &Zone, operator: u16) -> Option<u16> {
    zone.iter().find(|(found, _)| *found == operator).map(|(_, amount)| *amount)
}
