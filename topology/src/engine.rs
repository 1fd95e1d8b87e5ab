//! What is loaded once and sings many songs? The engine.

use std::{path::Path, sync::Arc};

use heartstream_actors::{
    language_model::LearnedBefore,
    song_context::{Faults, SongContext},
};
use heartstream_messages::SongRequest;
use heartstream_models::{
    DeviceName, Devices, ModelDirectory,
    heartmula::HeartMula,
    speculation::{DrafterWeights, Means, Speculation, Speculator},
    text::PromptTokenizer,
    weights::{Checkpoint, Storage},
};

use crate::{
    capacity::Capacities,
    decoder::{Decoder, blocking, check_runtime},
    error::EngineError,
    kept_song::KeptSong,
    plan::{Placement, Plan},
    request::{self, CheckedRequest},
    sink::{Sink, Sinks},
    song::Song,
    wiring::wire_song,
};

/// What writes songs: the half of a model that all songs share and a [`Decoder`] does without.
#[derive(Clone)]
pub(crate) struct Voice {
    pub tokenizer: Arc<PromptTokenizer>,
    pub lm: Arc<HeartMula>,
    /// The drafter that was trained for it, if there is one.
    pub drafter: Option<Arc<DrafterWeights>>,
    /// Codes from here on end a song.
    pub audio_eos: u32,
    /// A short name for the contents of the checkpoint.
    pub fingerprint: String,
    /// What its songs have taught about drafting.
    pub learned: LearnedBefore,
}

impl Voice {
    /// What drafters can be made of.
    pub fn means(&self) -> Means<'_> {
        Means { model: &self.lm, trained: self.drafter.as_ref() }
    }
}

/// An engine with a loaded model. Songs that run at once share the weights; each has threads of its own, which the
/// engine lends it: they are started for the first song, wait for the next one, and end with the engine.
#[derive(Clone)]
pub struct Heartstream {
    voice: Voice,
    decoder: Decoder,
    speculation: Speculation,
    faults: Faults,
}

/// What an engine is made of; see [`Heartstream::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    checkpoint: Checkpoint,
    lm_storage: Storage,
    codec_storage: Storage,
    placement: Placement,
    capacities: Capacities,
    speculation: Speculation,
}

impl Builder {
    /// The model; by default the one inside the program.
    pub fn model(mut self, checkpoint: Checkpoint) -> Self {
        self.checkpoint = checkpoint;
        self
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

    /// The vocoder on this device.
    pub fn vocoder_device(mut self, device: DeviceName) -> Self {
        self.placement.devices.vocoder = device;
        self
    }

    /// Room between the stages: less holds less memory, more rides out a slower moment of a stage. No song depends on it.
    pub fn capacities(mut self, capacities: Capacities) -> Self {
        self.capacities = capacities;
        self
    }

    /// How the next frames are found: drafted and verified, or one code after the other. No song depends on it.
    pub fn speculation(mut self, speculation: Speculation) -> Self {
        self.speculation = speculation;
        self
    }

    /// Loads the model on a thread for blocking work.
    ///
    /// # Errors
    /// When the model cannot be loaded, the placement or a device does not fit the machine, or a drafter is asked for that
    /// was never trained for the model or cannot be used on its device.
    pub async fn build(self) -> Result<Heartstream, EngineError> {
        let Self { checkpoint, lm_storage, codec_storage, placement, capacities, speculation } = self;
        let plan = Plan { capacities: capacities.check()?, ..Plan::new(&placement)? };
        let (voice, decoder) = blocking(move || load(checkpoint, lm_storage, codec_storage, plan)).await?;
        Heartstream { voice, decoder, speculation: Speculation::Off, faults: Faults::default() }
            .with_speculation(speculation)
    }
}

impl Heartstream {
    /// Begins with the model inside the program, on all of the machine.
    pub fn builder() -> Builder {
        Builder {
            checkpoint: Checkpoint::demo(),
            lm_storage: Storage::Auto,
            codec_storage: Storage::Auto,
            placement: Placement { flow_workers: 1, ..Placement::default() },
            capacities: Capacities::default(),
            speculation: Speculation::default(),
        }
    }

    /// The same engine, weights and all, whose songs are drafted so. No song depends on it.
    ///
    /// # Errors
    /// When a drafter is asked for that was never trained for the model, or one at all where the model is on a GPU: rows
    /// that are computed together are not there, bit for bit, what each is alone, and the song would depend on the drafts.
    pub fn with_speculation(&self, speculation: Speculation) -> Result<Self, EngineError> {
        let speculation = speculation_on(self.plan().devices.lm, speculation)?;
        Speculator::check(&speculation, &self.voice.means())?;
        Ok(Self { speculation, ..self.clone() })
    }

    /// The same engine, weights and all, whose songs panic where `faults` says. For tests of what a panic does: songs
    /// of the engine that this was called on know nothing of them.
    #[doc(hidden)]
    pub fn with_faults(&self, faults: Faults) -> Self {
        Self { faults, ..self.clone() }
    }

    /// How songs are run.
    pub fn plan(&self) -> &Plan {
        &self.decoder.plan
    }

    /// The language model.
    pub(crate) fn model(&self) -> &HeartMula {
        &self.voice.lm
    }

    /// Threads that songs have at the moment, without those that compute for them: 0 when no song is being made.
    pub fn lent_threads(&self) -> usize {
        self.decoder.threads.lent()
    }

    /// The half of the engine that decodes kept songs.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// A short name for the contents of the checkpoint.
    pub fn fingerprint(&self) -> &str {
        &self.voice.fingerprint
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
        let positions = self.voice.lm.config().backbone.max_seq_len;
        Ok(request::check(request, &self.voice.tokenizer, positions)?)
    }

    /// Sings to whoever holds the song: read its blocks.
    ///
    /// # Errors
    /// When the model cannot sing the request.
    pub async fn sing(&self, request: SongRequest) -> Result<Song, EngineError> {
        self.sing_to(request, Sink::Subscriber).await
    }

    /// Sings to all of `sinks`; the slowest of them holds back the song.
    ///
    /// # Errors
    /// When the model cannot sing the request, or `sinks` takes no sound.
    pub async fn sing_to(&self, request: SongRequest, sinks: impl Into<Sinks>) -> Result<Song, EngineError> {
        let checked = self.checked(request)?;
        self.start(checked, sinks.into()).await
    }

    /// Goes on with a song whose beginning was kept in the file `path`. It is the song that it would have been had it
    /// never stopped, and it is given out from its start.
    ///
    /// # Errors
    /// When another model wrote it, or `sinks` takes no sound.
    pub async fn resume(&self, kept: KeptSong, path: &Path, sinks: impl Into<Sinks>) -> Result<Song, EngineError> {
        kept.check_checkpoint(path, &self.voice.fingerprint)?;
        kept.codes.check(path, self.voice.lm.config().audio_num_codebooks, self.voice.audio_eos)?;
        let mut checked = self.checked(kept.request)?;
        checked.written_before = Arc::new(kept.codes);
        self.start(checked, sinks.into()).await
    }

    async fn start(&self, checked: CheckedRequest, sinks: Sinks) -> Result<Song, EngineError> {
        let sinks = sinks.checked()?;
        check_runtime()?;
        let context = SongContext::new(sinks.audio.len(), self.faults.clone());
        let wired = wire_song(&self.voice, &self.decoder, checked, &self.speculation, sinks, context.clone()).await?;
        Ok(Song::new(wired, context))
    }
}

/// Reads everything; language model and codec must speak the same codes.
fn load(checkpoint: Checkpoint, lm: Storage, codec: Storage, plan: Plan) -> Result<(Voice, Decoder), EngineError> {
    // First, since nothing need be read for what does not open.
    let device = plan.devices.lm.open()?;
    let directory = ModelDirectory::open(checkpoint)?.stored_as(lm, codec);
    directory.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    directory.check_codes()?;
    directory.check_tensors()?;
    // The tokenizer first: it is small, and a directory without one fails at once.
    let voice = Voice {
        tokenizer: Arc::new(directory.load_tokenizer()?),
        fingerprint: directory.fingerprint()?,
        drafter: if device.is_cpu() { directory.load_drafter(&device)?.map(Arc::new) } else { None },
        lm: Arc::new(directory.load_lm(&device)?),
        audio_eos: directory.ids.audio_eos,
        learned: LearnedBefore::default(),
    };
    Ok((voice, Decoder::read(&directory, plan)?))
}

/// How the frames of a model on `device` are drafted where `speculation` is asked for.
fn speculation_on(device: DeviceName, speculation: Speculation) -> Result<Speculation, EngineError> {
    match speculation {
        _ if device.is_cpu() => Ok(speculation),
        Speculation::Auto | Speculation::Off => Ok(Speculation::Off),
        Speculation::Fixed { .. } => Err(EngineError::Option {
            option: "speculate",
            expected: format!("auto or off for a language model on {device}"),
            found: speculation.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drafted_on_a_gpu() {
        let drafter: Speculation = "ngram:2".parse().expect("a drafter");
        let asked_for = [Speculation::Auto, Speculation::Off, drafter];
        let on = |device| asked_for.clone().map(|speculation| speculation_on(device, speculation).ok());
        assert_eq!(on(DeviceName::Cpu), asked_for.clone().map(Some));
        assert_eq!(on(DeviceName::Cuda(0)), [Some(Speculation::Off), Some(Speculation::Off), None]);
    }
}
