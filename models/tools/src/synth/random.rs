//! A checkpoint of any size from a seed: computed while it is read, or written as the published ones are.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use heartstream_models::{
    CODEC_PART, LM_PARTS, ModelDirectory, Result, WeightDtype, heartcodec, heartmula,
    weights::{Checkpoint, Expected, SeededCheckpoint, SeededNumbers},
};

use super::{SynthSize, configs, encoder::unused_tensors, values::Values, write as write_file};
use crate::part_writer::PartWriter;

/// Bytes of weights in one file, at most: what the library that wrote the published checkpoints has as its default.
const LARGEST_FILE: u64 = 5_000_000_000;

/// A checkpoint without files.
#[derive(Debug)]
struct Random {
    name: String,
    files: BTreeMap<String, Arc<[u8]>>,
    lm: Vec<(Expected, SeededNumbers)>,
    codec: Vec<(Expected, SeededNumbers)>,
}

impl SeededCheckpoint for Random {
    fn name(&self) -> &str {
        &self.name
    }

    fn file(&self, path: &str) -> Option<Arc<[u8]>> {
        self.files.get(path).cloned()
    }

    fn tensors(&self, part: &str) -> Vec<(Expected, SeededNumbers)> {
        if part == CODEC_PART { self.codec.clone() } else { self.lm.clone() }
    }
}

impl Random {
    fn new(size: SynthSize, seed: u64) -> Result<Self> {
        let (lm, codec) = (size.lm(), size.codec());
        let special_codes = lm.audio_vocab_size - codec.codebook_size;
        let numbers = |tensor: Expected| {
            let numbers = Values::seeded(seed, special_codes, &tensor.name, &tensor.shape);
            (tensor, numbers)
        };
        let files = configs(&lm, &codec, "float32")?.into_iter().map(|(path, bytes)| (path, bytes.into()));
        let used = heartcodec::expected_tensors(&codec).into_iter();
        Ok(Self {
            name: format!("random {size:?} weights of seed {seed}").to_lowercase(),
            files: files.collect(),
            lm: heartmula::expected_tensors(&lm).into_iter().map(numbers).collect(),
            codec: used.chain(unused_tensors(&codec)).map(numbers).collect(),
        })
    }
}

/// A checkpoint of `size` whose weights are computed from `seed` when they are read; it needs no room on a disk.
///
/// # Errors
/// When its configs cannot be made.
pub fn random(size: SynthSize, seed: u64) -> Result<Checkpoint> {
    Ok(Checkpoint::Seeded(Arc::new(Random::new(size, seed)?)))
}

/// A model of random weights, as [`random`] computes them. It serves to measure the cost of a model of that size where
/// no checkpoint is at hand.
///
/// # Errors
/// When its configs cannot be made.
pub fn random_model(size: SynthSize, seed: u64) -> Result<ModelDirectory> {
    ModelDirectory::open(random(size, seed)?)
}

/// Writes what [`random`] computes into the directory `out`.
pub(super) fn write(size: SynthSize, seed: u64, out: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    write_in_files_of(size, seed, out, LARGEST_FILE, progress)
}

fn write_in_files_of(
    size: SynthSize,
    seed: u64,
    out: &Path,
    largest: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let random = Random::new(size, seed)?;
    for (path, bytes) in &random.files {
        write_file(&out.join(path), bytes)?;
    }
    let parts = [(LM_PARTS[0], &random.lm), (CODEC_PART, &random.codec)];
    let writers: Vec<PartWriter> = parts
        .iter()
        .map(|(part, tensors)| {
            let tensors = tensors.iter().map(|(tensor, _)| (tensor.clone(), WeightDtype::F32)).collect();
            PartWriter::new(out.join(part), tensors, largest)
        })
        .collect();
    let all = writers.iter().map(PartWriter::bytes).sum();
    let mut done = 0;
    for (writer, (_, tensors)) in writers.iter().zip(&parts) {
        let read = |tensor: usize, first: usize, to: &mut [f32]| {
            tensors[tensor].1.fill(first, to);
            Ok(())
        };
        writer.write(&read, &mut |bytes| {
            done += bytes;
            progress(done, all);
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use heartstream_models::{signal::KeyedNoise, weights::TensorStore};

    use super::*;

    #[test]
    fn what_is_written_in_several_files_is_what_is_computed_without_any() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut told = Vec::new();
        let mut progress = |done, all| told.push((done, all));
        write_in_files_of(SynthSize::Tiny, 9, folder.path(), 60_000, &mut progress).expect("a checkpoint");
        assert!(
            told.windows(2).all(|pair| pair[0].0 < pair[1].0) && told.last().is_some_and(|(done, all)| done == all)
        );
        let written = ModelDirectory::open(Checkpoint::open(folder.path()).expect("a folder")).expect("configs");
        let computed = random_model(SynthSize::Tiny, 9).expect("configs");
        written.check_tensors().expect("whole files");
        computed.check_tensors().expect("all tensors");
        let files = written.lm_store().expect("files").files().count();
        assert!(files > 1, "{files} files");
        let same = |written: &TensorStore, computed: &TensorStore| {
            assert!(written.names().eq(computed.names()));
            for name in written.names() {
                let read = |store: &TensorStore| store.floats(name).expect("numbers");
                assert!(read(written) == read(computed), "{name}");
            }
        };
        same(&written.lm_store().expect("files"), &computed.lm_store().expect("tensors"));
        same(&written.codec_store().expect("files"), &computed.codec_store().expect("tensors"));
        assert_ne!(written.fingerprint().expect("files"), computed.fingerprint().expect("a name"));
    }

    #[test]
    fn a_computed_model_makes_sound() {
        let codec = random_model(SynthSize::Small, 3).expect("configs").load_codec(&Device::Cpu);
        let codec = codec.expect("a codec");
        let mut latents = vec![0f32; 8 * codec.flow.channels()];
        KeyedNoise::new(1).fill_latent(0, &mut latents);
        for channel in codec.vocoder.decode(&latents).expect("sound") {
            let power = channel.iter().map(|x| x * x).sum::<f32>() / channel.len() as f32;
            assert!(power.sqrt() > 1e-3 && power.sqrt() < 10.0, "RMS {}", power.sqrt());
        }
    }
}
