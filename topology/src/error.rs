//! Errors before a song begins.

use heartstream_actors::{speaker_sink::SpeakerError, wav_sink::WavError};
use heartstream_models::ModelError;

use crate::memory::MemorySize;

/// An error of the engine. Errors of a running song are in its report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The model cannot be loaded, or cannot do what was asked for.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The song cannot be written.
    #[error(transparent)]
    Wav(#[from] WavError),
    /// The song cannot be played.
    #[error(transparent)]
    Speaker(#[from] SpeakerError),
    /// An option of the engine is outside its range.
    #[error("{option} must be {expected}, but is {found}")]
    Option {
        /// The option's name, as a user writes it.
        option: &'static str,
        /// The range that works.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// The engine was called from where it cannot start threads of its own.
    #[error(
        "a song needs tokio's multi-threaded runtime; start the program with #[tokio::main] or Builder::new_multi_thread"
    )]
    Runtime,
    /// The system gives no more threads.
    #[error("the system starts no more threads ({0}). End other programs, or raise the limit of processes")]
    Threads(String),
    /// The song does not fit into the memory limit in any way.
    #[error(
        "the song needs {needs} of {memory} at the least, one half of the model after the other ({streaming} as it was \
         asked for), and may take {limit}. Shorten it, store the codec as f16, or raise the \
         limit"
    )]
    Memory {
        /// Whose memory it is, as a sentence names it.
        memory: String,
        /// The limit.
        limit: MemorySize,
        /// The least that it would need.
        needs: MemorySize,
        /// What it would need as requested.
        streaming: MemorySize,
    },
    /// A saved song cannot be decoded within the memory limit.
    #[error(
        "decoding needs {needs} of {memory} at the least, and may take {limit}. Store the codec as f16, take fewer flow \
         workers, or raise the limit"
    )]
    DecodingMemory {
        /// Whose memory it is, as a sentence names it.
        memory: String,
        /// The limit.
        limit: MemorySize,
        /// The least that it would need.
        needs: MemorySize,
    },
    /// A song is to be played while it is made, and would be made more slowly.
    #[error(
        "the song is to be played while it is made, and with {songs} at once this machine makes {speed:.2} s of music in \
         a second. Sing fewer songs at once, or let it be written before it is played"
    )]
    TooSlow {
        /// Songs at once, this one among them.
        songs: usize,
        /// Seconds of music that a second makes of each.
        speed: f64,
    },
    /// This machine cannot work with others.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Machines(#[from] crate::machines::MachinesError),
    /// Loading ended in a panic.
    #[error("loading the model broke off: {0}. This is a defect of the engine; report it with these words")]
    Interrupted(String),
}
