//! HeartCodec, codes to sound: quantiser, flow matching, vocoder.
//!
//! Codes (12.5 frames a second) are looked up and projected by the [`Quantizer`]; from that condition and from noise
//! the [`FlowMatching`] solver makes latents (25 a second, 256 numbers each); the [`Vocoder`] makes 1920 stereo samples
//! of each latent.

mod config;
mod estimator;
mod flops;
mod flow_matching;
mod memory;
mod modulation;
#[cfg(feature = "cuda")]
mod on_gpu;
mod quantizer;
mod song;
mod tensors;
mod vocoder;

use candle_core::Device;

pub use heartstream_messages::Flow;

pub use config::HeartCodecConfig;
pub use estimator::Estimator;
pub use flow_matching::{FlowJob, FlowMatching, LATENTS_PER_FRAME, StopCheck, check_flow};
pub use quantizer::Quantizer;
pub use tensors::{expected_tensors, expected_tensors_of_vocoder};
pub use vocoder::{MOST_AT_ONCE, Vocoder, VocoderState, round_to_ninths};

use crate::{error::Result, weights::TensorStore};

/// The weights of a HeartCodec, its decoding side; shared by all workers and songs.
#[derive(Debug)]
pub struct HeartCodec {
    /// Codes and noise to latents.
    pub flow: FlowMatching,
    /// Latents to sound.
    pub vocoder: Vocoder,
}

impl HeartCodec {
    /// Reads the weights of flow matching onto the device `flow`, those of the vocoder onto `vocoder`.
    ///
    /// # Errors
    /// When tensors are missing or do not fit the config: all of them in one error.
    pub fn load(config: &HeartCodecConfig, store: &TensorStore, flow: &Device, vocoder: &Device) -> Result<Self> {
        store.check(&expected_tensors(config))?;
        let codec =
            Self { flow: FlowMatching::load(config, store, flow)?, vocoder: Vocoder::load(config, store, vocoder)? };
        // Workers read the weights in streams of their own.
        flow.synchronize()?;
        vocoder.synchronize()?;
        Ok(codec)
    }

    /// Has a GPU do once what it does for the first sound of a song whose first window is computed from `frames` frames: it
    /// loads its kernels and captures a graph for windows of this length. A processor has nothing to do.
    ///
    /// # Errors
    /// When a GPU has no memory for it.
    pub fn warm_up(&self, frames: usize, options: Flow) -> Result<()> {
        if self.flow.device().is_cuda() && frames > 0 {
            let codes = vec![0; frames * self.flow.quantizer.codebooks()];
            let noise = vec![0.0; frames * LATENTS_PER_FRAME * self.flow.channels()];
            let job = FlowJob { codes: &codes, noise: &noise, in_context: &[], options };
            // The graph of a window length is captured at its second window.
            for _ in 0..2 {
                self.flow.solve(job, &|| false)?;
            }
        }
        if self.vocoder.device().is_cuda() {
            self.vocoder.decode(&vec![0.0; self.vocoder.latents_at_once() * self.flow.channels()])?;
        }
        Ok(())
    }

    /// The same vocoder with the latents of `flow`, which is on another device.
    pub fn with_flow(&self, flow: FlowMatching) -> Self {
        Self { flow, vocoder: self.vocoder.clone() }
    }

    /// The same weights, for a worker that solves in a stream of its own: `flow` is the device that they are on, opened
    /// once more.
    ///
    /// # Errors
    /// When the device has no memory for what the worker computes in.
    pub fn with_flow_on(&self, flow: &Device) -> Result<Self> {
        Ok(Self { flow: self.flow.on(flow)?, vocoder: self.vocoder.clone() })
    }
}
