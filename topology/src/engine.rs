//! Engine: a loaded model that makes many songs.

use std::{path::Path, sync::Arc};

use heartstream_actors::{
    song_context::{EngineContext, Faults, SongContext},
    song_writer::LearnedBefore,
    stage_threads::StageThreads,
};
use heartstream_messages::{SongRequest, units};
use heartstream_models::{
    DeviceName, Devices, ModelDirectory, ModelError, SavedSongRemedy,
    heartmula::{HeartMula, prompt_positions},
    signal::SegmentPlan,
    speculation::{Speculation, Speculator},
    weights::{Checkpoint, Storage},
};

use crate::{
    capacity::Capacities,
    decoder::{Decoder, blocking, check_runtime},
    error::EngineError,
    lm_resources::{Drafting, LmResources},
    lockstep::SharedLockstep,
    memory::{self, MemoryLimits, SongSize},
    plan::{Placement, Plan},
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
enum Weights {
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
    weights: Weights,
    pub(crate) plan: Plan,
    /// Threads of the songs; started when they are needed, kept for the next song.
    pub(crate) threads: StageThreads,
    /// State that its songs share.
    pub(crate) context: EngineContext,
    pub(crate) speculation: Speculation,
    faults: Faults,
    /// What was changed to stay within the memory limit, in a sentence.
    memory_adjustment: Option<String>,
}

/// Settings of an engine; see [`Heartstream::builder`].
///
/// ```no_run
/// use heartstream::{Checkpoint, Heartstream, Placement, Speculation};
///
/// # async fn example() -> Result<(), heartstream::EngineError> {
/// let checkpoint = Checkpoint::open("models/heartmula")?;
/// let placement = Placement { flow_workers: 2, threads: Some(4), ..Placement::default() };
/// let engine = Heartstream::builder(checkpoint).placement(placement).speculation(Speculation::Off).build().await?;
/// # drop(engine);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    checkpoint: Checkpoint,
    lm_storage: Storage,
    codec_storage: Storage,
    placement: Placement,
    capacities: Capacities,
    speculation: Speculation,
    memory_limit: Option<(MemoryLimits, SongRequest)>,
}

impl Builder {
    /// How the weights are stored in memory; by default as in the files, but a large f32 language model as bf16. Songs
    /// depend on it, as rounding does.
    pub fn weights(mut self, lm: Storage, codec: Storage) -> Self {
        (self.lm_storage, self.codec_storage) = (lm, codec);
        self
    }

    /// Workers, threads, cores and devices; by default what suits the machine, and its processor.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// All of the model on this device.
    pub fn device(mut self, device: DeviceName) -> Self {
        self.placement.devices = Devices::all(device);
        self
    }

    /// The language model on this device. Where that is a GPU, [`Speculation::Auto`] does not draft.
    pub fn lm_device(mut self, device: DeviceName) -> Self {
        self.placement.devices.lm = device;
        self
    }

    /// The flow workers on this device.
    pub fn flow_device(mut self, device: DeviceName) -> Self {
        self.placement.devices.flow = device;
        self
    }

    /// Drafts are prefetched on this device while the language model verifies others. No song depends on it.
    pub fn draft_device(mut self, device: DeviceName) -> Self {
        self.placement.draft_device = Some(device);
        self
    }

    /// The vocoder on this device.
    pub fn vocoder_device(mut self, device: DeviceName) -> Self {
        self.placement.devices.vocoder = device;
        self
    }

    /// Capacities between the stages: less takes less memory, more rides out a slow moment of a stage. No song depends
    /// on it.
    pub fn capacities(mut self, capacities: Capacities) -> Self {
        self.capacities = capacities;
        self
    }

    /// How the next frames are found: drafted and verified, or one code after the other. No song depends on it.
    pub fn speculation(mut self, speculation: Speculation) -> Self {
        self.speculation = speculation;
        self
    }

    /// Memory limit while a song like `song` is made: of its length, with a prompt that is no longer. A single size
    /// applies to the machine and to each GPU; of a GPU no more is taken than is free. To fit, by the estimate
    /// ([`crate::memory::MemoryPlan`]), the codec is stored as f16, unless [`Builder::weights`] says how; or the song
    /// is made sequentially, the codec loaded after the language model was freed, without audio before all frames are
    /// written. [`Heartstream::memory_adjustment`] says what was done. The estimate is for one song at a time;
    /// sequential songs wait for each other.
    pub fn memory_limit(mut self, limits: impl Into<MemoryLimits>, song: &SongRequest) -> Self {
        self.memory_limit = Some((limits.into(), song.clone()));
        self
    }

    /// Loads the model on a thread of its own.
    ///
    /// # Errors
    /// When the model cannot be loaded, the placement or a device does not fit the machine, a drafter is asked for that
    /// was never trained for the model or cannot be used on its device, or the memory limit is too low for any way of
    /// making the song.
    pub async fn build(self) -> Result<Heartstream, EngineError> {
        let Self { checkpoint, lm_storage, codec_storage, placement, capacities, speculation, memory_limit } = self;
        let plan = Plan { capacities: capacities.check()?, ..Plan::new(&placement)? };
        let load = move || {
            let directory = ModelDirectory::open(checkpoint)?.stored_as(lm_storage, codec_storage);
            let threads = StageThreads::default();
            let context = plan.context();
            let (lm_resources, weights, memory_adjustment) =
                load(directory, codec_storage, &plan, (&threads, &context), memory_limit)?;
            Ok(Heartstream {
                lm_resources,
                weights,
                plan,
                threads,
                context,
                speculation: Speculation::Off,
                faults: Faults::default(),
                memory_adjustment,
            })
        };
        blocking(load).await?.with_speculation(speculation)
    }
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
        Builder {
            checkpoint,
            lm_storage: Storage::Auto,
            codec_storage: Storage::Auto,
            placement: Placement::default(),
            capacities: Capacities::default(),
            speculation: Speculation::default(),
            memory_limit: None,
        }
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

    fn checked(&self, request: SongRequest) -> Result<CheckedRequest, EngineError> {
        let positions = self.lm_resources.sizes.backbone.max_seq_len;
        Ok(request::check(request, &self.lm_resources.tokenizer, positions)?)
    }

    /// Makes a song for a subscriber: read its blocks.
    ///
    /// # Errors
    /// When the model cannot sing the request.
    pub async fn sing(&self, request: SongRequest) -> Result<Song, EngineError> {
        self.sing_to(request, Sink::Subscriber).await
    }

    /// Makes a song for all of `sinks`; backpressure comes from the slowest.
    ///
    /// # Errors
    /// When the model cannot sing the request, or `sinks` takes no sound.
    pub async fn sing_to(&self, request: SongRequest, sinks: impl Into<Sinks>) -> Result<Song, EngineError> {
        let checked = self.checked(request)?;
        self.start(checked, sinks.into()).await
    }

    /// Resumes a song whose beginning was saved in the file `path`. It is the same song as without the stop, and it is
    /// played from its start.
    ///
    /// # Errors
    /// When another model wrote it, or `sinks` takes no sound.
    pub async fn resume(&self, kept: SavedSong, path: &Path, sinks: impl Into<Sinks>) -> Result<Song, EngineError> {
        kept.check_checkpoint(path, &self.lm_resources.fingerprint)?;
        kept.codes.check(path, self.lm_resources.sizes.audio_num_codebooks, self.lm_resources.audio_eos)?;
        let asked = kept.request.max_frames;
        let mut checked = self.checked(kept.request)?;
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
        let (written, longest) = (kept.codes.frames() as u64, checked.request.max_frames);
        if written > longest.0 {
            return Err(EngineError::Option {
                option: "max-seconds",
                expected: format!("at least the {} that are written", units::Frames(written).seconds()),
                found: longest.seconds().to_string(),
            });
        }
        checked.resumed_from = Arc::new(kept.codes);
        self.start(checked, sinks.into()).await
    }

    async fn start(&self, checked: CheckedRequest, sinks: Sinks) -> Result<Song, EngineError> {
        let sinks = sinks.checked()?;
        check_runtime()?;
        let context = SongContext::of(self.context.clone(), sinks.audio.len(), self.faults.clone());
        context.span.record("seed", checked.request.seed);
        match &self.weights {
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
                };
                let wired = wire_song(writing, decoder, sinks.audio, context.clone()).await?;
                Ok(Song::new(wired, context, noise))
            }
            Weights::Sequential(halves) => {
                let mut checked = checked;
                checked.notes.extend(self.memory_adjustment.clone());
                halves.sing(self, checked, sinks, context).await
            }
        }
    }
}

/// Loads tokenizer, language model and codec, within the memory limit if there is one.
fn load(
    directory: ModelDirectory,
    codec: Storage,
    plan: &Plan,
    (threads, context): (&StageThreads, &EngineContext),
    limits: Option<(MemoryLimits, SongRequest)>,
) -> Result<(LmResources, Weights, Option<String>), EngineError> {
    // First: nothing need be read if a device does not open.
    let device = plan.devices.lm.open()?;
    directory.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    directory.check_codes()?;
    directory.check_tensors()?;
    // The tokenizer first: it is small, and a directory without one fails at once.
    let tokenizer = Arc::new(directory.load_tokenizer()?);
    tokenizer.notes().iter().for_each(|note| tracing::warn!("{note}"));
    let lm_resources = LmResources {
        fingerprint: directory.fingerprint()?,
        drafter: directory.load_drafter(&device)?.map(Arc::new),
        drafting: Drafting::read(&directory, plan)?,
        sizes: directory.lm.clone(),
        audio_eos: directory.ids.audio_eos,
        learned: LearnedBefore::default(),
        tokenizer,
    };
    let (directory, memory_adjustment) = match limits {
        None => (directory, None),
        Some((limits, song)) => {
            // Words that cannot be sung are refused with their request.
            let prompt = lm_resources
                .tokenizer
                .prompt(&song.tags, &song.lyrics)
                .map(|prompt| prompt_positions(&prompt.ids) as u64);
            let size = SongSize::of(&song, prompt.unwrap_or(SongSize::USUAL_PROMPT))?;
            let limits = limits.or_what_is_free(plan.devices)?;
            let (fit, memory_adjustment) = memory::fit(&limits, &directory, codec, plan, &size)?;
            let lm = directory.lm_storage;
            if let Some(sentence) = &memory_adjustment {
                tracing::info!("{sentence}");
            }
            let directory = directory.stored_as(lm, fit.codec);
            if fit.one_after_the_other {
                return Ok((lm_resources, Weights::Sequential(Sequential::new(directory)), memory_adjustment));
            }
            (directory, memory_adjustment)
        }
    };
    let lm = Arc::new(directory.load_lm(&device)?);
    let decoder = Decoder::read(&directory, plan.clone(), threads.clone(), context.clone())?;
    Ok((lm_resources, Weights::Loaded { lm, decoder, lockstep: SharedLockstep::default() }, memory_adjustment))
}
