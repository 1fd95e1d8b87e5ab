//! heartstream: a streaming music engine. Words and tags go in, 48 kHz stereo comes out while the song is written.
//!
//! This is the library that other programs depend on, and the one place that knows which stage is next to which.
//!
//! ```no_run
//! use heartstream::{Checkpoint, Heartstream, SongRequest};
//!
//! # async fn example() -> Result<(), heartstream::EngineError> {
//! let engine = Heartstream::builder(Checkpoint::open("models/heartmula")?).build().await?;
//! let mut song = engine.sing(SongRequest::new("piano,calm", "[Verse]\nThe sun creeps in across the floor")).await?;
//! while let Some(block) = song.next_block().await {
//!     println!("{} samples from {}", block.samples.len(), block.start.seconds());
//! }
//! println!("{:?}", song.finished().await.outcome);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - [`plan::Plan`]: how many workers, on which cores, with how much room in between: a checked value
//! - `wiring`: the plan becomes actors and channels, from the sinks back to the source
//! - `conductor`: the kameo actor that every stage of a song is linked to
//! - [`Song`]: the handle of a running song
//! - [`queue::QueuedSong`]: a song that waits for its turn, where an engine limits the songs at once
//!   ([`Builder::max_songs`])
//! - [`memory`]: the estimated memory of a song, and the way in which it fits
//! - `elsewhere`: songs that another machine makes ([`Heartstream::sing_elsewhere`])
//! - `machines`, a feature: workers on other machines
//! - `pull`, a feature: the published checkpoints, from the hub into a directory
//!
//! The program around it is the package `heartstream-cli`.

#[cfg(feature = "blocking")]
pub mod blocking;
mod builder;
mod capacity;
mod conductor;
mod decoder;
mod elsewhere;
mod engine;
mod error;
mod lm_resources;
mod lockstep;
#[cfg(feature = "remote")]
pub mod machines;
pub mod memory;
pub mod plan;
#[cfg(feature = "pull")]
pub mod pull;
pub mod queue;
mod request;
mod saved_song;
mod sequential;
mod sink;
mod song;
mod wiring;

pub use builder::Builder;
pub use decoder::Decoder;
pub use engine::Heartstream;
pub use error::EngineError;
pub use heartstream_messages::{
    Continuity, FailureKind, FirstWindow, Flow, Outcome, PcmBlock, Progress, Sampling, SongReport, SongRequest, Stage,
    StageError, units,
};
/// The models themselves: their directories, weights, configs and errors.
pub use heartstream_models as models;
pub use heartstream_models::{speculation::Speculation, weights::Checkpoint};
pub use plan::Placement;
pub use sink::{Sink, Sinks};
pub use song::{Song, SongBlocks, SongControl, SongId};

/// Songs that were saved as codes, to be decoded again or resumed.
pub mod codes {
    pub use heartstream_models::SongCodes;

    pub use crate::saved_song::SavedSong;
}

/// Panics that tests plant in a song.
#[cfg(feature = "fault-injection")]
pub mod faults {
    pub use heartstream_actors::song_context::{Faults, Hold, PlantedPanic};
}

/// What a [`SongReport`] and a [`Progress`] are made of.
pub mod report {
    pub use heartstream_messages::{
        DrafterReport, Milestones, PrefetchReport, SpeakerProgress, SpeakerState, SpeculationReport, SpeculationTimes,
        StageReport,
    };
}

/// Songs that are played: on any [`OutputDevice`](speaker::OutputDevice), and with the feature `speaker` on the
/// loudspeakers of the machine.
pub mod speaker {
    #[cfg(feature = "speaker")]
    pub use heartstream_actors::speaker_sink::{CpalDevice, DeviceDescription, devices};
    pub use heartstream_actors::{
        sample_ring::Playback,
        speaker_sink::{
            DeviceNews, OnDeviceLoss, OpenStream, OutputDevice, Speaker, SpeakerError, StartPolicy,
            resample::ResampleError,
        },
    };
}

/// Songs as WAV: files and streams that a song is written to, and the bytes of one.
pub mod wav {
    pub use heartstream_actors::wav_sink::{SampleFormat, WavError, WavTarget};

    pub use crate::song::WavBytes;
}

/// Tags and lyrics: what a model is known to take, and what is changed in words before they are sung.
pub mod words {
    pub use heartstream_models::text::{KnownTags, NormalisedWords, TagGroup, WordsNote, normalise};
}
