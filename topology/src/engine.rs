//! Engine: a loaded model that makes many songs.

use std::{path::Path, sync::Arc};

use heartstream_actors::{
    song_context::{EngineContext, Faults, SongContext},
    stage_threads::StageThreads,
};
use heartstream_messages::{SongRequest, units};
use heartstream_models::{
    ModelError, SavedSongRemedy, SongDefaults,
    heartmula::HeartMula,
    signal::SegmentPlan,
    speculation::{Speculation, Speculator},
    weights::Checkpoint,
};

use crate::{
    builder::Builder,
    decoder::{Decoder, check_runtime},
    error::EngineError,
    lm_resources::LmResources,
    lockstep::SharedLockstep,
    plan::Plan,
    queue::{QueuePlace, QueuedSong, SongQueue},
    request::{self, CheckedRequest},
    saved_song::SavedSong,
    sequential::Sequential,
    sink::{Sink, Sinks},
    song::Song,
    wiring::{Writing, wire_song},
};

/// Where the weights are.
#[derive(Clone)]
#[allow(clippy::large_enum_variant)] // an engine has one of it, and most engines the large one
pub(crate) enum Weights {
    /// In memory, for all songs.
    Loaded { lm: Arc<HeartMula>, decoder: Decoder, lockstep: SharedLockstep },
    /// On disk; a song loads one half after the other.
    Sequential(Sequential),
}

/// An engine with a loaded model. Songs that run at once share the weights; each has threads of its own, which the
/// engine lends it: they are started for the first song, wait for the next one, and end with the engine.
#[derive(Clone)]
pub struct Heartstream {
    pub(crate) lm_resources: LmResources,
    pub(crate) weights: Weights,
    pub(crate) plan: Plan,
    /// Threads of the songs; started when they are needed, kept for the next song.
    pub(crate) threads: StageThreads,
    /// State that its songs share.
    pub(crate) context: EngineContext,
    pub(crate) speculation: Speculation,
    pub(crate) faults: Faults,
    /// Admits its songs.
    pub(crate) queue: SongQueue,
    /// What was changed to stay within the memory limit, in a sentence.
    pub(crate) memory_adjustment: Option<String>,
    /// Other machines, if there are to be any.
    #[cfg(feature = "remote")]
    pub(crate) machines: Option<crate::machines::Machines>,
}

impl Heartstream {
    /// Begins with a model, on all of the machine.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), heartstream::EngineError> {
    /// use heartstream::{Checkpoint, Heartstream};
    ///
    /// let engine = Heartstream::builder(Checkpoint::open("models/heartmula")?).build().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(checkpoint: Checkpoint) -> Builder {
        Builder::new(checkpoint)
    }

    /// The same engine, weights and all, whose songs are drafted so. No song depends on it.
    ///
    /// # Errors
    /// When a drafter is asked for that was never trained for the model.
    pub fn with_speculation(&self, speculation: Speculation) -> Result<Self, EngineError> {
        Speculator::check(&speculation, self.lm_resources.drafter.is_some())?;
        Ok(Self { speculation, ..self.clone() })
    }

    /// The same engine, weights and all, whose songs panic where `faults` says. For tests of what a panic does: songs
    /// of the engine that this was called on are not affected.
    #[cfg(feature = "fault-injection")]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self { faults, ..self.clone() }
    }

    /// How songs are run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Songs that are made at once, at most: those of [`Builder::max_songs`] that there is memory for. Further ones wait.
    pub fn max_songs(&self) -> usize {
        self.queue.max_songs()
    }

    /// What was changed to stay within the memory limit, in a sentence; `None` where nothing was.
    pub fn memory_adjustment(&self) -> Option<&str> {
        self.memory_adjustment.as_deref()
    }

    /// The language model; `None` where a memory limit has songs load one half of the model after the other.
    pub fn language_model(&self) -> Option<&Arc<HeartMula>> {
        match &self.weights {
            Weights::Loaded { lm, .. } => Some(lm),
            Weights::Sequential(_) => None,
        }
    }

    /// Threads that songs have at the moment, without those that compute for them: 0 when no song is being made.
    pub fn lent_threads(&self) -> usize {
        self.threads.lent()
    }

    /// The half of the engine that decodes saved songs; `None` where a memory limit has songs load one half of the
    /// model after the other ([`Decoder::load`] loads it alone).
    pub fn decoder(&self) -> Option<&Decoder> {
        match &self.weights {
            Weights::Loaded { decoder, .. } => Some(decoder),
            Weights::Sequential(_) => None,
        }
    }

    /// A short name for the contents of the checkpoint.
    pub fn fingerprint(&self) -> &str {
        &self.lm_resources.fingerprint
    }

    /// The model's own defaults, as its `gen_config.json` says them. A [`SongRequest::new`] has the reference's,
    /// whatever the model; [`SongDefaults::request`] has these.
    ///
    /// ```
    /// # use heartstream::Heartstream;
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), heartstream::EngineError> {
    /// # let engine = Heartstream::builder(heartstream_tools::synth::noise()).build().await?;
    /// let mut request = engine.defaults().request("piano,calm", "[Verse]\nThe sun creeps in");
    /// assert_eq!(request.flow, engine.defaults().flow);
    /// request.sampling.temperature = 0.8; // what is said wins
    /// # request.max_frames = heartstream::units::Frames(2);
    /// let report = engine.sing(request).await?.finished().await;
    /// # assert_eq!(report.frames, heartstream::units::Frames(2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn defaults(&self) -> SongDefaults {
        self.lm_resources.defaults
    }

    /// How the song of a request is cut into windows; a deadline can still shorten the first one.
    ///
    /// # Errors
    /// When its first window or its look-ahead is out of range.
    pub fn segment_plan(request: &SongRequest) -> Result<SegmentPlan, EngineError> {
        Ok(request::segment_plan(request)?)
    }

    /// Checks that the options of a request are in range, which does not depend on a model.
    ///
    /// # Errors
    /// When one is not, by its name.
    pub fn check_options(request: &SongRequest) -> Result<(), EngineError> {
        request::check_options(request)?;
        Ok(())
    }

    /// Checks a request without beginning, and returns notes in sentences: changes in its words, unknown tags, a length
    /// beyond the model's. The song's report has the same.
    ///
    /// # Errors
    /// When an option is out of range, or the words are too many or none.
    pub fn check(&self, request: &SongRequest) -> Result<Vec<String>, EngineError> {
        self.checked(request.clone()).map(|checked| checked.notes)
    }

    /// Positions of the language model, a token each, that tags and lyrics take.
    ///
    /// # Errors
    /// As [`Heartstream::check`].
    pub fn prompt_positions(&self, request: &SongRequest) -> Result<usize, EngineError> {
        self.checked(request.clone()).map(|checked| checked.prompt_positions)
    }

    pub(crate) fn checked(&self, request: SongRequest) -> Result<CheckedRequest, EngineError> {
        let positions = self.lm_resources.sizes.backbone.max_seq_len;
        Ok(request::check(request, &self.lm_resources.tokenizer, positions)?)
    }

    /// Puts a song into the queue, where it waits while as many songs are made as [`Builder::max_songs`] allows. Those
    /// that are played, or have a deadline for their first sound, are due by it; those that go to files are due when they
    /// would have been played; and what is due first begins first.
    ///
    /// # Errors
    /// As [`Heartstream::sing_to`].
    pub fn queue(&self, request: SongRequest, sinks: impl Into<Sinks>) -> Result<QueuedSong, EngineError> {
        self.queued(self.checked(request)?, sinks.into())
    }

    fn queued(&self, checked: CheckedRequest, sinks: Sinks) -> Result<QueuedSong, EngineError> {
        let sinks = sinks.checked()?;
        check_runtime()?;
        Ok(QueuedSong::new(self.clone(), checked, sinks))
    }

    /// Makes a song for a subscriber: read its blocks.
    ///
    /// # Errors
    /// When the model cannot sing the request.
    pub async fn sing(&self, request: SongRequest) -> Result<Song, EngineError> {
        self.sing_to(request, Sink::Subscriber).await
    }

    /// Makes a song for all of `sinks`; backpressure comes from the slowest. Where the engine makes as many songs as it
    /// may, it waits for its turn first ([`Heartstream::queue`]).
    ///
    /// # Errors
    /// When the model cannot sing the request, or `sinks` takes no sound.
    pub async fn sing_to(&self, request: SongRequest, sinks: impl Into<Sinks>) -> Result<Song, EngineError> {
        self.queue(request, sinks)?.begin().await
    }

    /// Resumes a song whose beginning was saved in the file `path`. It is the same song as without the stop, and it is
    /// played from its start.
    ///
    /// # Errors
    /// When another model wrote it, or `sinks` takes no sound.
    pub async fn resume(&self, saved: SavedSong, path: &Path, sinks: impl Into<Sinks>) -> Result<Song, EngineError> {
        self.queued(self.resumed(saved, path)?, sinks.into())?.begin().await
    }

    /// The request of a saved song, with what is written of it.
    pub(crate) fn resumed(&self, saved: SavedSong, path: &Path) -> Result<CheckedRequest, EngineError> {
        saved.check_checkpoint(path, &self.lm_resources.fingerprint)?;
        saved.codes.check(path, self.lm_resources.sizes.audio_num_codebooks, self.lm_resources.audio_eos)?;
        let asked = saved.request.max_frames;
        let mut checked = self.checked(saved.request)?;
        // A song is saved with a length that its model has room for; longer ones come from elsewhere.
        if asked > checked.request.max_frames {
            return Err(ModelError::SavedSong {
                path: path.to_owned(),
                reason: format!(
                    "its song is to have {} frames, and the model has room for {}",
                    asked.0, checked.request.max_frames.0
                ),
                remedy: SavedSongRemedy::Length,
            }
            .into());
        }
        let (written, longest) = (saved.codes.frames() as u64, checked.request.max_frames);
        if written > longest.0 {
            return Err(EngineError::Option {
                option: "max-seconds",
                expected: format!("at least the {} that are written", units::Frames(written).seconds()),
                found: longest.seconds().to_string(),
            });
        }
        checked.resumed_from = Arc::new(saved.codes);
        Ok(checked)
    }

    /// Begins a song whose turn has come, and which has the place until its end.
    pub(crate) async fn start(
        &self,
        checked: CheckedRequest,
        sinks: Sinks,
        place: QueuePlace,
    ) -> Result<Song, EngineError> {
        let context = SongContext::of(self.context.clone(), sinks.audio.len(), self.faults.clone());
        context.span.record("seed", checked.request.seed);
        let song = match &self.weights {
            Weights::Loaded { lm, decoder, lockstep } => {
                let noise = checked.sound.noise;
                let writing = Writing {
                    lm_resources: &self.lm_resources,
                    lm,
                    plan: &decoder.plan,
                    checked,
                    lockstep: lockstep.join(lm, &decoder.plan.lm, &self.threads, &self.context)?,
                    speculation: &self.speculation,
                    codes: sinks.codes,
                    frames: sinks.frames,
                };
                let wired = wire_song(writing, decoder, sinks.audio, context.clone()).await?;
                Song::new(wired, context.clone(), noise)
            }
            Weights::Sequential(halves) => {
                let mut checked = checked;
                checked.notes.extend(self.memory_adjustment.clone());
                halves.sing(self, checked, sinks, context.clone()).await?
            }
        };
        place.hold(&context, song.all_threads_returned());
        Ok(song)
    }
}
