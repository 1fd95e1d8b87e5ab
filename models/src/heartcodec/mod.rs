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
mod quantizer;
mod song;
mod tensors;
mod vocoder;

use candle_core::Device;

pub use config::HeartCodecConfig;
pub use estimator::Estimator;
pub use flow_matching::{FlowJob, FlowMatching, FlowOptions, LATENTS_PER_FRAME};
pub use quantizer::Quantizer;
pub use tensors::{expected_tensors, expected_tensors_of_vocoder};
pub use vocoder::{Vocoder, VocoderState, round_to_ninths};

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
        Ok(Self { flow: FlowMatching::load(config, store, flow)?, vocoder: Vocoder::load(config, store, vocoder)? })
    }

    /// The same weights, for a worker that solves in a stream of its own: `flow` is the device that they are on, opened
    /// once more.
    pub fn with_flow_on(&self, flow: &Device) -> Self {
        Self { flow: self.flow.on(flow), vocoder: self.vocoder.clone() }
    }
}
