//! WAV files of the evaluation, for listening.

use std::path::Path;

use crate::error::{Result, TrainError, at};

/// Writes both channels, 48 kHz in 16 bits, as the file `name` in `folder`.
pub fn write(sound: [&[f32]; 2], folder: &Path, name: &str) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let path = folder.join(name);
    let failed = |error: hound::Error| TrainError::Order(format!("{}: {error}", path.display()));
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&path, spec).map_err(failed)?;
    for sample in sound[0].iter().zip(sound[1]).flat_map(|(left, right)| [*left, *right]) {
        writer.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0) as i16).map_err(failed)?;
    }
    writer.finalize().map_err(failed)
}
