//! Which ways of drafting are there? A file for each.

mod carry_over;
mod ngram;
mod oracle;
mod stale_depth;

pub use carry_over::CarryOver;
pub use ngram::NGram;
pub use oracle::Oracle;
pub use stale_depth::StaleDepth;
