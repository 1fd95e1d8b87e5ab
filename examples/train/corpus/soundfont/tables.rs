//! Layout of a SoundFont: nested tables here, nine flat ones in a RIFF file.
//!
//! After "SoundFont Technical Specification", version 2.04, E-mu Systems 2006, section 7. Modulators are not read: the
//! synthesizer does not use them.

use super::super::error::{CorpusError, Result};

/// Generators of which the cut must know the meaning (section 8.1.2).
pub mod generator {
    /// Which instrument a preset's zone plays.
    pub const INSTRUMENT: u16 = 41;
    /// Lowest and highest key, in the low and the high byte.
    pub const KEYS: u16 = 43;
    /// Lowest and highest velocity, likewise.
    pub const VELOCITIES: u16 = 44;
    /// How long a key's sound takes to die away, in timecents (1200 for a doubling, 0 is a second), as a signed number.
    pub const RELEASE: u16 = 38;
    /// Which sample an instrument's zone plays.
    pub const SAMPLE: u16 = 53;
}

/// Frames of silence that the specification wants after each sample.
const SILENCE: usize = 46;

/// What holds for a range of keys and velocities: generators with their amounts, in their order.
pub type Zone = Vec<(u16, u16)>;

/// A preset or an instrument.
#[derive(Debug, Clone)]
pub struct Sound {
    pub name: [u8; 20],
    /// Program and bank of a preset; zeros for an instrument.
    pub program: (u16, u16),
    pub zones: Vec<Zone>,
}

/// A recording.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: [u8; 20],
    pub wave: Vec<u8>,
    /// Begin and end of the loop, in frames since the sample's begin.
    pub repeat: (u32, u32),
    /// Frames a second.
    pub rate: u32,
    /// Key, correction in cents, linked sample, type: as the file has them.
    pub pitch: (u8, u8),
    pub link: u16,
    pub kind: u16,
}

/// A SoundFont.
#[derive(Debug, Clone)]
pub struct Font {
    /// The list INFO as it stands in the file: who made it, and by which right it is used.
    pub info: Vec<u8>,
    pub presets: Vec<Sound>,
    pub instruments: Vec<Sound>,
    pub samples: Vec<Sample>,
}

pub fn unusable<T>(problem: impl Into<String>) -> Result<T> {
    Err(CorpusError::SoundFont { problem: problem.into() })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn name_at(bytes: &[u8]) -> [u8; 20] {
    std::array::from_fn(|i| bytes[i])
}

/// The chunks in `bytes`: id and content.
fn chunks(mut bytes: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let mut found = Vec::new();
    while bytes.len() >= 8 {
        let end = 8 + u32_at(bytes, 4) as usize;
        let Some(content) = bytes.get(8..end) else { return unusable("it ends inside a chunk") };
        found.push((&bytes[..4], content));
        bytes = &bytes[(end + end % 2).min(bytes.len())..];
    }
    Ok(found)
}

fn chunk<'a>(among: &[(&[u8], &'a [u8])], id: &str) -> Result<&'a [u8]> {
    match among.iter().find(|(found, _)| *found == id.as_bytes()) {
        Some((_, content)) => Ok(content),
        None => unusable(format!("it has no chunk {id}")),
    }
}

impl Font {
    /// Reads the tables out of a file's bytes.
    pub fn read(file: &[u8]) -> Result<Self> {
        if file.len() < 12 || &file[..4] != b"RIFF" || &file[8..12] != b"sfbk" {
            return unusable("it does not begin as a SoundFont does");
        }
        let lists = chunks(&file[12..])?;
        let list = |kind: &str| match lists
            .iter()
            .find(|(id, content)| *id == b"LIST" && content.starts_with(kind.as_bytes()))
        {
            Some((_, content)) => Ok(&content[4..]),
            None => unusable(format!("it has no list {kind}")),
        };
        let (waves, tables) = (chunks(list("sdta")?)?, chunks(list("pdta")?)?);
        let table =
            |id: &str, width: usize| -> Result<Vec<&[u8]>> { Ok(chunk(&tables, id)?.chunks_exact(width).collect()) };
        let sounds = |heads: Vec<&[u8]>, bag_at: usize, bags: Vec<&[u8]>, generators: Vec<&[u8]>| {
            let zone = |bag: &[&[u8]]| -> Option<Zone> {
                let generators = generators.get(usize::from(u16_at(bag[0], 0))..usize::from(u16_at(bag[1], 0)))?;
                Some(generators.iter().map(|pair| (u16_at(pair, 0), u16_at(pair, 2))).collect())
            };
            let sound = |pair: &[&[u8]]| -> Option<Sound> {
                let bags = bags.get(usize::from(u16_at(pair[0], bag_at))..=usize::from(u16_at(pair[1], bag_at)))?;
                let program = if bag_at == 24 { (u16_at(pair[0], 20), u16_at(pair[0], 22)) } else { (0, 0) };
                Some(Sound {
                    name: name_at(pair[0]),
                    program,
                    zones: bags.windows(2).map(zone).collect::<Option<_>>()?,
                })
            };
            match heads.windows(2).map(sound).collect::<Option<Vec<_>>>() {
                Some(sounds) => Ok(sounds),
                None => unusable("a table points outside another"),
            }
        };
        let wave = chunk(&waves, "smpl")?;
        let headers = table("shdr", 46)?;
        let mut samples = Vec::new();
        for header in headers.iter().take(headers.len().saturating_sub(1)) {
            let [begin, end, from, to] = [20, 24, 28, 32].map(|at| u32_at(header, at));
            let Some(frames) = wave.get(2 * begin as usize..2 * end as usize) else {
                return unusable("a sample lies outside the recordings");
            };
            samples.push(Sample {
                name: name_at(header),
                wave: frames.to_vec(),
                repeat: (from.saturating_sub(begin), to.saturating_sub(begin)),
                rate: u32_at(header, 36),
                pitch: (header[40], header[41]),
                link: u16_at(header, 42),
                kind: u16_at(header, 44),
            });
        }
        Ok(Self {
            info: list("INFO")?.to_vec(),
            presets: sounds(table("phdr", 38)?, 24, table("pbag", 4)?, table("pgen", 4)?)?,
            instruments: sounds(table("inst", 22)?, 20, table("ibag", 4)?, table("igen", 4)?)?,
            samples,
        })
    }

    /// The bytes of a file with these tables.
    pub fn write(&self) -> Vec<u8> {
        let mut wave = Vec::new();
        let mut headers = Vec::new();
        for sample in &self.samples {
            let begin = (wave.len() / 2) as u32;
            wave.extend_from_slice(&sample.wave);
            let end = (wave.len() / 2) as u32;
            wave.extend_from_slice(&[0; 2 * SILENCE]);
            headers.extend_from_slice(&sample.name);
            for number in [begin, end, begin + sample.repeat.0, begin + sample.repeat.1, sample.rate] {
                headers.extend_from_slice(&number.to_le_bytes());
            }
            headers.extend_from_slice(&[sample.pitch.0, sample.pitch.1]);
            headers.extend_from_slice(&sample.link.to_le_bytes());
            headers.extend_from_slice(&sample.kind.to_le_bytes());
        }
        headers.extend_from_slice(&terminal("EOS", 46));
        let [phdr, pbag, pgen] = flat(&self.presets, 38);
        let [inst, ibag, igen] = flat(&self.instruments, 22);
        let tables = [
            ("phdr", phdr),
            ("pbag", pbag),
            ("pmod", vec![0; 10]),
            ("pgen", pgen),
            ("inst", inst),
            ("ibag", ibag),
            ("imod", vec![0; 10]),
            ("igen", igen),
            ("shdr", headers),
        ];
        let tables: Vec<u8> = tables.iter().flat_map(|(id, content)| riff(id, content)).collect();
        let list = |kind: &str, content: &[u8]| riff("LIST", &[kind.as_bytes(), content].concat());
        let lists = [list("INFO", &self.info), list("sdta", &riff("smpl", &wave)), list("pdta", &tables)];
        riff("RIFF", &[b"sfbk".as_slice(), &lists.concat()].concat())
    }
}

fn riff(id: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = [id.as_bytes(), &(content.len() as u32).to_le_bytes(), content].concat();
    bytes.resize(bytes.len() + content.len() % 2, 0);
    bytes
}

/// A table's last record, which only says where the one before it ends.
fn terminal(name: &str, width: usize) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(width, 0);
    bytes
}

/// Heads (of `width` bytes), bags and generators of presets or instruments.
fn flat(sounds: &[Sound], width: usize) -> [Vec<u8>; 3] {
    let [mut heads, mut bags, mut generators] = [const { Vec::new() }; 3];
    let head = |name: &[u8; 20], program: (u16, u16), bag: usize| {
        let mut bytes = name.to_vec();
        if width == 38 {
            bytes.extend_from_slice(&program.0.to_le_bytes());
            bytes.extend_from_slice(&program.1.to_le_bytes());
        }
        bytes.extend_from_slice(&(bag as u16).to_le_bytes());
        bytes.resize(width, 0);
        bytes
    };
    for sound in sounds {
        heads.extend(head(&sound.name, sound.program, bags.len() / 4));
        for zone in &sound.zones {
            bags.extend_from_slice(&((generators.len() / 4) as u16).to_le_bytes());
            bags.extend_from_slice(&[0, 0]);
            for (operator, amount) in zone {
                generators.extend_from_slice(&operator.to_le_bytes());
                generators.extend_from_slice(&amount.to_le_bytes());
            }
        }
    }
    let mut name = [0; 20];
    name[..3].copy_from_slice(b"EOS");
    heads.extend(head(&name, (0, 0), bags.len() / 4));
    bags.extend_from_slice(&((generators.len() / 4) as u16).to_le_bytes());
    bags.extend_from_slice(&[0, 0]);
    generators.extend_from_slice(&[0; 4]);
    [heads, bags, generators]
}
