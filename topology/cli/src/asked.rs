//! The song that `render` and `play` are asked for: from the options to an engine that can make it.

use std::path::{Path, PathBuf};

use heartstream::{
    Checkpoint, Heartstream, Placement, SongRequest,
    codes::SavedSong,
    memory::{MemoryPlan, MemorySize, SongSize},
    plan::{Devices, Plan},
    units::Seconds,
};
use heartstream_models::{ModelDirectory, ModelError};
use heartstream_tools::synth::NOISE;

use super::{
    Failed, arg_groups::PlacementArgs, machines, preflight, request_args::request, song_args::RenderArgs,
    status::Status, values::CoreList,
};

/// A song that was asked for.
pub(super) struct Asked<'a> {
    args: &'a RenderArgs,
    checkpoint: Checkpoint,
    placement: Placement,
    /// A short name for the contents of the checkpoint.
    pub fingerprint: String,
    /// The request; of a song that is resumed, the saved one.
    pub request: SongRequest,
    /// What was changed in the words, and what the engine says of them.
    pub notes: Vec<String>,
    /// The song that is resumed, and its file.
    pub saved: Option<(SavedSong, &'a Path)>,
    /// How many such songs fit into the memory that is free; `None` where the engine is to see to it: with a limit, and on a
    /// GPU.
    fit_at_once: Option<u64>,
}

impl<'a> Asked<'a> {
    /// Reads what `args` name, and refuses what can be refused before a large model is loaded. `live`: it is played.
    ///
    /// # Errors
    /// When a file cannot be read, an option is out of range, or there is too little memory.
    pub fn new(args: &'a RenderArgs, live: bool) -> Result<Self, Failed> {
        let checkpoint = checkpoint(&args.model.model)?;
        let directory = ModelDirectory::open(checkpoint.clone())?
            .stored_as(args.lm_weights.lm_weights.into(), args.codec_weights.codec_weights.into());
        let fingerprint = directory.fingerprint()?;
        let saved = match &args.resume {
            None => None,
            Some(path) => {
                let mut saved = SavedSong::read(path)?;
                saved.check_checkpoint(path, &fingerprint)?;
                if let Some(seconds) = args.max_seconds {
                    saved.request.max_frames = Seconds(seconds).frames();
                }
                Some((saved, path.as_path()))
            }
        };
        let (request, notes) = match &saved {
            None => request(args, &directory.defaults, &fingerprint, live)?,
            Some((saved, _)) => (saved.request.clone(), Vec::new()),
        };
        Heartstream::check_options(&request)?;
        let placement = placement(&args.placement);
        let plan = Plan::new(&placement)?;
        preflight::enough_memory(&directory, &plan, &request)?;
        let is_limited = args.memory_limit.is_some() || !placement.devices.gpus().is_empty();
        let fit = |free| {
            let size = SongSize::of(&request, SongSize::USUAL_PROMPT)?;
            Ok::<_, Failed>(MemoryPlan::estimate(&directory, &plan, &size)?.songs_within(free))
        };
        let fit_at_once = MemorySize::available().filter(|_| !is_limited).map(fit).transpose()?;
        Ok(Self { args, checkpoint, placement, fingerprint, request, notes, saved, fit_at_once })
    }

    /// Files that are read for it, which no output may overwrite.
    pub fn read_files(&self) -> Vec<&'a Path> {
        let RenderArgs { words, resume, sound, .. } = self.args;
        let words = [&words.tags, &words.lyrics].into_iter().flatten().map(Path::new);
        let files = [resume, &sound.plan].into_iter().flatten().map(PathBuf::as_path);
        words.chain(files).collect()
    }

    /// Loads the model for `songs` songs at once, or as many as there is memory for, and shows all notes.
    ///
    /// # Errors
    /// When it cannot be loaded, or cannot sing the request.
    pub async fn engine(&mut self, songs: usize, status: &mut Status) -> Result<Heartstream, Failed> {
        let fit = self.fit_at_once.map_or(usize::MAX, |fit| usize::try_from(fit).unwrap_or(usize::MAX));
        let args = self.args;
        status.say(&format!("loading the model {}", args.model.model));
        let on_gpu = !self.placement.devices.gpus().is_empty();
        let mut builder = Heartstream::builder(self.checkpoint.clone())
            .weights(args.lm_weights.lm_weights.into(), args.codec_weights.codec_weights.into())
            .placement(self.placement.clone())
            .speculation(args.speculate.clone())
            .max_songs(songs.min(fit));
        // What is free on a GPU is a limit, whether one is given or not.
        if args.memory_limit.is_some() || on_gpu {
            builder = builder.memory_limit(args.memory_limit.clone().unwrap_or_default(), &self.request);
        }
        let engine = machines::with_workers(builder, &args.workers).await?.build().await?;
        if let Some(sentence) = engine.memory_adjustment() {
            status.line(sentence);
        }
        // What only the model can refuse is refused before the file is made.
        self.notes.extend(engine.check(&self.request)?);
        self.notes.iter().for_each(|note| status.line(&format!("note: {note}")));
        Ok(engine)
    }
}

/// The model directory, or a model that needs no files.
pub(super) fn checkpoint(model: &str) -> Result<Checkpoint, ModelError> {
    match model {
        heartstream_demo::NAME => Ok(heartstream_demo::checkpoint()),
        NOISE => Ok(heartstream_tools::synth::noise()),
        "" => Err(ModelError::Option {
            option: "model",
            expected: "a directory, demo or noise".into(),
            found: "empty".into(),
        }),
        directory => Checkpoint::open(directory),
    }
}

/// Where the stages compute.
pub(super) fn placement(args: &PlacementArgs) -> Placement {
    let cores = |list: &Option<CoreList>| list.as_ref().map(|list| list.0.clone());
    Placement {
        lm_cores: cores(&args.lm_cores),
        flow_cores: cores(&args.flow_cores),
        vocoder_cores: cores(&args.vocoder_cores),
        draft_cores: cores(&args.draft_cores),
        draft_device: args.draft_device,
        threads: args.threads,
        flow_workers: args.flow_workers,
        devices: Devices {
            lm: args.lm_device.unwrap_or(args.device),
            flow: args.flow_device.first().copied().unwrap_or(args.device),
            vocoder: args.vocoder_device.unwrap_or(args.device),
        },
        more_flow_devices: args.flow_device.iter().skip(1).copied().collect(),
        flow_precision: args.flow_precision.flow_precision.into(),
    }
}
