//! Stages that are measured, and the work of each.

use std::time::Instant;

use heartstream::units::{Frames, Seconds};
use heartstream_models::{
    heartcodec::{Flow, FlowJob, HeartCodec, HeartCodecConfig, LATENTS_PER_FRAME},
    heartmula::{HeartMula, KeyedSampler, PromptTokens, Sampling, SongState, SongTarget, VerifyBuffers},
    signal::KeyedNoise,
    speculation::MOST_FRAMES,
};

use super::{
    side_by_side::{self, SideBySide},
    speed_report::{Row, Work},
};
use crate::Failed;

/// Positions of the prompt that is read: about a verse and a chorus.
pub(super) const PROMPT: usize = 200;
/// Frames in a row that are one try of the language model.
const FRAMES: usize = 4;
/// The same on a GPU, which has the next frame under way before the host has the codes of this one.
const FRAMES_ON_GPU: usize = 100;
/// Frames of the windows that flow matching is measured on, up to the longest.
pub(super) const WINDOWS: [usize; 4] = [16, 32, 93, 372];
/// Frames that the vocoder decodes in one try: four of its chunks.
const VOCODER_FRAMES: usize = 16;
/// Usual guidance of the language model and of flow matching.
const GUIDANCE: f64 = 1.5;
const FLOW_GUIDANCE: f32 = 1.25;

type Measure<'a> = fn(&Stages<'a>) -> Result<Vec<Row>, Failed>;

/// A loaded model that is measured.
pub(super) struct Stages<'a> {
    lm: &'a HeartMula,
    codec: &'a HeartCodec,
    sizes: &'a HeartCodecConfig,
    repeats: usize,
}

impl<'a> Stages<'a> {
    /// What is measured of the half that writes codes, by name.
    pub(super) const WRITING: [(&'static str, Measure<'a>); 2] =
        [("the prompt", Self::prefill), ("the language model", Self::frames)];
    /// What is measured of the half that makes sound.
    pub(super) const SOUND: [(&'static str, Measure<'a>); 2] =
        [("flow matching", Self::flow), ("the vocoder", Self::vocoder)];

    pub(super) fn new(lm: &'a HeartMula, codec: &'a HeartCodec, sizes: &'a HeartCodecConfig, repeats: usize) -> Self {
        Self { lm, codec, sizes, repeats }
    }

    /// The best of several tries of `work`, which tells its own time.
    fn best(&self, mut work: impl FnMut() -> Result<Seconds, Failed>) -> Result<Seconds, Failed> {
        let mut best = Seconds(f64::INFINITY);
        for _ in 0..self.repeats {
            let time = work()?;
            best = if time.0 < best.0 { time } else { best };
        }
        Ok(best)
    }

    /// Prompt number `number`. The model keeps what it has read of the last one, so each must be another.
    fn prompt(&self, number: usize) -> PromptTokens {
        // Any words do; few ids are there in every model.
        let ids = |count: usize| (0..count).map(|place| ((place + number) % 50) as u32).collect();
        PromptTokens { tags: ids(PROMPT / 4), lyrics: ids(PROMPT - 1 - PROMPT / 4) }
    }

    fn prefill(&self) -> Result<Vec<Row>, Failed> {
        let weights = self.lm.config().backbone_weights();
        let (mut rows, mut number) = (Vec::new(), 0);
        for (name, guidance) in [("prefill of 200", 1.0), ("prefill of 200, guided", GUIDANCE)] {
            let time = self.best(|| {
                number += 1;
                let began = Instant::now();
                self.lm.start(&self.prompt(number), guidance, FRAMES)?;
                Ok(Seconds(began.elapsed().as_secs_f64()))
            })?;
            // The unconditional row is one position, whatever the length of the prompt.
            let positions = if guidance > 1.0 { PROMPT + 1 } else { PROMPT } as u64;
            rows.push(Row { stage: name.to_owned(), time, work: Work::Flop(2 * weights * positions), audio: None });
        }
        Ok(rows)
    }

    fn frames(&self) -> Result<Vec<Row>, Failed> {
        if !self.lm.device().is_cpu() {
            return self.frames_on_gpu();
        }
        let config = self.lm.config();
        let mut song = self.lm.start(&self.prompt(0), GUIDANCE, 2 * FRAMES * self.repeats)?;
        let mut sampler = KeyedSampler::new(Sampling::default(), KeyedNoise::new(1))?;
        let codes = self.lm.next_frame(&mut song, &mut sampler)?;
        // Replayed frames take the backbone alone, so what a frame takes more is the heads and the depth decoder.
        let (mut whole, mut backbone) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..self.repeats {
            let began = Instant::now();
            for _ in 0..FRAMES - 1 {
                self.lm.replay_frame(&mut song, &codes)?;
            }
            backbone = backbone.min(began.elapsed().as_secs_f64() / (FRAMES - 1) as f64);
            let began = Instant::now();
            for _ in 0..FRAMES {
                self.lm.next_frame(&mut song, &mut sampler)?;
            }
            whole = whole.min(began.elapsed().as_secs_f64() / FRAMES as f64);
        }
        let bytes = self.lm.bytes_per_weight();
        let row = |stage: &str, time: f64, weights: u64| Row {
            stage: stage.to_owned(),
            time: Seconds(time),
            work: Work::Bytes(weights * bytes),
            audio: Some(Frames(1).seconds()),
        };
        Ok(vec![
            row("LM frame", whole, config.backbone_weights() + config.depth_weights()),
            row("  backbone", backbone, config.backbone_weights()),
            row("  heads, depth decoder", whole - backbone, config.depth_weights()),
        ])
    }

    /// Whole frames alone: a frame is one graph there, and the host does not see its parts.
    fn frames_on_gpu(&self) -> Result<Vec<Row>, Failed> {
        let config = self.lm.config();
        let mut song = self.lm.start(&self.prompt(0), GUIDANCE, FRAMES_ON_GPU * (self.repeats + 1))?;
        let mut sampler = KeyedSampler::new(Sampling::default(), KeyedNoise::new(1))?;
        for _ in 0..FRAMES {
            self.lm.next_frame(&mut song, &mut sampler)?;
        }
        let time = self.best(|| {
            let began = Instant::now();
            for _ in 0..FRAMES_ON_GPU {
                self.lm.next_frame(&mut song, &mut sampler)?;
            }
            Ok(Seconds(began.elapsed().as_secs_f64() / FRAMES_ON_GPU as f64))
        })?;
        let weights = config.backbone_weights() + config.depth_weights();
        let work = Work::Bytes(weights * self.lm.bytes_per_weight());
        Ok(vec![Row { stage: "LM frame".to_owned(), time, work, audio: Some(Frames(1).seconds()) }])
    }

    /// A song that remembers as much as one of `frames` frames does. Its codes are one frame over and over, which the
    /// backbone reads as it reads drafts, and no head and no depth decoder has a part in it.
    pub(super) fn long_song(&self, frames: usize) -> Result<SongState, Failed> {
        let mut song = self.lm.start(&self.prompt(0), GUIDANCE, frames)?;
        let mut buffers = VerifyBuffers::default();
        let codes = vec![1u32; self.lm.config().audio_num_codebooks];
        let mut left = frames;
        while left > 0 {
            let round = vec![codes.clone(); left.min(MOST_FRAMES + 1)];
            let mut target = SongTarget::new(self.lm, &mut song, &mut buffers);
            target.open(&round[1..])?;
            target.commit(&round)?;
            left -= round.len();
        }
        Ok(song)
    }

    fn flow(&self) -> Result<Vec<Row>, Failed> {
        let mut rows = Vec::new();
        for frames in WINDOWS {
            let codes = vec![0u16; frames * self.codec.flow.quantizer.codebooks()];
            let latents = frames * LATENTS_PER_FRAME;
            let mut noise = vec![0f32; latents * self.codec.flow.channels()];
            KeyedNoise::new(1).fill_latent(0, &mut noise);
            // A short window is soon done, so it is done more often.
            let steps = (WINDOWS[3] / frames).clamp(1, 4);
            let options = Flow { steps, guidance: FLOW_GUIDANCE };
            let time = self.best(|| {
                let began = Instant::now();
                self.codec.flow.solve(FlowJob { codes: &codes, noise: &noise, in_context: &[], options }, &|| false)?;
                Ok(Seconds(began.elapsed().as_secs_f64() / steps as f64))
            })?;
            rows.push(Row {
                stage: format!("flow step, {frames} frames"),
                time,
                work: Work::Flop(self.sizes.estimator_flop(2, latents as u64)),
                audio: Some(Frames(frames as u64).seconds()),
            });
        }
        Ok(rows)
    }

    /// One flow worker and two, each on one core.
    pub(super) fn workers(&self) -> Result<Option<SideBySide>, Failed> {
        side_by_side::measure(self.codec, FLOW_GUIDANCE, self.repeats)
    }

    /// What workers did, as rows: a step of one segment, and of as many as there are workers for each.
    pub(super) fn worker_rows(&self, workers: &SideBySide) -> [Row; 2] {
        let frames = side_by_side::FRAMES;
        let flop = self.sizes.estimator_flop(2, (frames * LATENTS_PER_FRAME) as u64);
        let row = |stage: &str, time, segments: u64| Row {
            stage: stage.to_owned(),
            time,
            work: Work::Flop(segments * flop),
            audio: Some(Frames(segments * frames as u64).seconds()),
        };
        [row("  1 worker on 1 core", workers.alone, 1), row("  2 workers on 2 cores", workers.together, 2)]
    }

    fn vocoder(&self) -> Result<Vec<Row>, Failed> {
        // A GPU is busy with a whole window only.
        let window = (!self.lm.device().is_cpu()).then_some(WINDOWS[WINDOWS.len() - 1]);
        let mut rows = Vec::new();
        for frames in std::iter::once(VOCODER_FRAMES).chain(window) {
            let latents = frames * LATENTS_PER_FRAME;
            let mut numbers = vec![0f32; latents * self.codec.flow.channels()];
            KeyedNoise::new(1).fill_latent(0, &mut numbers);
            let time = self.best(|| {
                let began = Instant::now();
                self.codec.vocoder.decode(&numbers)?;
                Ok(Seconds(began.elapsed().as_secs_f64()))
            })?;
            rows.push(Row {
                stage: format!("vocoder, {frames} frames"),
                time,
                work: Work::Flop(self.sizes.vocoder_flop() * latents as u64),
                audio: Some(Frames(frames as u64).seconds()),
            });
        }
        Ok(rows)
    }
}
