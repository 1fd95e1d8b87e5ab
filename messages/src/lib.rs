//! Messages between the stages of a song: plain data, one noun per file, no behaviour.
//!
//! Messages hold host memory and numbers, never tensors, so that a stage can be moved to another device, process or
//! machine without changing what it says. Sizes and places carry their unit in their type ([`units`]).

mod code_frame;
mod flow_order;
mod latent_segment;
mod pcm;
mod progress;
mod prompt_tokens;
mod song_order;
mod song_report;
mod song_request;
mod speculation_report;
mod stage;
mod stage_error;
pub mod units;

pub use code_frame::{CodeFrame, CodeSegment};
pub use flow_order::{FlowAnswer, FlowKind, FlowOrder, FlowRefusal, Numbers};
pub use latent_segment::LatentSegment;
pub use pcm::{PcmBlock, PcmPiece, PcmWindow};
pub use progress::{Progress, SpeakerProgress, SpeakerState};
pub use prompt_tokens::PromptTokens;
pub use song_order::{SongAnswer, SongCall, SongKind, SongOrder, SongPart, SongRefusal};
pub use song_report::{Milestones, Outcome, SongReport, StageReport};
pub use song_request::{Continuity, FirstWindow, Flow, Sampling, SongRequest};
pub use speculation_report::{DrafterReport, PrefetchReport, SpeculationReport, SpeculationTimes};
pub use stage::Stage;
pub use stage_error::{FailureKind, StageError};
