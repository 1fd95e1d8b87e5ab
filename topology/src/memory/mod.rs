//! How much memory does a song need, and what can be done where there is less?
//!
//! [`MemoryPlan`] is what is foretold from configs and headers alone, before anything large is loaded: `inspect` prints
//! it, and [`fit()`] chooses by it.

mod available;
mod fit;
mod foretold;
mod size;

pub(crate) use available::available;
pub(crate) use fit::{fit, fit_decoding};
pub use foretold::{MemoryPlan, SongSize};
pub use size::MemorySize;
