//! Errors of training.

/// Why a command of the trainer failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A part of the model refused its input.
    #[error(transparent)]
    Model(#[from] heartstream_models::ModelError),
    /// An example could not be rendered, or the corpus not be opened.
    #[error(transparent)]
    Corpus(#[from] crate::corpus::CorpusError),
    /// A file could not be read or written.
    #[error("{path}: {source}. Check that the folder is there and can be written to")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A stage was asked for before the one that it builds on.
    #[error("{0}")]
    Order(String),
}

/// What the trainer's functions return.
pub type Result<T> = std::result::Result<T, TrainError>;

/// Says which file an error of the system is about.
pub fn at(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> TrainError + '_ {
    move |source| TrainError::File { path: path.to_owned(), source }
}
