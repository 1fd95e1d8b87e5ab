//! Failures of a command, and the options that help against them.
//!
//! The library says what was expected, what was found, where, and what to do. It has no options; which of them does what
//! it says is added here.

use heartstream::{EngineError, pull::PullError, speaker::SpeakerError};
use heartstream_formats::FormatError;
use heartstream_models::{ModelError, SavedSongRemedy};
use heartstream_serve::ServeError;

/// Why a command ended without having done what it was asked for.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Something went wrong; exit code 1.
    Error(String),
    /// An option is out of range or the words cannot be sung; exit code 2.
    Usage(String),
    /// Ctrl-C; exit code 130.
    Cancelled,
    /// A command has said already what is wrong; exit code 1.
    Said,
}

/// The sentence of an error, and behind it the options that do what it says.
fn with_options(error: &dyn std::error::Error, options: &[&str]) -> String {
    if options.is_empty() {
        return error.to_string();
    }
    format!("{error} ({})", options.join(", "))
}

impl From<EngineError> for Failed {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Model(error) => error.into(),
            EngineError::Speaker(error) => error.into(),
            EngineError::Option { .. } => Self::Usage(error.to_string()),
            #[cfg(feature = "remote")]
            EngineError::Machines(error) => error.into(),
            EngineError::Memory { .. } => {
                Self::Error(with_options(&error, &["--max-seconds", "--codec-weights f16", "--memory-limit"]))
            }
            EngineError::DecodingMemory { .. } => {
                Self::Error(with_options(&error, &["--codec-weights f16", "--flow-workers", "--memory-limit"]))
            }
            error => Self::Error(error.to_string()),
        }
    }
}

impl From<SpeakerError> for Failed {
    fn from(error: SpeakerError) -> Self {
        match error {
            SpeakerError::Unknown { .. } | SpeakerError::Ambiguous { .. } => {
                Self::Usage(with_options(&error, &["--speaker"]))
            }
            SpeakerError::NoRate { .. } => Self::Usage(with_options(&error, &["--device-rate"])),
            SpeakerError::Open(_) => Self::Error(with_options(&error, &["--speaker"])),
            SpeakerError::Resample(_) => Self::Error(with_options(&error, &["--device-rate"])),
            error => Self::Error(error.to_string()),
        }
    }
}

impl From<ServeError> for Failed {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Engine(error) => error.into(),
            ServeError::Option { .. } => Self::Usage(error.to_string()),
            ServeError::Unprotected(_) => Self::Usage(with_options(&error, &["--token-file"])),
            error => Self::Error(error.to_string()),
        }
    }
}

impl From<FormatError> for Failed {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::NotBuilt { feature, .. } => {
                let build = format!("cargo build --release --package heartstream-cli --features {feature}");
                Self::Usage(with_options(&error, &[&build]))
            }
            error => Self::Error(error.to_string()),
        }
    }
}

impl From<ModelError> for Failed {
    fn from(error: ModelError) -> Self {
        match &error {
            ModelError::Device { device, .. } if !device.is_cpu() && !cfg!(feature = "cuda") => {
                Self::Usage(with_options(&error, &["cargo build --release --features cuda"]))
            }
            ModelError::Device { .. } | ModelError::Option { .. } | ModelError::Prompt { .. } => {
                Self::Usage(error.to_string())
            }
            ModelError::SavedSong { remedy, .. } => Self::Error(with_options(&error, options_of(*remedy))),
            ModelError::Overflow { .. } => {
                let options = ["--codec-weights f32", "--lm-weights f32", "--codec f32 of convert"];
                Self::Error(with_options(&error, &options))
            }
            error => Self::Error(error.to_string()),
        }
    }
}

fn options_of(remedy: SavedSongRemedy) -> &'static [&'static str] {
    match remedy {
        SavedSongRemedy::File => &["--save-codes writes one"],
        SavedSongRemedy::Model => &["--model"],
        SavedSongRemedy::Length => &["--max-seconds", "--save-codes"],
        _ => &[],
    }
}

impl From<PullError> for Failed {
    fn from(error: PullError) -> Self {
        match &error {
            PullError::Setting { .. } => Self::Usage(error.to_string()),
            PullError::OtherVersion { .. } => Self::Usage(with_options(&error, &["--out"])),
            PullError::NoRoom { .. } | PullError::Disk { .. } => Self::Error(with_options(&error, &["--out"])),
            error => Self::Error(error.to_string()),
        }
    }
}
