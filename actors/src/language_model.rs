//! Language model stage: prompt ids to codes, frame after frame until the model or the limit ends the song.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Instant,
};

use heartstream_messages::{
    CodeFrame, PromptTokens, Stage,
    units::{FrameIndex, Frames, Seconds},
};
use heartstream_models::{
    SongCodes,
    heartmula::{Begun, HeartMula, KeyedSampler, SongState},
    speculation::{Frame, Learned, Speculator},
};

use crate::{
    prompt_cores::CODEC,
    song_context::{FrameRate, SongContext},
    speculation_report::{speculation_report, trace},
    stage::{Event, Failure, Next, StageWork},
};

/// Settings that decide the codes of a song, beside model and prompt.
pub struct WriterSettings {
    /// Drafts, verifies and draws codes.
    pub speculator: Speculator,
    /// Draws the first frame, which is not drafted.
    pub sampler: KeyedSampler,
    /// Measurements of drafting, shared between songs.
    pub learned: LearnedBefore,
    /// Codes from here on end the song.
    pub audio_eos: u32,
    /// Guidance scale; 1 is none.
    pub guidance: f64,
    /// The song ends here at the latest.
    pub max_frames: Frames,
    /// Frames that were written before, in a song that is resumed.
    pub resumed_from: Arc<SongCodes>,
}

/// Measurements of drafting on this machine, for later songs.
#[derive(Debug, Clone, Default)]
pub struct LearnedBefore(Arc<Mutex<Option<Learned>>>);

impl LearnedBefore {
    /// The measurements so far.
    pub fn get(&self) -> Option<Learned> {
        self.known().clone()
    }

    fn set(&self, learned: Learned) {
        *self.known() = Some(learned);
    }

    fn known(&self) -> MutexGuard<'_, Option<Learned>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes the frames of one song.
pub struct LanguageModelStage {
    model: Arc<HeartMula>,
    speculator: Speculator,
    sampler: KeyedSampler,
    learned: LearnedBefore,
    /// Codes from here on end the song.
    audio_eos: u32,
    guidance: f64,
    max_frames: Frames,
    /// Codes of frames that were written before, in a song that is resumed.
    resumed_from: Arc<SongCodes>,
    /// There until the first frame is written.
    prompt: Option<PromptTokens>,
    /// There while the song goes on; dropping it frees the song's memory.
    state: Option<SongState>,
    /// When the first frame was written, in seconds from the request.
    first_frame: Option<f64>,
    song: SongContext,
}

impl LanguageModelStage {
    /// A stage around the shared weights.
    pub fn new(model: Arc<HeartMula>, settings: WriterSettings, song: SongContext) -> Self {
        let WriterSettings { speculator, sampler, learned, audio_eos, guidance, max_frames, resumed_from } = settings;
        Self {
            model,
            speculator,
            sampler,
            learned,
            audio_eos,
            guidance,
            max_frames,
            resumed_from,
            prompt: None,
            state: None,
            first_frame: None,
            song,
        }
    }

    /// The codes of frame `index`, if it was written before, or of it and as many after it as came at once.
    fn frames(&mut self, state: &mut SongState, index: FrameIndex) -> Result<Vec<Frame>, Failure> {
        let before = &self.resumed_from;
        let start = index.0 as usize * before.codebooks;
        match before.codes.get(start..start + before.codebooks).filter(|codes| !codes.is_empty()) {
            Some(codes) => {
                let codes: Vec<u32> = codes.iter().map(|code| u32::from(*code)).collect();
                self.model.replay_frame(state, &codes)?;
                self.speculator.replayed(&codes);
                Ok(vec![codes])
            }
            None => Ok(self.speculator.next_frames(&self.model, state)?),
        }
    }

    /// Writes the first frame of a song of which nothing was written before: drawn again where it would end the song.
    fn begin(&mut self, state: SongState, prompt: &PromptTokens) -> Result<(SongState, Vec<Frame>), Failure> {
        let (since, frames) = (Instant::now(), self.max_frames.0 as usize);
        let Begun { state, codes, redraws } = self.model.begin(state, prompt, frames, &self.sampler, self.audio_eos)?;
        self.song.meter.redraws.store(redraws, Ordering::Relaxed);
        self.speculator.began(&codes, since.elapsed());
        Ok((state, vec![codes]))
    }
}

impl StageWork for LanguageModelStage {
    const STAGE: Stage = Stage::LanguageModel;
    type Input = PromptTokens;
    type Output = CodeFrame;

    fn step(&mut self, event: Event<PromptTokens>, outputs: &mut VecDeque<CodeFrame>) -> Result<Next, Failure> {
        match event {
            Event::Begin => (),
            Event::Input(prompt) => {
                let (model, guidance, frames) = (&self.model, self.guidance, self.max_frames.0 as usize);
                let (stop, turns) = (&self.song.stop, &self.song.engine.turns);
                let read = |on_all_cores: bool| {
                    let awaits = || match on_all_cores {
                        true => turns.give_way_to(&CODEC, stop),
                        false => turns.give_way(Self::STAGE, stop),
                    };
                    model.start_unless(&prompt, guidance, frames, &|| {
                        awaits();
                        stop.is_set()
                    })
                };
                self.state = self.song.engine.prompt_cores.run(turns, read)?;
                self.prompt = Some(prompt).filter(|_| self.resumed_from.codes.is_empty());
            }
            Event::Continue if self.song.pause.holds_model() && !self.song.stop.is_set() => return Ok(Next::Wait),
            Event::Continue => self.write(outputs)?,
            Event::End => self.state = None,
        }
        Ok(if self.has_more() { Next::Continue } else { Next::Input })
    }
}

impl LanguageModelStage {
    fn has_more(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.frames() < self.max_frames.0)
    }

    /// Writes the next frames, as many as come at once.
    fn write(&mut self, outputs: &mut VecDeque<CodeFrame>) -> Result<(), Failure> {
        self.song.engine.turns.give_way(Self::STAGE, &self.song.stop);
        let Some(mut state) = self.state.take() else { return Ok(()) };
        let first = state.frames();
        let frames = match self.prompt.take() {
            None => self.frames(&mut state, FrameIndex(first))?,
            Some(prompt) => {
                let (begun, frames) = self.begin(state, &prompt)?;
                state = begun;
                frames
            }
        };
        // A frame with such a code says that the song is over, and is not part of it; nor is what came behind it.
        let end = frames.iter().position(|codes| codes.iter().any(|code| *code >= self.audio_eos));
        // A song that is over keeps no state.
        self.state = end.is_none().then_some(state);
        for (index, codes) in (first..).map(FrameIndex).zip(frames).take(end.unwrap_or(usize::MAX)) {
            // Every code is below the vocabulary size, which the config limits to 16 bits.
            outputs.push_back(CodeFrame { index, codes: codes.into_iter().map(|code| code as u16).collect() });
            self.song.meter.stage(Self::STAGE).did_one();
        }
        let meter = &self.song.meter;
        if let Some(CodeFrame { index, .. }) = outputs.back() {
            meter.first_frame_is_there();
            let first = *self.first_frame.get_or_insert(meter.seconds());
            if index.0 > 0 {
                let each = Seconds((meter.seconds() - first) / index.0 as f64);
                self.song.facts.frames_take(FrameRate { first: Seconds(first), each });
            }
            meter.frames.store(index.0 + 1, Ordering::Relaxed);
        }
        if let Some(counters) = self.speculator.counters() {
            let report = speculation_report(counters, self.speculator.prefetch_counters(), &self.model);
            if !self.has_more() {
                trace(&report);
            }
            meter.speculated(report);
        }
        meter.publish();
        if !self.has_more() {
            if let Some(learned) = self.speculator.learned() {
                self.learned.set(learned);
            }
            self.song.facts.length_is(Frames(meter.frames.load(Ordering::Relaxed)));
            meter.all_written.store(true, Ordering::Release);
        }
        Ok(())
    }
}
