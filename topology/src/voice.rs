//! What do all songs of an engine share that write their frames, whoever has the weights?

use std::sync::Arc;

use heartstream_actors::language_model::LearnedBefore;
use heartstream_models::{
    ModelDirectory,
    heartmula::{HeartMula, HeartMulaConfig},
    speculation::{DrafterInputs, DrafterWeights},
    text::PromptTokenizer,
};

use crate::{error::EngineError, plan::Plan};

/// What writes songs, but for the weights: what all songs share and a [`crate::Decoder`] does without.
#[derive(Clone)]
pub(crate) struct Voice {
    pub tokenizer: Arc<PromptTokenizer>,
    /// Sizes of the language model.
    pub sizes: HeartMulaConfig,
    /// The drafter that was trained for it, if there is one.
    pub drafter: Option<Arc<DrafterWeights>>,
    /// What drafts are prepared with, where that is on a device of its own.
    pub drafting: Option<Drafting>,
    /// Codes from here on end a song.
    pub audio_eos: u32,
    /// A short name for the contents of the checkpoint.
    pub fingerprint: String,
    /// What its songs have taught about drafting.
    pub learned: LearnedBefore,
}

/// What drafts are prepared with on a device of its own.
#[derive(Clone)]
pub(crate) struct Drafting {
    /// What drafters use of the language model.
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

impl Voice {
    /// What drafters can be made of.
    pub fn drafter_inputs<'a>(&'a self, lm: &'a Arc<HeartMula>) -> DrafterInputs<'a> {
        DrafterInputs { model: lm, trained: self.drafter.as_ref() }
    }

    /// What those can be made of that prepare drafts meanwhile.
    pub fn prefetch_inputs<'a>(&'a self, lm: &'a Arc<HeartMula>) -> DrafterInputs<'a> {
        match &self.drafting {
            None => self.drafter_inputs(lm),
            Some(Drafting { model, trained }) => DrafterInputs { model, trained: trained.as_ref() },
        }
    }
}
