//! Resources that all songs of an engine share to write frames, beside the language model's weights.

use std::sync::Arc;

use heartstream_actors::song_writer::LearnedBefore;
use heartstream_models::{
    ModelDirectory, SongDefaults,
    heartmula::{HeartMula, HeartMulaConfig},
    speculation::{DrafterInputs, DrafterWeights},
    text::PromptTokenizer,
};

use crate::{error::EngineError, plan::Plan};

/// What songs need to write frames, beside the weights. A [`crate::Decoder`] does without it.
#[derive(Clone)]
pub(crate) struct LmResources {
    pub tokenizer: Arc<PromptTokenizer>,
    /// Sizes of the language model.
    pub sizes: HeartMulaConfig,
    /// The model's own defaults.
    pub defaults: SongDefaults,
    /// The drafter that was trained for it, if there is one.
    pub drafter: Option<Arc<DrafterWeights>>,
    /// The drafting model, where it is on another device.
    pub drafting: Option<Drafting>,
    /// Codes from here on end a song.
    pub audio_eos: u32,
    /// A short name for the contents of the checkpoint.
    pub fingerprint: String,
    /// Measurements of drafting in its songs.
    pub learned: LearnedBefore,
    /// How the weights are stored in memory.
    #[cfg(feature = "remote")]
    pub storage: heartstream_models::weights::Storage,
}

/// A drafting model on another device than the language model.
#[derive(Clone)]
pub(crate) struct Drafting {
    /// The parts of the language model that drafters use.
    pub model: Arc<HeartMula>,
    /// The drafter that was trained for it, if there is one.
    pub trained: Option<Arc<DrafterWeights>>,
}

impl Drafting {
    /// Reads it, where the plan has a device for it that is not the language model's.
    ///
    /// # Errors
    /// When the device does not open, or a file is missing or damaged.
    pub fn read(directory: &ModelDirectory, plan: &Plan) -> Result<Option<Self>, EngineError> {
        let Some(name) = plan.draft.as_ref().map(|draft| draft.device).filter(|name| *name != plan.devices.lm) else {
            return Ok(None);
        };
        let device = name.open()?;
        let model = Arc::new(directory.load_drafting_lm(&device)?);
        let trained = directory.load_drafter(&device)?.map(Arc::new);
        Ok(Some(Self { model, trained }))
    }
}

impl LmResources {
    /// Inputs of the drafters.
    pub fn drafter_inputs<'a>(&'a self, lm: &'a Arc<HeartMula>) -> DrafterInputs<'a> {
        DrafterInputs { model: lm, trained: self.drafter.as_ref() }
    }

    /// Inputs of the prefetcher's drafters.
    pub fn prefetch_inputs<'a>(&'a self, lm: &'a Arc<HeartMula>) -> DrafterInputs<'a> {
        match &self.drafting {
            None => self.drafter_inputs(lm),
            Some(Drafting { model, trained }) => DrafterInputs { model, trained: trained.as_ref() },
        }
    }
}
