//! Kind of what a machine computes: engine, model and kernels.

use heartstream_messages::{FlowKind, SongKind};
use heartstream_models::{
    DeviceName, ModelDirectory, ModelError,
    kernels::cpu::KernelSet,
    weights::{FlowPrecision, Storage},
};

use crate::{Heartstream, engine::Weights};

/// The kind of latents that the codec of `directory` has on `device`. It names what is known to change bits; that the rest
/// agrees, such as two kinds of GPU, the proof window shows.
pub(crate) fn flow_kind(directory: &ModelDirectory, device: DeviceName) -> Result<FlowKind, ModelError> {
    let kernels = match (device, directory.flow_precision) {
        (DeviceName::Cuda(_), FlowPrecision::F16) => "cuda in one pass".to_owned(),
        _ => kernels(device),
    };
    Ok(FlowKind {
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        codec: directory.codec_fingerprint()?,
        kernels: format!("{kernels} kernels, {}", weights(directory.codec_storage)),
    })
}

/// The kind of songs that an engine makes; `None` of one that loads half of its model after the other.
pub(super) fn song_kind(engine: &Heartstream) -> Option<SongKind> {
    let Weights::Loaded { decoder, .. } = &engine.weights else { return None };
    let (lm, vocoder) = (kernels(engine.plan.devices.lm), kernels(engine.plan.devices.vocoder));
    Some(SongKind {
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        model: engine.fingerprint().to_owned(),
        kernels: format!(
            "{lm} kernels, {}, for codes and {}, and {vocoder} for sound",
            weights(engine.lm_resources.storage),
            decoder.kind.kernels
        ),
    })
}

fn kernels(device: DeviceName) -> String {
    if device.is_cpu() { KernelSet::chosen().to_string() } else { "cuda".to_owned() }
}

fn weights(storage: Storage) -> String {
    match storage {
        Storage::Auto | Storage::Stored => "weights as stored".to_owned(),
        Storage::As(dtype) => format!("weights as {dtype:?}").to_lowercase(),
    }
}
