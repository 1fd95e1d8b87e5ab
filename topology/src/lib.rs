//! heartstream: a streaming music engine. Words and tags go in, 48 kHz stereo comes out while the song is written.
//!
//! This is the library that other programs depend on, and the one place that knows which stage is next to which.
//!
//! ```no_run
//! use heartstream::{Heartstream, SongRequest};
//!
//! # async fn example() -> Result<(), heartstream::EngineError> {
//! let engine = Heartstream::builder().build().await?; // the built-in demo model
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
//! - [`Plan`]: how many workers, on which cores, with how much room in between: a checked value
//! - `wiring`: the plan becomes actors and channels, from the sinks back to the source
//! - `conductor`: the kameo actor that every stage of a song is linked to
//! - [`Song`]: the handle of a running song
//! - [`MemoryPlan`]: the estimated memory of a song, and the way in which it fits
//! - `pull`: the published checkpoints, from the hub into a directory
//! - [`command_line`]: the program around it

mod capacity;
pub mod command_line;
mod conductor;
mod decoder;
mod engine;
mod error;
mod lm_resources;
mod memory;
mod plan;
mod pull;
mod request;
mod saved_song;
mod sequential;
mod sink;
mod song;
mod wiring;

pub use capacity::Capacities;
pub use decoder::Decoder;
pub use engine::{Builder, Heartstream};
pub use error::EngineError;
pub use heartstream_actors::{
    compute_site::ComputeSite,
    sample_ring::Playback,
    song_context::{Fault, Faults, Hold},
    speaker_sink::{
        CpalDevice, DeviceDescription, DeviceNews, OnDeviceLoss, OpenStream, OutputDevice, Speaker, SpeakerError,
        StartPolicy, devices,
    },
    wav_sink::{SampleFormat, WavTarget},
};
pub use heartstream_messages::{
    Continuity, DrafterReport, FirstWindow, Flow, Outcome, PcmBlock, PrefetchReport, Progress, Sampling, SongReport,
    SongRequest, SpeakerProgress, SpeakerState, SpeculationReport, SpeculationTimes, Stage, StageError, StageReport,
    units,
};
pub use heartstream_models::{
    DeviceName, Devices, SongCodes, WeightDtype,
    speculation::{DrafterName, Speculation},
    text::{KnownTags, NormalisedWords, TagGroup, WordsNote, normalise},
    weights::{Checkpoint, Storage},
};
pub use memory::{MemoryLimits, MemoryPlan, MemorySize, SongSize};
pub use plan::{DraftSite, Placement, Plan};
pub use saved_song::SavedSong;
pub use sink::{Sink, Sinks};
pub use song::Song;
