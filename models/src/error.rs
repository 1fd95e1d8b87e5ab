//! Errors of a model: every variant says what was expected, what was found, where, and what to do.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::{device::DeviceName, foreign_text::shown, kernels::cpu::WeightDtype};

/// Problems that are listed one by one: with the lines around them, an error text has twenty.
const MOST_LISTED: usize = 18;

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
    /// A file is of a known kind that no model is made of.
    #[error("{} is {what}. {remedy}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The weights are of a known format that is not read.
    #[error("the weights in {} are {what}, and f32, f16 or bf16 are read. {remedy}", path.display())]
    Quantised {
        /// The first file of the weights.
        path: PathBuf,
        /// Their format.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A file is no saved song, or not one that can be used here.
    #[error("{} {}: {reason}. {remedy}", path.display(), remedy.finding())]
    SavedSong {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
        /// What to do.
        remedy: SavedSongRemedy,
    },
    /// A tensor has numbers that are not finite.
    #[error(
        "{}: the tensor {tensor} has {count} numbers that are not finite, the first of them at place {place} ({found}): \
         the file is damaged, or was made by a conversion that overflowed. Download the file again, or convert the \
         original with `heartstream convert`",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How many numbers of it are infinite or not a number.
        count: u64,
        /// The place of the first of them.
        place: usize,
        /// The first of them.
        found: f32,
    },
    /// A tensor has numbers that are too large for what they are to be stored as.
    #[error(
        "{}: the tensor {tensor} has {count} numbers beyond the range of {dtype}, the first of them at place {place} \
         ({found}). Store these weights as f32",
        path.display()
    )]
    Overflow {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How many numbers of it are too large.
        count: u64,
        /// The place of the first of them.
        place: usize,
        /// The first of them.
        found: f32,
        /// What they were to be stored as.
        dtype: WeightDtype,
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
    /// A shape or length given to a model function does not fit: a mistake of the caller.
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

/// What helps against a saved song that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SavedSongRemedy {
    /// Another file.
    File,
    /// The model that wrote the song.
    Model,
    /// Another length of the song, or another file.
    Length,
}

impl SavedSongRemedy {
    /// What is wrong with a file that needs this.
    fn finding(self) -> &'static str {
        match self {
            Self::File => "is damaged",
            Self::Model => "is a song of another model",
            Self::Length => "does not fit this model",
        }
    }
}

impl fmt::Display for SavedSongRemedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "Give a file that the codes of a song were saved to",
            Self::Model => "Load the model that wrote the song",
            Self::Length => "Give the length of the song, or a file that the codes of a song were saved to",
        })
    }
}

impl ModelError {
    /// `path` cannot be written, for this reason.
    pub fn unwritable(path: &Path, error: &io::Error) -> Self {
        Self::Unwritable { path: path.to_owned(), reason: error.to_string(), remedy: write_remedy(error).to_owned() }
    }

    /// `what` must be `expected`, but is `found`.
    pub fn shape(what: &'static str, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::Shape { what, expected: expected.to_string(), found: found.to_string() }
    }
}

/// What helps against an error of writing a file.
#[must_use]
pub fn write_remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, FileTooLarge, IsADirectory, NotADirectory, NotFound, PermissionDenied, QuotaExceeded,
        ReadOnlyFilesystem, ResourceBusy, StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded => "Free some space there, or give a path on another disk",
        FileTooLarge => "Raise the limit of the size of files (ulimit -f), or give a path on another file system",
        PermissionDenied | ReadOnlyFilesystem => "Give a path that may be written to",
        NotFound | NotADirectory => "Give a path in a directory that exists",
        IsADirectory => "Give the name of a file in this directory",
        AlreadyExists => "Give a path where nothing is yet",
        ResourceBusy => "Give another path, or wait until that is done",
        _ => "Give a path in a directory that exists and may be written to",
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
        let first = self.problems.first().map(|problem| &problem.file);
        let one_file = self.problems.iter().all(|problem| Some(&problem.file) == first);
        write!(f, "{n} {noun} {verb} not fit the config.json beside")?;
        if let Some(file) = first.filter(|_| one_file) {
            write!(f, " {}", file.display())?;
        }
        write!(f, ":")?;
        let listed = if n > MOST_LISTED { MOST_LISTED - 1 } else { n };
        for TensorProblem { file, name, expected, found } in &self.problems[..listed] {
            write!(f, "\n  ")?;
            if !one_file {
                write!(f, "{}: ", file.display())?;
            }
            write!(f, "{}: expected {expected:?}, ", shown(name))?;
            match found {
                Found::Missing => write!(f, "missing")?,
                Found::Shape(shape) => write!(f, "found {}", shown(&format!("{shape:?}")))?,
                Found::Type(dtype) => write!(f, "found numbers of type {dtype}, need f32, f16 or bf16")?,
            }
        }
        if listed < n {
            write!(f, "\n  … and {} more", n - listed)?;
        }
        write!(f, "\nDownload the checkpoint again, or use the config.json that belongs to it.")
    }
}
