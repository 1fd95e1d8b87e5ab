//! Builder of an engine: its settings, and how the model is loaded by them.

use std::sync::Arc;

use heartstream_actors::{
    song_context::{EngineContext, Faults},
    song_writer::LearnedBefore,
    stage_threads::StageThreads,
};
use heartstream_messages::SongRequest;
use heartstream_models::{
    DeviceName, Devices, ModelDirectory,
    heartmula::prompt_positions,
    speculation::Speculation,
    weights::{Checkpoint, Storage},
};

use crate::{
    capacity::Capacities,
    decoder::{Decoder, blocking},
    engine::{Heartstream, Weights},
    error::EngineError,
    lm_resources::{Drafting, LmResources},
    lockstep::SharedLockstep,
    memory::{self, MemoryLimits, SongSize},
    plan::{Placement, Plan},
    queue::SongQueue,
    sequential::Sequential,
};

/// Settings of an engine; see [`Heartstream::builder`].
///
/// ```
/// use heartstream::{Heartstream, Placement, Speculation};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), heartstream::EngineError> {
/// # let checkpoint = heartstream_tools::synth::noise();
/// // A checkpoint of a directory is `Checkpoint::open("models/heartmula")?`.
/// let placement = Placement { flow_workers: 2, threads: Some(1), ..Placement::default() };
/// let engine = Heartstream::builder(checkpoint).placement(placement).speculation(Speculation::Off).build().await?;
/// assert_eq!(engine.plan().flow.len(), 2);
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
    max_songs: Option<usize>,
    #[cfg(feature = "remote")]
    machines: Option<crate::machines::Machines>,
}

impl Builder {
    /// The settings of an engine on all of the machine.
    pub(crate) fn new(checkpoint: Checkpoint) -> Self {
        Self {
            checkpoint,
            lm_storage: Storage::Auto,
            codec_storage: Storage::Auto,
            placement: Placement::default(),
            capacities: Capacities::default(),
            speculation: Speculation::default(),
            memory_limit: None,
            max_songs: None,
            #[cfg(feature = "remote")]
            machines: None,
        }
    }

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
    /// written. [`Heartstream::memory_adjustment`] says what was done. With [`Builder::max_songs`] there are
    /// as many songs at once as fit, up to that number; without it the estimate is for one song at a time. Sequential songs
    /// wait for each other.
    pub fn memory_limit(mut self, limits: impl Into<MemoryLimits>, song: &SongRequest) -> Self {
        self.memory_limit = Some((limits.into(), song.clone()));
        self
    }

    /// Songs that are made at once, at most. Further ones wait in a queue, from which those that are played come before
    /// those that go to files ([`Heartstream::queue`]). By default there are as many at once as are asked for.
    pub fn max_songs(mut self, songs: usize) -> Self {
        self.max_songs = Some(songs);
        self
    }

    /// Flow workers on other machines, beside those of the placement. No song depends on it.
    #[cfg(feature = "remote")]
    pub fn machines(mut self, machines: crate::machines::Machines) -> Self {
        self.machines = Some(machines);
        self
    }

    /// Loads the model on a thread of its own.
    ///
    /// # Errors
    /// When the model cannot be loaded, the placement or a device does not fit the machine, a drafter is asked for that
    /// was never trained for the model or cannot be used on its device, or the memory limit is too low for any way of
    /// making the song.
    pub async fn build(self) -> Result<Heartstream, EngineError> {
        let Self {
            checkpoint,
            lm_storage,
            codec_storage,
            placement,
            capacities,
            speculation,
            memory_limit,
            max_songs,
            ..
        } = self;
        if max_songs == Some(0) {
            let (expected, found) = ("at least 1".to_owned(), "0".to_owned());
            return Err(EngineError::Option { option: "max-songs", expected, found });
        }
        let plan = Plan { capacities: capacities.check()?, ..Plan::new(&placement)? };
        let load = move || {
            let directory = ModelDirectory::open(checkpoint)?.stored_as(lm_storage, codec_storage);
            let threads = StageThreads::default();
            let context = plan.context();
            let Loaded { lm_resources, weights, memory_adjustment, songs } =
                load(directory, codec_storage, &plan, (&threads, &context), (memory_limit, max_songs))?;
            Ok(Heartstream {
                lm_resources,
                weights,
                plan,
                threads,
                context,
                speculation: Speculation::Off,
                faults: Faults::default(),
                queue: SongQueue::new(songs),
                memory_adjustment,
                #[cfg(feature = "remote")]
                machines: None,
            })
        };
        let engine = blocking(load).await?;
        #[cfg(feature = "remote")]
        let engine = engine.with_machines(self.machines).await?;
        engine.with_speculation(speculation)
    }
}

/// What is loaded for an engine.
struct Loaded {
    lm_resources: LmResources,
    weights: Weights,
    /// What was changed to stay within the memory limit, in a sentence.
    memory_adjustment: Option<String>,
    /// Songs at once, at most.
    songs: usize,
}

/// Loads tokenizer, language model and codec, within the memory limit if there is one.
fn load(
    directory: ModelDirectory,
    codec: Storage,
    plan: &Plan,
    (threads, context): (&StageThreads, &EngineContext),
    (limits, max_songs): (Option<(MemoryLimits, SongRequest)>, Option<usize>),
) -> Result<Loaded, EngineError> {
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
        defaults: directory.defaults,
        audio_eos: directory.ids.audio_eos,
        learned: LearnedBefore::default(),
        #[cfg(feature = "remote")]
        storage: directory.lm_storage,
        tokenizer,
    };
    let asked = max_songs.unwrap_or(usize::MAX);
    let (directory, memory_adjustment, songs) = match limits {
        None => (directory, None, asked),
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
                let weights = Weights::Sequential(Sequential::new(directory));
                return Ok(Loaded { lm_resources, weights, memory_adjustment, songs: 1 });
            }
            // Without a number of songs they are their caller's business.
            let songs = max_songs.map_or(usize::MAX, |most| most.min(fit.songs_within(&limits)));
            let fewer = max_songs
                .filter(|most| songs < *most)
                .map(|most| format!("there is memory for {songs} songs at once, not for {most}"));
            let sentences: Vec<String> = memory_adjustment.into_iter().chain(fewer).collect();
            (directory, Some(sentences.join("; ")).filter(|sentence| !sentence.is_empty()), songs)
        }
    };
    let lm = Arc::new(directory.load_lm(&device)?);
    let decoder = Decoder::read(&directory, plan.clone(), threads.clone(), context.clone())?;
    let weights = Weights::Loaded { lm, decoder, lockstep: SharedLockstep::default() };
    Ok(Loaded { lm_resources, weights, memory_adjustment, songs })
}
