//! Failure of a stage as its song's error: the kind is found in the chain of errors.

use std::{error::Error, io, sync::Arc};

use heartstream_messages::{FailureKind, Stage, StageError};
use heartstream_models::ModelError;

use crate::{speaker_sink::SpeakerError, stage::Failure};

/// The error of a song whose `stage` came to `failure`.
pub fn failed(stage: Stage, failure: impl Into<Failure>) -> StageError {
    let failure: Failure = failure.into();
    let (kind, message) = (kind(&*failure), failure.to_string());
    StageError::new(stage, kind, message, Some(Arc::from(failure)))
}

/// The kind of the first error in the chain that has one.
fn kind(error: &(dyn Error + 'static)) -> FailureKind {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.into_iter().find_map(kind_of).unwrap_or(FailureKind::Other)
}

fn kind_of(error: &(dyn Error + 'static)) -> Option<FailureKind> {
    use io::ErrorKind::{QuotaExceeded, StorageFull, WriteZero};
    if let Some(error) = error.downcast_ref::<io::Error>() {
        let full = matches!(error.kind(), StorageFull | QuotaExceeded | WriteZero);
        return Some(if full { FailureKind::NoSpace } else { FailureKind::Io });
    }
    if let Some(error) = error.downcast_ref::<SpeakerError>() {
        let lost = matches!(error, SpeakerError::Lost { .. });
        return Some(if lost { FailureKind::DeviceLost } else { FailureKind::Device });
    }
    error.downcast_ref::<ModelError>().map(|error| match error {
        ModelError::NotANumber { .. } | ModelError::NotASound { .. } | ModelError::NotFinite { .. } => {
            FailureKind::NotANumber
        }
        ModelError::Unreadable { .. } | ModelError::Unwritable { .. } => FailureKind::Io,
        ModelError::Device { .. } => FailureKind::Device,
        _ => FailureKind::Model,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use heartstream_messages::units::Seconds;

    use super::*;
    use crate::wav_sink::WavError;

    #[test]
    fn a_failure_has_the_kind_of_its_cause_and_keeps_the_chain() {
        let write = |kind: io::ErrorKind| WavError::Write {
            path: PathBuf::from("song.wav"),
            written: Seconds(1.0),
            source: kind.into(),
        };
        let full = failed(Stage::WavSink, write(io::ErrorKind::StorageFull));
        assert_eq!(full.kind, FailureKind::NoSpace);
        let chain = std::iter::successors(full.source(), |error| (*error).source());
        assert!(chain.into_iter().any(|error| error.is::<io::Error>()), "{full:?}");
        assert_eq!(failed(Stage::WavSink, write(io::ErrorKind::PermissionDenied)).kind, FailureKind::Io);
        let lost = SpeakerError::Lost { device: "a".to_owned(), at: Seconds(1.0) };
        assert_eq!(failed(Stage::SpeakerSink, lost).kind, FailureKind::DeviceLost);
        let nan = ModelError::NotASound { found: f32::NAN };
        assert_eq!(failed(Stage::Vocoder, nan).kind, FailureKind::NotANumber);
        assert_eq!(failed(Stage::Vocoder, "a sentence").kind, FailureKind::Other);
    }
}
