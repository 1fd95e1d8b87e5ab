//! Songs of the engine: one for each prompt and seed, with the sampling that is measured.

use heartstream::{Continuity, FirstWindow, Heartstream, SongRequest, units::Frames};
use heartstream_models::{heartmula::Sampling, signal::SegmentPlan, weights::Checkpoint};
use heartstream_tools::quality::{Seam, seams_of};

use crate::{
    error::{Result, TrainError},
    feed::Song,
};

/// How songs are made, where it is not by the model's own defaults.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub struct SamplingArgs {
    /// Temperature of the songs [default: the model's own]
    #[arg(long)]
    temperature: Option<f32>,
    /// Codes that may be drawn, the likeliest ones [default: the model's own]
    #[arg(long)]
    top_k: Option<usize>,
    /// Guidance of the language model [default: the model's own]
    #[arg(long)]
    guidance: Option<f64>,
    /// Guidance of flow matching [default: the model's own]
    #[arg(long)]
    flow_guidance: Option<f32>,
}

impl SamplingArgs {
    /// What they say of how codes are drawn, and of the rest what `defaults` says.
    pub fn or(&self, defaults: Sampling) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            cfg_scale: self.guidance.unwrap_or(defaults.cfg_scale),
        }
    }
}

/// The engine with a checkpoint.
pub struct Renderer {
    runtime: std::sync::Arc<tokio::runtime::Runtime>,
    engine: Heartstream,
    sampling: SamplingArgs,
}

/// A song of the engine.
pub struct Rendered {
    /// Its sound.
    pub song: Song,
    /// Whether the model ended it, and not its greatest length.
    pub by_itself: bool,
    /// Where its windows were joined.
    pub seams: Vec<Seam>,
}

/// An error of the engine.
pub fn failed(error: impl std::fmt::Display) -> TrainError {
    TrainError::Order(format!("the engine does not render: {error}"))
}

impl Renderer {
    /// Loads a checkpoint.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn open(checkpoint: Checkpoint, sampling: SamplingArgs) -> Result<Self> {
        let runtime = tokio::runtime::Runtime::new().map_err(failed)?;
        let engine = runtime.block_on(Heartstream::builder(checkpoint).build()).map_err(failed)?;
        Ok(Self { runtime: runtime.into(), engine, sampling })
    }

    /// The same without guidance.
    pub fn unguided(&self) -> Self {
        let sampling = SamplingArgs { guidance: Some(1.0), ..self.sampling };
        Self { runtime: self.runtime.clone(), engine: self.engine.clone(), sampling }
    }

    /// A song of at most `longest`.
    ///
    /// # Errors
    /// When the engine refuses or fails.
    pub fn rendered(&self, tags: &str, lyrics: &str, seed: u64, longest: Frames) -> Result<Rendered> {
        self.runtime.block_on(self.song(tags, lyrics, seed, longest))
    }

    async fn song(&self, tags: &str, lyrics: &str, seed: u64, longest: Frames) -> Result<Rendered> {
        let mut request = self.engine.defaults().request(tags, lyrics);
        (request.seed, request.max_frames) = (seed, longest);
        request.flow.guidance = self.sampling.flow_guidance.unwrap_or(request.flow.guidance);
        request.sampling = self.sampling.or(request.sampling);
        debug_assert_eq!(request.continuity, Continuity::Chained, "the seams below are those of the default");
        let mut song = self.engine.sing(request).await.map_err(failed)?;
        let (mut left, mut right) = (Vec::new(), Vec::new());
        while let Some(block) = song.next_block().await {
            left.extend(block.samples.iter().step_by(2));
            right.extend(block.samples.iter().skip(1).step_by(2));
        }
        let report = song.finished().await;
        let first = report.first_window.unwrap_or(FirstWindow::USUAL);
        let look_ahead = SongRequest::USUAL_LOOK_AHEAD.0 as usize;
        let plan = SegmentPlan::chained(first.0 as usize, look_ahead).map_err(failed)?;
        let seams = seams_of(&plan, report.frames.0 as usize, 3840);
        // Phrases and key of a written song are not known.
        let song = Song::sounding(tags, lyrics, [left, right], 0);
        Ok(Rendered { song, by_itself: report.frames < longest, seams })
    }
}
