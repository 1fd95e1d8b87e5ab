//! What can go wrong in a model: every variant says what was expected, what was found, where, and what to do.

use std::{fmt, path::PathBuf};

use crate::device::DeviceName;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, ModelError>;

/// An error of loading or running a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file that must be there is not, or cannot be read.
    #[error("cannot read {}: {reason}. {remedy}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said, or what was found in its place.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {reason}. {remedy}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A file of the checkpoint is not what its name says.
    #[error("{} is damaged: {reason}. {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// A field of a JSON file has a value the engine cannot work with.
    #[error("{}: field `{field}` must be {expected}, but is {found}. Restore the file that came with the checkpoint, or correct the field", path.display())]
    Field {
        /// The JSON file.
        path: PathBuf,
        /// The field, with dots for nested objects.
        field: String,
        /// What the engine can work with.
        expected: String,
        /// What is in the file.
        found: String,
    },
    /// Tensors are missing or have other shapes than the config asks for; all of them at once.
    #[error(transparent)]
    Tensors(#[from] TensorProblems),
    /// An option of a song is outside its range.
    #[error("{option} must be {expected}, but is {found}")]
    Option {
        /// The option's name, as a user writes it.
        option: &'static str,
        /// The range that works.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// What was to compute cannot.
    #[error("cannot compute on {device}: {reason}. {remedy}")]
    Device {
        /// What was asked for.
        device: DeviceName,
        /// What was found.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The words cannot be sung by this model.
    #[error("{problem}. {remedy}")]
    Prompt {
        /// What is wrong with the words.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The model ends the song before its first frame, however often that is drawn.
    #[error(
        "the model ended the song before its first frame, in {draws} of {draws} draws. Try another seed, other words, or a higher temperature"
    )]
    EmptySong {
        /// Draws of the first frame.
        draws: u32,
    },
    /// The model computed something that is not a number.
    #[error(
        "the logits of frame {frame}, codebook {codebook} are not numbers ({found} among them): the checkpoint is damaged or was made for another model. Run `heartstream inspect` on it"
    )]
    NotANumber {
        /// The frame, counted from 0.
        frame: u64,
        /// The codebook, counted from 0.
        codebook: usize,
        /// The first bad value.
        found: f32,
    },
    /// The vocoder computed something that is not a sound.
    #[error(
        "the samples of a latent frame are not numbers ({found} among them): the checkpoint is damaged or was made for another model. Run `heartstream inspect` on it"
    )]
    NotASound {
        /// The first bad value.
        found: f32,
    },
    /// A shape or length handed to a model function does not fit. A mistake of the caller.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// The argument.
        what: &'static str,
        /// The shape that fits.
        expected: String,
        /// The shape that was given.
        found: String,
    },
    /// candle could not do a step.
    #[error("computation failed: {0}")]
    Compute(#[from] candle_core::Error),
}

impl ModelError {
    /// `what` must be `expected`, but is `found`.
    pub(crate) fn shape(what: &'static str, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::Shape { what, expected: expected.to_string(), found: found.to_string() }
    }
}

/// One tensor that does not fit the config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorProblem {
    /// The file the tensor is in, or should be in.
    pub file: PathBuf,
    /// The tensor's name.
    pub name: String,
    /// The shape that follows from the config.
    pub expected: Vec<usize>,
    /// What is there instead.
    pub found: Found,
}

/// What is in a checkpoint in the place of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Missing,
    /// A tensor of another shape.
    Shape(Vec<usize>),
    /// Numbers of a type that weights cannot have.
    Type(String),
}

/// Every tensor of a checkpoint part that does not fit its config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorProblems {
    /// The problems, in the order of the config's tensors; never empty.
    pub problems: Vec<TensorProblem>,
}

impl std::error::Error for TensorProblems {}

impl fmt::Display for TensorProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.problems.len();
        let (noun, verb) = if n == 1 { ("tensor", "does") } else { ("tensors", "do") };
        write!(f, "{n} {noun} {verb} not fit the config.json beside:")?;
        for TensorProblem { file, name, expected, found } in &self.problems {
            write!(f, "\n  {}: {name}: expected {expected:?}, ", file.display())?;
            match found {
                Found::Missing => write!(f, "missing")?,
                Found::Shape(shape) => write!(f, "found {shape:?}")?,
                Found::Type(dtype) => write!(f, "found numbers of type {dtype}, need f32, f16 or bf16")?,
            }
        }
        write!(f, "\nDownload the checkpoint again, or use the config.json that belongs to it.")
    }
}
