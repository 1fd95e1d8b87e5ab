//! Encoding errors.

use std::{fmt::Display, io};

use heartstream_models::write_remedy;

/// Why a song cannot be written in a format.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The program was built without the format.
    #[error(
        "this program was built without {format}, whose library has a licence of its own ({licence}). Build it with \
         the feature {feature}, or choose opus, flac or wav"
    )]
    NotBuilt {
        /// The format.
        format: &'static str,
        /// The licence of its library.
        licence: &'static str,
        /// The feature of the build.
        feature: &'static str,
    },
    /// The encoder refused its input.
    #[error("the {format} encoder failed: {reason}. Choose wav, which holds any song")]
    Encoder {
        /// The format.
        format: &'static str,
        /// What its library said.
        reason: String,
    },
    /// The loudness meter refused the song.
    #[error("the loudness meter failed: {0}. Leave the loudness as it is")]
    Meter(String),
    /// The file cannot be written.
    #[error("the song cannot be written: {0}. {remedy}", remedy = write_remedy(.0))]
    Io(#[from] io::Error),
}

impl FormatError {
    /// A failure of the encoder of `format`, in the first words of its library.
    pub(crate) fn encoder(format: &'static str, error: impl Display) -> Self {
        Self::Encoder { format, reason: error.to_string().chars().take(200).collect() }
    }
}

impl From<ebur128::Error> for FormatError {
    fn from(error: ebur128::Error) -> Self {
        Self::Meter(error.to_string())
    }
}
