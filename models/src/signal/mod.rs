//! Signal processing outside of the models: noise, windows, fades.

mod edges;
mod keyed_noise;
mod latent_join;
mod overlap_add;
mod segment_plan;
mod windows;

pub use edges::fade_edges;
pub use keyed_noise::{Domain, Draws, KeyedNoise, philox4x32_10};
pub use latent_join::LatentJoin;
pub use overlap_add::OverlapAdd;
pub use segment_plan::{Rates, SHORTEST_FIRST_WINDOW, SegmentPlan, Window, longest_first_window};
pub use windows::{REFERENCE_WINDOW, ReferenceWindows};
