//! Decoding of a whole song without actors: window after window, as a plan cuts it.
//!
//! The pipeline does the same with a stage for each step; this is the same path where all codes are at hand.

use super::{Flow, FlowJob, HeartCodec, LATENTS_PER_FRAME};
use crate::{
    error::{ModelError, Result},
    signal::{KeyedNoise, LatentJoin, OverlapAdd, SegmentPlan, Window, fade_edges},
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
        options: Flow,
        noise: &mut dyn FnMut(&Window, &mut [f32]),
    ) -> Result<Vec<(Window, Vec<f32>)>> {
        let (codebooks, channels) = (self.flow.quantizer.codebooks(), self.flow.channels());
        if !codes.len().is_multiple_of(codebooks) {
            return Err(ModelError::shape("codes", format!("a multiple of {codebooks}"), codes.len()));
        }
        let frames = codes.len() / codebooks;
        let mut latents: Vec<(Window, Vec<f32>)> = Vec::new();
        for window in plan.windows(frames) {
            let frame = |source: usize| &codes[source * codebooks..][..codebooks];
            let tiled: Vec<u16> = plan.sources(&window, frames).flat_map(frame).copied().collect();
            let mut start = vec![0f32; window.computed() * LATENTS_PER_FRAME * channels];
            noise(&window, &mut start);
            let known = window.known * LATENTS_PER_FRAME * channels;
            let in_context = latents.last().map_or(&[][..], |(last, latents)| {
                let played = latents.len() - last.look_ahead * LATENTS_PER_FRAME * channels;
                &latents[played - known..played]
            });
            let job = FlowJob { codes: &tiled, noise: &start, in_context, options };
            latents.push((window, self.flow.solve(job, &|| false)?.unwrap_or_default()));
        }
        Ok(latents)
    }

    /// The same from keyed noise, as songs have it.
    ///
    /// # Errors
    /// As [`Self::song_latents`].
    pub fn keyed_latents(
        &self,
        codes: &[u16],
        plan: &SegmentPlan,
        options: Flow,
        noise: KeyedNoise,
    ) -> Result<Vec<(Window, Vec<f32>)>> {
        self.song_latents(codes, plan, options, &mut |window, start| {
            let first = (window.first * LATENTS_PER_FRAME) as u64;
            let lead_in = (window.lead_in * LATENTS_PER_FRAME) as u64;
            noise.fill_latents(first.wrapping_sub(lead_in), self.flow.channels(), start);
        })
    }

    /// The sound of windows of latents, interleaved, for a song of `frames` frames.
    ///
    /// # Errors
    /// When the latents are not those of the plan.
    pub fn song_sound(&self, latents: &[(Window, Vec<f32>)], plan: &SegmentPlan, frames: usize) -> Result<Vec<f32>> {
        let mut sound =
            if plan.is_continuous() { self.continuous_sound(latents)? } else { self.joined_sound(latents, plan)? };
        let end = plan.song_samples(frames, self.samples_per_frame());
        sound.truncate(2 * end as usize);
        fade_edges(&mut sound, 0, end, plan.edge_fade());
        Ok(sound)
    }

    fn continuous_sound(&self, latents: &[(Window, Vec<f32>)]) -> Result<Vec<f32>> {
        let mut state = self.vocoder.start()?;
        let mut join = LatentJoin::new(self.flow.channels());
        let mut sound = Vec::new();
        let lead_in = latents.first().map_or(0, |(window, _)| window.lead_in * self.samples_per_frame());
        for (window, latents) in latents {
            let mut latents = latents.clone();
            let [known, look_ahead] = [window.known, window.look_ahead].map(|frames| frames * LATENTS_PER_FRAME);
            let played = join.join(&mut latents, known, look_ahead);
            sound.extend(interleaved(&self.vocoder.push(&mut state, &latents[played])?));
        }
        sound.extend(interleaved(&self.vocoder.finish(state)?));
        sound.drain(..2 * lead_in);
        Ok(sound)
    }

    fn joined_sound(&self, latents: &[(Window, Vec<f32>)], plan: &SegmentPlan) -> Result<Vec<f32>> {
        let mut join = OverlapAdd::new();
        let mut sound = Vec::new();
        for (window, latents) in latents {
            let [mut left, mut right] = self.vocoder.decode(latents)?;
            for channel in [&mut left, &mut right] {
                channel.drain(..window.lead_in * self.samples_per_frame());
            }
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
