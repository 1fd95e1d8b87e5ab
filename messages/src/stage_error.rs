//! Failure of a stage: which, of what kind, why.

use std::{error::Error, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::Stage;

/// What kind of failure it was: what a program can decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureKind {
    /// A panic: a mistake of the engine, not of its input.
    Panic,
    /// A disk or a quota is full.
    NoSpace,
    /// The system could not read or write.
    Io,
    /// The loudspeaker went away.
    DeviceLost,
    /// The loudspeaker does not open, or what computes does not do so.
    Device,
    /// The model computed something that is no number.
    NotANumber,
    /// The model cannot be used, or cannot do what was asked for.
    Model,
    /// Anything else.
    Other,
}

/// Why a stage ended before the song did. Two are equal when stage, kind and message are.
#[derive(Debug, Clone, thiserror::Error, Serialize, Deserialize)]
#[error("the {stage} {}: {message}", if *.kind == FailureKind::Panic { "panicked" } else { "failed" })]
#[non_exhaustive]
pub struct StageError {
    /// The stage.
    pub stage: Stage,
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// What happened and what to do.
    pub message: String,
    /// The error that the stage came to, where there is one; not kept where the failure is written down.
    #[serde(skip)]
    #[source]
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StageError {
    /// A failure of `stage`, with what happened and what to do, and the error that it came to.
    pub fn new(stage: Stage, kind: FailureKind, message: String, source: Option<Arc<dyn Error + Send + Sync>>) -> Self {
        Self { stage, kind, message, source }
    }
}

impl PartialEq for StageError {
    fn eq(&self, other: &Self) -> bool {
        (self.stage, self.kind, &self.message) == (other.stage, other.kind, &other.message)
    }
}

impl Eq for StageError {}
