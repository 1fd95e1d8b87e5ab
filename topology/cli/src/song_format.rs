//! Format of a song's file: by its name, by `--format`, or the usual one.

use std::path::Path;

use clap::ValueEnum;
use heartstream::wav::SampleFormat;
use heartstream_formats::Format;

use super::{Failed, output_names};

/// What `--format` takes: the samples of a lossless format, or a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatName {
    F32,
    S24,
    S16,
    Wav,
    Flac,
    #[value(name = "flac-24")]
    Flac24,
    Opus,
    Mp3,
}

impl FormatName {
    /// The samples that it asks for; `None` where it names a format.
    fn samples(self) -> Option<SampleFormat> {
        match self {
            Self::F32 => Some(SampleFormat::F32),
            Self::S24 => Some(SampleFormat::S24),
            Self::S16 => Some(SampleFormat::S16),
            _ => None,
        }
    }

    /// The format that it names, whatever a file is called.
    fn named(self) -> Option<Format> {
        match self {
            Self::F32 | Self::S24 | Self::S16 => None,
            Self::Wav => Some(Format::Wav(SampleFormat::F32)),
            Self::Flac => Some(Format::Flac16),
            Self::Flac24 => Some(Format::Flac24),
            Self::Opus => Some(Format::Opus),
            Self::Mp3 => Some(Format::Mp3),
        }
    }
}

/// The format of a song that goes to `path`, or nowhere yet.
///
/// # Errors
/// When the name says another format than `--format`, or the program was built without the format.
pub(super) fn song_format(asked: Option<FormatName>, path: Option<&Path>) -> Result<Format, Failed> {
    let by_name = path.and_then(Format::of_path);
    let samples = asked.and_then(FormatName::samples);
    let format = match (asked.and_then(FormatName::named), by_name) {
        (Some(named), Some(other)) if named.suffix() != other.suffix() => {
            let right = path.unwrap_or(output_names::USUAL.as_ref()).with_extension(named.suffix());
            return Err(Failed::Usage(format!(
                "--format {named} and a name that says .{} are two formats. Give -o {}",
                other.suffix(),
                right.display()
            )));
        }
        (Some(named), _) => named,
        (None, Some(Format::Flac16)) if samples == Some(SampleFormat::S24) => Format::Flac24,
        (None, None | Some(Format::Wav(_))) => Format::Wav(samples.unwrap_or(SampleFormat::F32)),
        (None, Some(by_name)) => by_name,
    };
    format.check()?;
    Ok(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_the_format_and_the_option_its_samples_or_the_format_of_what_has_no_name() {
        let wav = Format::Wav;
        for (asked, path, expected) in [
            (None, Some("a.wav"), wav(SampleFormat::F32)),
            (None, Some("a.part"), wav(SampleFormat::F32)),
            (None, None, wav(SampleFormat::F32)),
            (None, Some("a.FLAC"), Format::Flac16),
            (None, Some("a.opus"), Format::Opus),
            (Some(FormatName::S16), Some("a.wav"), wav(SampleFormat::S16)),
            (Some(FormatName::S24), Some("a.flac"), Format::Flac24),
            (Some(FormatName::F32), Some("a.flac"), Format::Flac16),
            (Some(FormatName::Flac24), Some("a.flac"), Format::Flac24),
            (Some(FormatName::Opus), Some("-"), Format::Opus),
            (Some(FormatName::Opus), None, Format::Opus),
        ] {
            let found = song_format(asked, path.map(Path::new)).unwrap();
            assert_eq!(found, expected, "{asked:?} {path:?}");
        }
    }

    #[test]
    fn a_name_and_an_option_that_say_two_formats_are_refused_with_a_name_that_fits() {
        let refused = song_format(Some(FormatName::Opus), Some("a/b.flac".as_ref()));
        assert!(matches!(refused, Err(Failed::Usage(said)) if said.contains("-o a/b.opus")));
    }
}
