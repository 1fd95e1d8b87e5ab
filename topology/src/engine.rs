//! What is loaded once and sings many songs? The engine.

use std::sync::Arc;

use candle_core::Device;
use heartstream_actors::{
    song_context::{Faults, SongContext},
    speaker_sink::Speaker,
    wav_sink::WavTarget,
};
use heartstream_messages::SongRequest;
use heartstream_models::{
    ModelDirectory, ModelError, demo, heartcodec::HeartCodec, heartmula::HeartMula, text::PromptTokenizer,
    weights::Checkpoint,
};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::{
    capacity::Capacities,
    error::EngineError,
    plan::{Placement, Plan},
    request::{self, CheckedRequest},
    song::Song,
    wiring::wire,
};

/// Where a song goes.
pub enum Sink {
    /// To a file or to standard output.
    Wav(WavTarget),
    /// To a loudspeaker.
    Speaker(Speaker),
    /// To whoever holds the [`Song`].
    Subscriber,
}

/// The weights that all songs share.
#[derive(Clone)]
pub(crate) struct Models {
    pub tokenizer: Arc<PromptTokenizer>,
    pub lm: Arc<HeartMula>,
    pub codec: Arc<HeartCodec>,
    /// Codes from here on end a song.
    pub audio_eos: u32,
}

/// An engine with a loaded model. Songs that run at once share the weights; each has threads of its own.
#[derive(Clone)]
pub struct Heartstream {
    models: Models,
    plan: Plan,
    faults: Faults,
}

/// What an engine is made of; see [`Heartstream::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    checkpoint: Checkpoint,
    placement: Placement,
    capacities: Capacities,
}

impl Builder {
    /// The model; by default the one inside the program.
    pub fn model(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = checkpoint;
        self
    }

    /// Workers, threads and cores; by default what suits the machine.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Room between the stages: less holds less memory, more rides out a slower moment of a stage. No song depends on it.
    pub fn capacities(mut self, capacities: Capacities) -> Self {
        self.capacities = capacities;
        self
    }

    /// Loads the model on a thread for blocking work.
    ///
    /// # Errors
    /// When the model cannot be loaded, or the placement does not fit the machine.
    pub async fn build(self) -> Result<Heartstream, EngineError> {
        let Self { checkpoint, placement, capacities } = self;
        let plan = Plan { capacities: capacities.check()?, ..Plan::new(&placement)? };
        let models = tokio::task::spawn_blocking(move || load(checkpoint)).await;
        let models = models.map_err(|error| EngineError::Interrupted(error.to_string()))??;
        Ok(Heartstream { models, plan, faults: Faults::default() })
    }
}

impl Heartstream {
    /// Begins with the model inside the program, on all of the machine.
    pub fn builder() -> Builder {
        Builder {
            checkpoint: demo::checkpoint(),
            placement: Placement { flow_workers: 1, ..Placement::default() },
            capacities: Capacities::default(),
        }
    }

    /// The same engine, weights and all, whose songs panic where `faults` says. For tests of what a panic does: songs
    /// of the engine that this was called on know nothing of them.
    #[doc(hidden)]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self { faults, ..self.clone() }
    }

    /// How songs are run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Says whether the options of a request are in range, which does not depend on a model.
    ///
    /// # Errors
    /// When one is not, by its name.
    pub fn check_options(request: &SongRequest) -> Result<(), EngineError> {
        request::check_options(request)?;
        Ok(())
    }

    /// Says whether the model can sing a request, without beginning.
    ///
    /// # Errors
    /// When an option is out of range, or the words are too many or none.
    pub fn check(&self, request: &SongRequest) -> Result<(), EngineError> {
        self.checked(request.clone()).map(|_| ())
    }

    fn checked(&self, request: SongRequest) -> Result<CheckedRequest, EngineError> {
        let positions = self.models.lm.config().backbone.max_seq_len;
        Ok(request::check(request, &self.models.tokenizer, positions)?)
    }

    /// Sings to whoever holds the song: read its blocks.
    ///
    /// # Errors
    /// When the model cannot sing the request.
    pub async fn sing(&self, request: SongRequest) -> Result<Song, EngineError> {
        self.sing_to(request, vec![Sink::Subscriber]).await
    }

    /// Sings to all of `sinks`; the slowest of them holds back the song.
    ///
    /// # Errors
    /// When the model cannot sing the request, or `sinks` is empty.
    pub async fn sing_to(&self, request: SongRequest, sinks: Vec<Sink>) -> Result<Song, EngineError> {
        if sinks.is_empty() {
            return Err(EngineError::Option {
                option: "sinks",
                expected: "at least one".to_owned(),
                found: "none".to_owned(),
            });
        }
        if Handle::try_current().map_or(true, |runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread) {
            return Err(EngineError::Runtime);
        }
        let context = SongContext::new(sinks.len(), self.faults.clone());
        let checked = self.checked(request)?;
        let wired = wire(&self.models, &self.plan, checked, sinks, context.clone()).await;
        Ok(Song::new(wired, context))
    }
}

/// Reads everything; language model and codec must speak the same codes.
fn load(checkpoint: Checkpoint) -> Result<Models, ModelError> {
    let directory = ModelDirectory::open(checkpoint)?;
    directory.check_codes()?;
    // The tokenizer first: it is small, and a directory without one fails at once.
    Ok(Models {
        tokenizer: Arc::new(directory.load_tokenizer()?),
        lm: Arc::new(directory.load_lm(&Device::Cpu)?),
        codec: Arc::new(directory.load_codec(&Device::Cpu)?),
        audio_eos: directory.ids.audio_eos,
    })
}
