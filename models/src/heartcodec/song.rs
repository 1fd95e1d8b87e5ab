//! How does a whole song of codes become sound, without actors? Window after window, as a plan cuts it.
//!
//! The pipeline does the same with a stage for each step; this is the same path for whoever has all codes at hand.

use super::{FlowJob, FlowOptions, HeartCodec, LATENTS_PER_FRAME};
use crate::{
    error::{ModelError, Result},
    signal::{OverlapAdd, SegmentPlan, Window},
};

impl HeartCodec {
    /// Samples of one channel in a frame.
    pub fn samples_per_frame(&self) -> usize {
        self.vocoder.samples_per_latent() * LATENTS_PER_FRAME
    }

    /// The latents of each window of `codes` (frame after frame). `noise` fills in what each window starts from.
    ///
    /// # Errors
    /// When the codes are not whole frames, or the options are out of range.
    pub fn song_latents(
        &self,
        codes: &[u16],
        plan: &SegmentPlan,
        options: FlowOptions,
        noise: &mut dyn FnMut(&Window, &mut [f32]),
    ) -> Result<Vec<(Window, Vec<f32>)>> {
        let (codebooks, channels) = (self.flow.quantizer.codebooks(), self.flow.channels());
        if !codes.len().is_multiple_of(codebooks) {
            return Err(ModelError::shape("codes", format!("a multiple of {codebooks}"), codes.len()));
        }
        let frames = codes.len() / codebooks;
        let mut latents: Vec<(Window, Vec<f32>)> = Vec::new();
        for window in plan.windows(frames) {
            let frame = |place| &codes[plan.source(place, frames) * codebooks..][..codebooks];
            let tiled: Vec<u16> = window.places().flat_map(frame).copied().collect();
            let mut start = vec![0f32; window.frames * LATENTS_PER_FRAME * channels];
            noise(&window, &mut start);
            let known = window.known * LATENTS_PER_FRAME * channels;
            let in_context = latents.last().map_or(&[][..], |(_, last)| &last[last.len() - known..]);
            let job = FlowJob { codes: &tiled, noise: &start, in_context, options };
            latents.push((window, self.flow.solve(job, &|| false)?.unwrap_or_default()));
        }
        Ok(latents)
    }

    /// The sound of windows of latents, left and right in turn, for a song of `frames` frames.
    ///
    /// # Errors
    /// When the latents are not those of the plan.
    pub fn song_sound(&self, latents: &[(Window, Vec<f32>)], plan: &SegmentPlan, frames: usize) -> Result<Vec<f32>> {
        let mut sound =
            if plan.is_continuous() { self.continuous_sound(latents)? } else { self.joined_sound(latents, plan)? };
        sound.truncate(2 * plan.song_samples(frames, self.samples_per_frame()) as usize);
        Ok(sound)
    }

    fn continuous_sound(&self, latents: &[(Window, Vec<f32>)]) -> Result<Vec<f32>> {
        let mut state = self.vocoder.start()?;
        let mut sound = Vec::new();
        for (window, latents) in latents {
            let new = &latents[window.known * LATENTS_PER_FRAME * self.flow.channels()..];
            sound.extend(interleaved(&self.vocoder.push(&mut state, new)?));
        }
        sound.extend(interleaved(&self.vocoder.finish(state)?));
        Ok(sound)
    }

    fn joined_sound(&self, latents: &[(Window, Vec<f32>)], plan: &SegmentPlan) -> Result<Vec<f32>> {
        let mut join = OverlapAdd::new();
        let mut sound = Vec::new();
        for (window, latents) in latents {
            let [left, right] = self.vocoder.decode(latents)?;
            join.begin(left.len(), plan.fade_samples(window.fade_out, self.samples_per_frame()))?;
            sound.extend(join.push(&left, &right)?);
        }
        sound.extend(join.finish());
        Ok(sound)
    }
}

fn interleaved([left, right]: &[Vec<f32>; 2]) -> impl Iterator<Item = f32> + '_ {
    left.iter().zip(right).flat_map(|(left, right)| [*left, *right])
}
