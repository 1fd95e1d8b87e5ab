//! Song order: a song that another machine makes, and the parts of it that come back.

use serde::{Deserialize, Serialize};

use crate::{Numbers, SongRequest, units::SampleIndex};

/// What the codes and the samples of a song depend on beside its request. Two machines of one kind make the same song.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SongKind {
    /// Version of the engine.
    pub engine: String,
    /// Fingerprint of the model.
    pub model: String,
    /// Kernel families, and the dtypes that they have the weights in.
    pub kernels: String,
}

/// A song to make, or to go on with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SongOrder {
    /// What the worker must be.
    pub kind: SongKind,
    /// What the song is a function of, with a first window that no deadline shortens.
    pub request: SongRequest,
    /// Codes that are written already, frame after frame.
    pub codes: Vec<u16>,
    /// Where the sound begins that comes back: what is before it is there already.
    pub played: SampleIndex,
}

/// What an engine says to a worker that makes songs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SongCall {
    /// Begin a song.
    Begin(Box<SongOrder>),
    /// Send what there is of a song, within a second. A song that is not asked for is ended after a while.
    Next {
        /// The worker's number of the song.
        song: u64,
        /// Whether the song is paused.
        paused: bool,
    },
    /// End a song.
    End {
        /// The worker's number of the song.
        song: u64,
    },
}

/// What the worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SongAnswer {
    /// The song has begun, with this number.
    Begun(u64),
    /// What there is of it.
    Part(SongPart),
    /// It is ended.
    Ended,
}

/// Codes and sound that follow those of the part before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SongPart {
    /// Codes, frame after frame.
    pub codes: Vec<u16>,
    /// Blocks of sound, interleaved.
    pub blocks: Vec<Numbers>,
    /// How far the sound is made, also where none of it is sent because the engine has it.
    pub made: SampleIndex,
    /// Nothing comes after it.
    pub is_last: bool,
    /// Over the song's number, the part's number and all of the part.
    pub checksum: u64,
}

/// Why a worker makes no song.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum SongRefusal {
    /// The worker is of another kind.
    #[error("it has the model {} with {} of version {}", .0.model, .0.kernels, .0.engine)]
    OtherKind(SongKind),
    /// It makes as many songs as it may.
    #[error("it makes as many songs as it may")]
    Full,
    /// The order cannot be sung.
    #[error("it refuses the song: {0}")]
    Order(String),
    /// It does not make such a song, or not any more.
    #[error("it does not make the song any more")]
    Unknown,
    /// The song failed there.
    #[error("the song failed there: {0}")]
    Failed(String),
}
