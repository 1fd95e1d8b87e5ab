//! Memory of a song: its estimate, and ways to fit it into a limit.
//!
//! [`MemoryPlan`] is estimated from configs and headers alone, before anything large is loaded: `inspect` prints
//! it, and `fit` chooses by it.

mod available;
mod estimate;
mod fit;
mod limits;
mod size;

pub use estimate::{CUBLAS_ROOM, MemoryPlan, SongSize};
pub(crate) use fit::fit;
pub use limits::MemoryLimits;
pub use size::MemorySize;
