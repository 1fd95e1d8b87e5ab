//! Decoder: the codec and a plan, codes to sound without a language model. Every engine has one.

use std::{sync::Arc, thread};

use heartstream_actors::{
    song_context::{EngineContext, Faults, SongContext},
    stage_threads::StageThreads,
};
use heartstream_messages::{FirstWindow, SongRequest};
use heartstream_models::{
    DeviceName, Devices, ModelDirectory, SongCodes, contained,
    heartcodec::HeartCodec,
    start_library_pools,
    weights::{Checkpoint, Storage},
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::oneshot,
};

use crate::{
    error::EngineError,
    plan::{Placement, Plan},
    request,
    sink::Sinks,
    song::Song,
    wiring::wire_decoding,
};

/// A loaded codec: decodes saved songs again, as often as wanted and with other settings.
#[derive(Clone)]
pub struct Decoder {
    pub(crate) codec: Arc<HeartCodec>,
    /// The codec as each flow worker has it: on a GPU each has a stream of its own.
    pub(crate) workers: Vec<Arc<HeartCodec>>,
    pub(crate) plan: Plan,
    /// Threads of the songs; started when they are needed, kept for the next song.
    pub(crate) threads: StageThreads,
    /// State that its songs share.
    pub(crate) context: EngineContext,
    /// What the bits of its latents depend on.
    #[cfg(feature = "remote")]
    pub(crate) kind: heartstream_messages::FlowKind,
}

impl Decoder {
    /// Reads the codec onto the devices of `plan`. They are opened here, once: a stage's stream then belongs to the
    /// engine, like its threads, and a new song waits for neither.
    pub(crate) fn read(
        directory: &ModelDirectory,
        plan: Plan,
        threads: StageThreads,
        context: EngineContext,
    ) -> Result<Self, EngineError> {
        let Devices { flow, vocoder, .. } = plan.devices;
        let directory = &directory.clone().with_flow_precision(plan.flow_precision);
        let codec = Arc::new(directory.load_codec_on(&flow.open()?, &vocoder.open()?)?);
        // A device has the weights once, however many workers it has; each worker has a stream of its own.
        let mut there = vec![(flow, Arc::clone(&codec))];
        let mut worker = |(worker, name): (usize, &DeviceName)| {
            let found = there.iter().find(|(device, _)| device == name).map(|(_, codec)| Arc::clone(codec));
            match found {
                Some(codec) if worker == 0 || name.is_cpu() => Ok(codec),
                Some(codec) => Ok(Arc::new(codec.with_flow_on(&name.open()?)?)),
                None => {
                    let codec = Arc::new(codec.with_flow(directory.load_flow(&name.open()?)?));
                    there.push((*name, Arc::clone(&codec)));
                    Ok(codec)
                }
            }
        };
        let workers = plan.flow_devices.iter().enumerate().map(&mut worker);
        let workers = workers.collect::<Result<Vec<Arc<HeartCodec>>, EngineError>>()?;
        // As most songs are decoded, by the model's own defaults. The short one first, so that the usual one is the last
        // that was used.
        for most in [FirstWindow::SHORT, FirstWindow::USUAL] {
            let first_window = FirstWindow { most, deadline: None };
            let sound = request::sound(&SongRequest { first_window, ..directory.defaults.request("", "") })?;
            for codec in &workers {
                codec.warm_up(sound.segments.next(None).computed(), sound.flow)?;
            }
        }
        Ok(Self {
            #[cfg(feature = "remote")]
            kind: crate::machines::flow_kind(directory, flow)?,
            codec,
            workers,
            plan,
            threads,
            context,
        })
    }

    /// Loads the codec of a checkpoint, and leaves its language model where it is.
    ///
    /// # Errors
    /// When the codec cannot be loaded, or the placement or a device does not fit the machine.
    pub async fn load(checkpoint: Checkpoint, placement: &Placement) -> Result<Self, EngineError> {
        Self::load_as(checkpoint, Storage::Stored, placement).await
    }

    /// As [`Decoder::load`], with the weights stored in memory as `storage` says.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub async fn load_as(checkpoint: Checkpoint, storage: Storage, placement: &Placement) -> Result<Self, EngineError> {
        let plan = Plan::new(placement)?;
        let load = move || {
            let directory = ModelDirectory::open(checkpoint)?.stored_as(Storage::Auto, storage);
            directory.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            let context = plan.context();
            Self::read(&directory, plan, StageThreads::default(), context)
        };
        blocking(load).await
    }

    /// How songs are run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The loaded codec, for measuring its stages alone.
    pub fn codec(&self) -> &Arc<HeartCodec> {
        &self.codec
    }

    /// Decodes saved codes to `sinks`. Of the request, seed, flow, continuity and first window apply.
    ///
    /// # Errors
    /// When an option is out of range, or `sinks` takes no sound.
    pub async fn decode(
        &self,
        codes: SongCodes,
        request: &SongRequest,
        sinks: impl Into<Sinks>,
    ) -> Result<Song, EngineError> {
        let sinks = sinks.into().checked()?;
        check_runtime()?;
        let context = SongContext::of(self.context.clone(), sinks.audio.len(), Faults::default());
        context.span.record("seed", request.seed);
        let sound = request::sound(request)?;
        let wired = wire_decoding(self, codes, sound, sinks.audio, context.clone()).await?;
        Ok(Song::new(wired, context, sound.noise))
    }
}

/// Loads on a thread of its own. One of the runtime's would do, but the runtime panics where the system has no thread for it.
pub(crate) async fn blocking<T: Send + 'static>(
    load: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    let (give, loaded) = oneshot::channel();
    let work = move || {
        let loaded = start_library_pools()
            .map_err(EngineError::Threads)
            .and_then(|()| contained(load).unwrap_or_else(|panic| Err(EngineError::Interrupted(panic))));
        let _ = give.send(loaded); // the receiver may be gone
    };
    let started = thread::Builder::new().name("loader".to_owned()).spawn(work);
    started.map_err(|error| EngineError::Threads(error.to_string()))?;
    loaded.await.map_err(|gone| EngineError::Interrupted(gone.to_string()))?
}

/// Stages are threads that talk through tokio's runtime, so it must have a thread of its own.
pub(crate) fn check_runtime() -> Result<(), EngineError> {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread => Ok(()),
        _ => Err(EngineError::Runtime),
    }
}
