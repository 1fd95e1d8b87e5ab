//! Conductor of a song: the kameo actor that every stage is linked to.
//!
//! It is notified of each stage's end, and of its failure by name. When one fails, or the song is cancelled, it ends
//! the rest. When the last stage has ended it writes the report. No stage is restarted within a song: a language model
//! without its KV cache would continue another song.

use std::{ops::ControlFlow, sync::atomic::Ordering};

use heartstream_actors::song_context::SongContext;
use heartstream_messages::{FailureKind, Outcome, SongReport, Stage, StageError};
use heartstream_models::heartmula::REDRAWS;
use kameo::{
    actor::{Actor, ActorId, ActorRef, WeakActorRef},
    error::ActorStopReason,
    message::{Context, Message},
};
use tokio::sync::oneshot;

/// A stage of the song.
pub(crate) struct StageLink {
    pub id: ActorId,
    pub stage: Stage,
    /// Has the actor end soon: at its next await, or, for what hands over what was made, without waiting for a reader.
    pub end: Box<dyn Fn() + Send + Sync>,
}

/// How to report when the last stage has ended.
pub(crate) struct Ending {
    /// For the report.
    pub notes: Vec<String>,
    /// Whether the song ends with these stages, or others come after them.
    pub is_the_songs: bool,
}

/// Arguments of the conductor.
pub(crate) struct ConductorArgs {
    pub members: Vec<StageLink>,
    pub song: SongContext,
    pub ending: Ending,
    pub report: oneshot::Sender<SongReport>,
}

/// The actor.
pub(crate) struct Conductor {
    /// Stages that have not ended.
    members: Vec<StageLink>,
    /// Stages that took part.
    took_part: Vec<Stage>,
    song: SongContext,
    /// How the song ends, once something other than its own end is known.
    ended_early: Option<Outcome>,
    ending: Ending,
    report: Option<oneshot::Sender<SongReport>>,
}

/// Ends the song. What was decoded so far still reaches the sinks that write.
pub(crate) struct Cancel;

impl Message<Cancel> for Conductor {
    type Reply = ();

    async fn handle(&mut self, _: Cancel, _: &mut Context<Self, ()>) {
        if self.ended_early.is_none() {
            self.end_early(Outcome::Cancelled);
        }
    }
}

impl Actor for Conductor {
    type Args = ConductorArgs;
    type Error = std::convert::Infallible;

    fn name() -> &'static str {
        "conductor"
    }

    async fn on_start(args: ConductorArgs, _: ActorRef<Self>) -> Result<Self, Self::Error> {
        let ConductorArgs { members, song, ending, report } = args;
        let took_part = members.iter().map(|member| member.stage).collect();
        Ok(Self { members, took_part, song, ended_early: None, ending, report: Some(report) })
    }

    async fn on_link_died(
        &mut self,
        _: WeakActorRef<Self>,
        id: ActorId,
        reason: ActorStopReason,
    ) -> Result<ControlFlow<ActorStopReason>, Self::Error> {
        let Some(place) = self.members.iter().position(|member| member.id == id) else {
            return Ok(ControlFlow::Continue(()));
        };
        let stage = self.members.swap_remove(place).stage;
        self.song.span.in_scope(|| tracing::debug!(%stage, ?reason, "stage ended"));
        if let ActorStopReason::Panicked(panic) = &reason {
            let known = panic.with_downcast_ref(|error: &StageError| error.clone());
            let error = known.unwrap_or_else(|| StageError::new(stage, FailureKind::Panic, panic.to_string(), None));
            if !matches!(self.ended_early, Some(Outcome::Failed(_))) {
                self.end_early(Outcome::Failed(error));
            }
        }
        if self.ended_early.is_none() && self.song.facts.reader_left() {
            self.end_early(Outcome::ReaderLeft);
        }
        if !self.members.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        self.write_report();
        Ok(ControlFlow::Break(ActorStopReason::Normal))
    }
}

impl Conductor {
    /// Ends what makes music; what was made goes on to the sinks, which end when it is through.
    fn end_early(&mut self, outcome: Outcome) {
        self.song.stop.set();
        for member in &self.members {
            match member.stage {
                Stage::CodesSink | Stage::Stitcher | Stage::WavSink | Stage::SpeakerSink => (),
                // Everything that computes, and the subscriber sink, whose reader may have stopped.
                _ => (member.end)(),
            }
        }
        self.ended_early = Some(outcome);
    }

    fn write_report(&mut self) {
        let redraws = self.song.meter.redraws.load(Ordering::Relaxed);
        let mut notes = std::mem::take(&mut self.ending.notes);
        notes.extend(self.song.mishaps.all());
        // Of a song in two halves, the half that wrote it reports this.
        if redraws > 0 && self.took_part.contains(&Stage::LanguageModel) {
            notes.push(format!(
                "the model ended the song before its first frame, so that was drawn again: the song begins with draw {} of at most {}",
                redraws + 1,
                REDRAWS + 1
            ));
        }
        // A stop flag without a message of cancellation is a cancelled song all the same.
        let own_end = if self.song.stop.is_set() { Outcome::Cancelled } else { Outcome::Finished };
        let mut report = self.song.report(self.ended_early.take().unwrap_or(own_end), notes);
        report.stages = self.song.meter.stage_reports(|stage| self.took_part.contains(&stage));
        if self.ending.is_the_songs {
            self.song.meter.end();
        }
        if let Some(waiting) = self.report.take() {
            let _ = waiting.send(report); // the receiver may be gone
        }
    }
}
