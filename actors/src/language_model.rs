//! Language model stage: a song's place in the lockstep of its engine, from its prompt to the end of its frames.
//!
//! The frames of all songs of an engine are written in one pass ([`crate::lockstep`]), and go from there to the song's
//! next stages. This stage brings the prompt, waits for the end, and makes a failure there one of its song.

use std::{collections::VecDeque, convert::Infallible, panic::resume_unwind};

use flume::{Receiver, Sender, bounded};
use heartstream_messages::{CodeFrame, PromptTokens, Stage};

use crate::{
    channel::{Inlet, ToAll},
    lockstep::{Joining, LockstepHandle, WritingEnd},
    song_context::SongContext,
    song_writer::{SongWriter, WriterSettings},
    stage::{Event, Failure, Next, StageWork},
};

/// What the stage waits for, one after the other.
#[derive(Debug)]
pub enum LmInput {
    /// The prompt.
    Prompt(PromptTokens),
    /// The end of the frames.
    End(WritingEnd),
}

/// Where the stage's inputs come from: the tokenizer first, and then the lockstep.
pub struct LmInlet {
    prompts: Option<Receiver<PromptTokens>>,
    ends: Receiver<WritingEnd>,
}

impl Inlet for LmInlet {
    type Item = LmInput;

    /// Frames are written while the end is waited for.
    fn waits_idle(&self) -> bool {
        self.prompts.is_some()
    }

    async fn take(&mut self) -> Option<LmInput> {
        let Some(prompts) = &self.prompts else { return self.ends.recv_async().await.ok().map(LmInput::End) };
        let prompt = prompts.recv_async().await.ok()?;
        self.prompts = None;
        Some(LmInput::Prompt(prompt))
    }
}

/// A song's place in the lockstep.
pub struct LanguageModelStage {
    /// There until the song joins.
    joining: Option<(WriterSettings, ToAll<CodeFrame>, Sender<WritingEnd>)>,
    /// There once the song has joined.
    place: Option<LockstepPlace>,
    lockstep: Option<LockstepHandle>,
    song: SongContext,
}

/// What the stage holds of a song that has joined.
struct LockstepPlace {
    /// Whether the end of its frames is known.
    over: bool,
    /// Closed when the lockstep has let go of the song.
    gone: Receiver<Infallible>,
}

impl LanguageModelStage {
    /// A stage whose song joins `lockstep`, with the inlet that it needs; its frames go to `takers`.
    pub fn new(
        lockstep: LockstepHandle,
        settings: WriterSettings,
        takers: ToAll<CodeFrame>,
        prompts: Receiver<PromptTokens>,
        song: SongContext,
    ) -> (Self, LmInlet) {
        let (end, ends) = bounded(1);
        let stage = Self { joining: Some((settings, takers, end)), place: None, lockstep: Some(lockstep), song };
        (stage, LmInlet { prompts: Some(prompts), ends })
    }

    fn join(&mut self, prompt: PromptTokens) -> Result<Next, Failure> {
        let (Some((settings, takers, end)), Some(lockstep)) = (self.joining.take(), &self.lockstep) else {
            return Ok(Next::Nothing); // there is one prompt only
        };
        let (alive, gone) = bounded(1);
        let song = self.song.clone();
        lockstep.join(Joining { writer: SongWriter::new(settings, song.clone()), prompt, takers, song, end, alive })?;
        self.place = Some(LockstepPlace { over: false, gone });
        Ok(Next::Input)
    }
}

impl StageWork for LanguageModelStage {
    const STAGE: Stage = Stage::LanguageModel;
    type Input = LmInput;
    type Output = Infallible;

    fn step(&mut self, event: Event<LmInput>, _: &mut VecDeque<Infallible>) -> Result<Next, Failure> {
        if let (Event::Input(LmInput::End(_)), Some(place)) = (&event, &mut self.place) {
            place.over = true;
        }
        match event {
            Event::Input(LmInput::Prompt(prompt)) => self.join(prompt),
            Event::Input(LmInput::End(WritingEnd::Over)) => Ok(Next::Nothing),
            Event::Input(LmInput::End(WritingEnd::Failed(failure))) => Err(failure),
            Event::Input(LmInput::End(WritingEnd::Panicked(message))) => resume_unwind(Box::new(message)),
            // The lockstep ends when no song is left; where it ended before, it panicked outside of a song's work.
            Event::End if self.place.is_some() && !self.song.stop.is_set() => {
                Err("the actor that writes the frames of all songs has ended".into())
            }
            Event::Begin | Event::Continue | Event::End => Ok(Next::Input),
        }
    }
}

impl Drop for LanguageModelStage {
    /// Waits until nothing is left of the song in the lockstep, and, after the last song, nothing of the lockstep.
    fn drop(&mut self) {
        self.joining = None;
        let Some(lockstep) = self.lockstep.take() else { return };
        if let Some(LockstepPlace { over, gone }) = self.place.take() {
            if !over {
                lockstep.leave(&self.song);
            }
            let _ = gone.recv(); // nothing is ever sent: the signal is the drop of the sender
        }
        lockstep.end();
    }
}
