//! Flow matching on other machines: the workers that an engine has there, and the stage of a song that sends them windows.
//!
//! - [`workers`]: who is there and how fast, with deadlines and faults; [`stage`]: a song's windows on their way there and
//!   back; [`answer`]: what an answer must be
//! - `server`, a feature: the actor on the other machine, which decodes windows for whom it belongs to
//!
//! How machines find and trust each other is the topology's.

pub mod answer;
#[cfg(feature = "remote")]
pub mod server;
pub mod stage;
pub mod workers;
