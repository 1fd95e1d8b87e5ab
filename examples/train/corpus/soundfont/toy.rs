//! Toy SoundFont for tests: one sawtooth, under the name of every instrument.

use super::{
    super::instruments::INSTRUMENTS,
    tables::{Font, Sample, Sound, generator},
};

/// Frames of the sawtooth's period.
const PERIOD: usize = 100;

fn name(text: &str) -> [u8; 20] {
    let mut name = [0; 20];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

/// The tables of a SoundFont with the programs of all instruments, and one more that no song plays.
pub fn tables() -> Font {
    let tooth = |frame: usize| ((frame % PERIOD) as f32 / PERIOD as f32 - 0.5) * 20_000.0;
    let wave = (0..40 * PERIOD).flat_map(|frame| (tooth(frame) as i16).to_le_bytes()).collect();
    let repeat = (PERIOD as u32, 39 * PERIOD as u32);
    let sample = |text| Sample { name: name(text), wave, repeat, rate: 44_100, pitch: (69, 0), link: 0, kind: 1 };
    let sample = sample("tooth");
    let spare = Sample { name: name("spare"), ..sample.clone() };
    const LOOPS: (u16, u16) = (54, 1);
    // A second: longer than the cut's shortest.
    const RELEASE: (u16, u16) = (generator::RELEASE, 0);
    let programs = INSTRUMENTS.iter().map(|ours| u16::from(ours.program)).chain([127]);
    let presets: Vec<Sound> = programs
        .enumerate()
        .map(|(place, program)| Sound {
            name: name("preset"),
            program: (program, 0),
            zones: vec![vec![(generator::INSTRUMENT, place as u16)]],
        })
        .collect();
    let instruments = (0..presets.len())
        .map(|place| {
            let sample = u16::from(place == INSTRUMENTS.len());
            let high = vec![(generator::KEYS, 0x7F70), LOOPS, RELEASE, (generator::SAMPLE, 1)];
            let all = vec![(generator::KEYS, 0x6F00), LOOPS, RELEASE, (generator::SAMPLE, sample)];
            Sound { name: name("instrument"), program: (0, 0), zones: vec![all, high] }
        })
        .collect();
    // INFO must hold a version (ifil): 2.4.
    let info = [b"ifil".as_slice(), &4u32.to_le_bytes(), &[2, 0, 4, 0]].concat();
    Font { info, presets, instruments, samples: vec![sample, spare] }
}
