//! Speculative decoding: several frames are drafted and then verified in one pass over the weights.
//!
//! A plain frame reads the backbone once and the depth decoder seven times. Here cheap drafts of the next frames go
//! through the backbone in one pass and through the depth decoder in a few, and those that the model would have written
//! stand. All noise is keyed by its place, so what the model would have written does not depend on the drafts: a song
//! is the plain song, bit for bit, with every drafter and any number of drafted frames.
//!
//! # Layout
//! - [`accept()`], [`first_unmatched`]: which codes stand; pure functions
//! - [`run_round`]: one round on any [`FrameTarget`]
//! - [`FrameDrafter`], [`Chain`] and the drafters themselves
//! - [`Prefetch`], [`SpeculationCache`]: drafts that are made while a round is verified
//! - [`Policy`], [`DepthPolicy`]: choices by measured times
//! - [`Speculator`]: rounds of a whole song; [`Counters`]: what came of them
//! - [`write_side_by_side`]: several songs in one pass, which use the rows that drafts would; [`PassPolicy`], [`takes_turns`]:
//!   whether each had better draft for itself
//! - [`Speculation`]: the setting

mod accept;
mod counters;
mod depth_policy;
mod drafter;
mod drafter_inputs;
mod drafters;
mod loss_budget;
mod margin_stats;
mod pass_policy;
mod policy;
mod prefetch_cache;
mod prefetch_schedule;
mod round;
mod setting;
mod side_by_side;
mod speculator;
mod target;

pub use accept::{Verdict, accept, first_unmatched};
pub use counters::Counters;
pub use depth_policy::DepthPolicy;
pub use drafter::{Chain, Chained, Draft, DraftContext, FrameDrafter};
pub use drafter_inputs::DrafterInputs;
pub use drafters::{
    CarryOver, DRAFTER_FILE, DrafterSizes, DrafterWeights, Heads, MOST_POSITIONS, NGram, NextState, StaleDepth,
};
pub use margin_stats::MarginStats;
pub use pass_policy::PassPolicy;
pub use policy::{Choice, Policy};
pub use prefetch_cache::{
    Bundle, Hit, LikelyOutcome, Prefetch, PrefetchCounters, PrefetchRequest, SpeculationCache, fan_out, likely_outcomes,
};
pub use round::{Completion, DepthWork, Drafts, RoundOutcome, RoundTimes, Work, run_round};
pub use setting::{DrafterName, MOST_FRAMES, Speculation};
pub use side_by_side::{SpeculatedSong, takes_turns, write_side_by_side};
pub use speculator::{Learned, Speculator};
pub use target::{Frame, FrameTarget, Logits};
