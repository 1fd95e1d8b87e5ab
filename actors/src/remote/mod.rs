//! Work of other machines: windows that they decode and songs that they make, and the stages of a song that have it done.
//!
//! - [`workers`]: who decodes windows and how fast, with deadlines and faults; [`stage`]: a song's windows on their way
//!   there and back; [`answer`]: what an answer must be
//! - [`song_workers`]: who makes whole songs; [`song_stage`]: a song that comes from there; [`song_part`]: what its parts
//!   must be
//! - `server`, a feature: the actor on the other machine, which decodes windows for whom it belongs to
//!
//! How machines find and trust each other, and the actor that makes songs, are the topology's.

pub mod answer;
#[cfg(feature = "remote")]
pub mod server;
pub mod song_part;
pub mod song_stage;
pub mod song_workers;
pub mod stage;
pub mod workers;
