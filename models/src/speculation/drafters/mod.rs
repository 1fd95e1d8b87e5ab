//! Kinds of drafters, a file for each.

mod carry_over;
mod heads;
mod lookahead;
mod next_state;
mod ngram;
mod on_device;
mod stale_depth;
mod weights;

pub use carry_over::CarryOver;
pub use heads::Heads;
pub use next_state::NextState;
pub use ngram::NGram;
pub(super) use on_device::OnDevice;
pub use stale_depth::StaleDepth;
pub use weights::{DRAFTER_FILE, DrafterSizes, DrafterWeights, MOST_POSITIONS};
