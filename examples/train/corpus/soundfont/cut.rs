//! What of a SoundFont is never heard? What no instrument of ours plays, in no key and at no velocity of ours.

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

/// The SoundFont with the presets of [`INSTRUMENTS`] alone.
pub fn cut(whole: &Font) -> Result<Font> {
    let (mut presets, mut instruments, mut kept) = (vec![], vec![], Kept::default());
    for ours in &INSTRUMENTS {
        let Some(preset) = whole.presets.iter().find(|preset| preset.program == (u16::from(ours.program), 0)) else {
            return unusable(format!("it has no program {} ({})", ours.program, ours.tag));
        };
        let mut zones = preset.zones.clone();
        for (_, amount) in zones.iter_mut().flatten().filter(|(operator, _)| *operator == generator::INSTRUMENT) {
            let Some(instrument) = whole.instruments.get(usize::from(*amount)) else {
                return unusable(format!("a zone of {} plays an instrument that is not there", ours.tag));
            };
            *amount = instruments.len() as u16;
            let zones = instrument.zones.iter().filter(|zone| is_heard(zone, ours));
            let zones = zones.map(|zone| kept.renumbered(zone)).collect();
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
