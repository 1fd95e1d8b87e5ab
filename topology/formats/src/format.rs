//! Names of the formats: on the command line, as a suffix, as a media type.

use std::{fmt, path::Path, str::FromStr};

use heartstream_actors::wav_sink::SampleFormat;

use crate::{Encoder, FormatError, Metadata, flac::FlacEncoder, opus::OpusEncoder, wav::WavEncoder};

/// A format that songs are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Samples as they are, behind a header.
    Wav(SampleFormat),
    /// Integers of 16 bits with dither, without loss from there; half the size of a WAV.
    Flac16,
    /// Integers of 24 bits, without loss from there.
    Flac24,
    /// Opus in Ogg at about 128 kbit/s: a twentieth of the samples, and hard to tell from them.
    Opus,
    /// MPEG-1 Layer III at 192 kbit/s, for what plays nothing else.
    Mp3,
}

/// A name that is no format's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the format must be {}, but is {:?}", names(), found.chars().take(40).collect::<String>())]
pub struct UnknownFormat {
    /// What was given.
    pub found: String,
}

const MP3_NOT_BUILT: FormatError = FormatError::NotBuilt { format: "mp3", licence: "LGPL-2.1", feature: "mp3" };

fn names() -> String {
    Format::ALL.map(Format::name).join(", ")
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 7] = [
        Self::Wav(SampleFormat::S16),
        Self::Wav(SampleFormat::S24),
        Self::Wav(SampleFormat::F32),
        Self::Flac16,
        Self::Flac24,
        Self::Opus,
        Self::Mp3,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wav(SampleFormat::S16) => "wav",
            Self::Wav(SampleFormat::S24) => "wav-s24",
            Self::Wav(SampleFormat::F32) => "wav-f32",
            Self::Flac16 => "flac",
            Self::Flac24 => "flac-24",
            Self::Opus => "opus",
            Self::Mp3 => "mp3",
        }
    }

    /// The suffix of its files, without the dot.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Wav(_) => "wav",
            Self::Flac16 | Self::Flac24 => "flac",
            Self::Opus => "opus",
            Self::Mp3 => "mp3",
        }
    }

    /// The media type that HTTP calls it by.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Wav(_) => "audio/wav",
            Self::Flac16 | Self::Flac24 => "audio/flac",
            Self::Opus => "audio/ogg",
            Self::Mp3 => "audio/mpeg",
        }
    }

    /// The format that the suffix of a file asks for; of several, the one with 16 bits. `None` for an unknown suffix.
    pub fn of_path(path: &Path) -> Option<Self> {
        let suffix = path.extension()?.to_str()?.to_ascii_lowercase();
        Self::ALL.into_iter().find(|format| format.suffix() == suffix)
    }

    /// Whether this program can write it.
    ///
    /// # Errors
    /// When it was built without the format; says with what to build it.
    pub fn check(self) -> Result<(), FormatError> {
        match self {
            Self::Mp3 if !cfg!(feature = "mp3") => Err(MP3_NOT_BUILT),
            _ => Ok(()),
        }
    }

    /// An encoder for one song. `seed` is the song's: dither depends on it and on the place in the song, so that the
    /// same song has the same bytes.
    ///
    /// # Errors
    /// When the program was built without the format, or its library does not start.
    pub fn encoder(self, metadata: &Metadata, seed: u64) -> Result<Box<dyn Encoder>, FormatError> {
        Ok(match self {
            Self::Wav(samples) => Box::new(WavEncoder::new(samples, metadata, seed)),
            Self::Flac16 => Box::new(FlacEncoder::new(SampleFormat::S16, metadata, seed)?),
            Self::Flac24 => Box::new(FlacEncoder::new(SampleFormat::S24, metadata, seed)?),
            Self::Opus => Box::new(OpusEncoder::new(metadata, seed)?),
            #[cfg(feature = "mp3")]
            Self::Mp3 => Box::new(crate::mp3::Mp3Encoder::new(metadata)?),
            #[cfg(not(feature = "mp3"))]
            Self::Mp3 => return Err(MP3_NOT_BUILT),
        })
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| UnknownFormat { found: name.to_owned() })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_name_of_its_own_and_is_found_by_it() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(format));
        }
        let refused = "ogg\u{1b}[2J".parse::<Format>().unwrap_err().to_string();
        assert!(refused.contains("flac-24") && !refused.contains('\u{1b}'), "{refused}");
    }

    #[test]
    fn a_suffix_names_the_format_with_16_bits() {
        assert_eq!(Format::of_path(Path::new("a/b.FLAC")), Some(Format::Flac16));
        assert_eq!(Format::of_path(Path::new("b.wav")), Some(Format::Wav(SampleFormat::S16)));
        assert_eq!(Format::of_path(Path::new("b.opus")), Some(Format::Opus));
        assert_eq!(Format::of_path(Path::new("b.ogg")), None);
        assert_eq!(Format::of_path(Path::new("b")), None);
    }
}
