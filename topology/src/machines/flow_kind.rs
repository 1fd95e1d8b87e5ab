//! Kind of the latents of a machine: engine, codec and kernels.

use heartstream_messages::FlowKind;
use heartstream_models::{
    DeviceName, ModelDirectory, ModelError,
    kernels::cpu::KernelSet,
    weights::{FlowPrecision, Storage},
};

/// The kind of latents that the codec of `directory` has on `device`. It names what is known to change bits; that the rest
/// agrees, such as two kinds of GPU, the proof window shows.
pub(crate) fn flow_kind(directory: &ModelDirectory, device: DeviceName) -> Result<FlowKind, ModelError> {
    let kernels = match (device, directory.flow_precision) {
        (DeviceName::Cpu, _) => KernelSet::chosen().to_string(),
        (DeviceName::Cuda(_), FlowPrecision::F32) => "cuda".to_owned(),
        (DeviceName::Cuda(_), FlowPrecision::F16) => "cuda in one pass".to_owned(),
    };
    let weights = match directory.codec_storage {
        Storage::Auto | Storage::Stored => "weights as stored".to_owned(),
        Storage::As(dtype) => format!("weights as {dtype:?}").to_lowercase(),
    };
    Ok(FlowKind {
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        codec: directory.codec_fingerprint()?,
        kernels: format!("{kernels} kernels, {weights}"),
    })
}
