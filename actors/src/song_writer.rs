//! Writer of one song's frames: prefill, first frame, saved frames, and what follows from a pass over the weights.
//!
//! A value without threads or channels. It says which song goes into a pass ([`SongWriter::in_pass`]) and takes what came
//! of it ([`SongWriter::wrote`]); the pass itself is one for all songs of an engine ([`crate::lockstep`]).

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
    speculation::{Frame, Learned, SpeculatedSong, Speculator},
};

use crate::{
    song_context::{FrameRate, SongContext},
    speculation_report::{speculation_report, trace},
    stage::Failure,
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
pub struct SongWriter {
    settings: WriterSettings,
    /// There until the first frame is written.
    prompt: Option<PromptTokens>,
    /// There while the song goes on; dropping it frees the song's memory.
    state: Option<SongState>,
    /// The next frame.
    next: FrameIndex,
    /// When the first frame was written, in seconds from the request.
    first_frame: Option<f64>,
    song: SongContext,
}

impl SongWriter {
    /// A writer that has not read its prompt.
    pub fn new(settings: WriterSettings, song: SongContext) -> Self {
        Self { settings, prompt: None, state: None, next: FrameIndex(0), first_frame: None, song }
    }

    /// Prefill. `stopped` is asked before each layer; when it says so, the song has nothing more to write.
    ///
    /// # Errors
    /// As [`HeartMula::start`].
    pub fn read(&mut self, model: &HeartMula, prompt: PromptTokens, stopped: &dyn Fn() -> bool) -> Result<(), Failure> {
        let WriterSettings { guidance, max_frames, resumed_from, .. } = &self.settings;
        self.state = model.start_unless(&prompt, *guidance, max_frames.0 as usize, stopped)?;
        self.prompt = Some(prompt).filter(|_| resumed_from.codes.is_empty());
        Ok(())
    }

    /// Whether the song goes on.
    pub fn has_more(&self) -> bool {
        self.state.is_some() && self.next.0 < self.settings.max_frames.0
    }

    /// Writes a frame that needs no pass: the first one, which follows from the prefill, or one that was saved. Says
    /// whether there was such a frame.
    ///
    /// # Errors
    /// As [`HeartMula::begin`] and [`HeartMula::replay_frame`]; the song is over then.
    pub fn write_alone(&mut self, model: &HeartMula, outputs: &mut VecDeque<CodeFrame>) -> Result<bool, Failure> {
        if let Some(prompt) = self.prompt.take() {
            let Some(state) = self.state.take() else { return Ok(false) };
            let (since, frames) = (Instant::now(), self.settings.max_frames.0 as usize);
            let WriterSettings { sampler, audio_eos, speculator, .. } = &mut self.settings;
            let Begun { state, codes, redraws } = model.begin(state, &prompt, frames, sampler, *audio_eos)?;
            self.song.meter.redraws.store(redraws, Ordering::Relaxed);
            speculator.began(&codes, since.elapsed());
            self.state = Some(state);
            self.wrote(model, vec![codes], outputs);
            return Ok(true);
        }
        let WriterSettings { resumed_from: before, speculator, .. } = &mut self.settings;
        let start = self.next.0 as usize * before.codebooks;
        let saved = before.codes.get(start..start + before.codebooks).filter(|codes| !codes.is_empty());
        let (Some(codes), Some(mut state)) = (saved, self.state.take_if(|_| saved.is_some())) else { return Ok(false) };
        let codes: Vec<u32> = codes.iter().map(|code| u32::from(*code)).collect();
        model.replay_frame(&mut state, &codes)?;
        speculator.replayed(&codes);
        self.state = Some(state);
        self.wrote(model, vec![codes], outputs);
        Ok(true)
    }

    /// The number of the next frame.
    pub fn next_frame(&self) -> u64 {
        self.next.0
    }

    /// The song as a pass needs it; `None` when it is over.
    pub fn in_pass(&mut self) -> Option<SpeculatedSong<'_>> {
        Some((&mut self.settings.speculator, self.state.as_mut()?))
    }

    /// Ends the song: its memory is freed.
    pub fn end(&mut self) {
        self.state = None;
    }

    /// Takes the next frames, appends to `outputs` those that are part of the song, and counts them.
    pub fn wrote(&mut self, model: &HeartMula, frames: Vec<Frame>, outputs: &mut VecDeque<CodeFrame>) {
        let (stage, first) = (Stage::LanguageModel, self.next);
        self.next = FrameIndex(first.0 + frames.len() as u64);
        // A frame with such a code says that the song is over, and is not part of it; nor is what came behind it.
        let end = frames.iter().position(|codes| codes.iter().any(|code| *code >= self.settings.audio_eos));
        if end.is_some() {
            self.state = None;
        }
        for (index, codes) in (first.0..).map(FrameIndex).zip(frames).take(end.unwrap_or(usize::MAX)) {
            // Every code is below the vocabulary size, which the config limits to 16 bits.
            outputs.push_back(CodeFrame { index, codes: codes.into_iter().map(|code| code as u16).collect() });
            self.song.meter.stage(stage).did_one();
        }
        let meter = &self.song.meter;
        if let Some(CodeFrame { index, .. }) = outputs.back() {
            meter.first_frame_is_there();
            let first = *self.first_frame.get_or_insert(self.song.clock.seconds());
            if index.0 > 0 {
                let each = Seconds((self.song.clock.seconds() - first) / index.0 as f64);
                self.song.facts.frames_take(FrameRate { first: Seconds(first), each });
            }
            meter.frames.store(index.0 + 1, Ordering::Relaxed);
        }
        let (more, speculator) = (self.has_more(), &self.settings.speculator);
        if let Some(counters) = speculator.counters() {
            let report = speculation_report(counters, speculator.prefetch_counters(), model);
            if !more {
                trace(&report);
            }
            meter.speculated(report);
        }
        meter.publish();
        if !more {
            // A song that is over keeps no state.
            self.state = None;
            if let Some(learned) = speculator.learned() {
                self.settings.learned.set(learned);
            }
            self.song.facts.length_is(Frames(meter.frames.load(Ordering::Relaxed)));
        }
    }
}
