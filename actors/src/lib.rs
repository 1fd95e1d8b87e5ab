//! Actors of the pipeline: one page per stage, and the one loop that runs them all.
//!
//! A stage is a value with a method that works on one event ([`StageWork`]); it can be tested without a runtime. The
//! kameo actor around it ([`StageActor`]) receives, works and sends, on a thread of its own, and answers its mailbox
//! between two units of work. Data flows through bounded flume channels. A stage does not know its neighbours.
//!
//! # Layout
//! - [`stage`]: the loop; [`failure`]: its errors as those of the song; [`channel`]: its inlets and outlets
//! - [`compute_site`]: threads and their cores; [`core_layout`]: what cores there are, their speed and caches;
//!   [`stage_threads`]: the pool that lends threads to songs; [`core_turns`]: which stage goes first on shared cores; [`prompt_cores`]: all cores for the prompt;
//!   [`awake`]: helping threads that do not sleep; [`prefetcher`]: drafts on cores of their own
//! - [`song_context`]: shared state of a song's stages: counters, the stop flag, planted faults; [`working_time`]: the
//!   time in which stages worked
//! - a page per stage, in the order of the data: [`prompt_tokenizer`], [`language_model`] (with the [`song_writer`] of
//!   each song, the [`lockstep`] of all songs, and the `speculation_report`), [`codes_source`], [`codes_sink`],
//!   [`segmenter`], [`flow_task`] and [`flow_worker`] ([`remote`] on other machines), [`vocoder`], [`stitcher`], [`wav_sink`], [`speaker_sink`] (with its
//!   [`sample_ring`]), [`subscriber_sink`] (with its [`reader_queue`])

pub mod awake;
pub mod channel;
pub mod codes_sink;
pub mod codes_source;
pub mod compute_site;
pub mod core_layout;
pub mod core_turns;
pub mod failure;
pub mod flow_task;
pub mod flow_worker;
pub mod language_model;
pub mod lockstep;
pub mod prefetcher;
pub mod prompt_cores;
pub mod prompt_tokenizer;
pub mod reader_queue;
pub mod remote;
pub mod sample_ring;
pub mod segmenter;
pub mod song_context;
pub mod song_writer;
pub mod speaker_sink;
mod speculation_report;
pub mod stage;
pub mod stage_threads;
pub mod stitcher;
pub mod subscriber_sink;
pub mod vocoder;
pub mod wav_sink;
pub mod working_time;

pub use stage::{Event, Failure, Next, StageActor, StageArgs, StageWork};
