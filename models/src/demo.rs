//! Checkpoints without files: the built-in demo model, and one of noise for tests.

use std::sync::LazyLock;

use crate::{
    synth::{self, SynthSize},
    weights::{Checkpoint, EmbeddedFile},
};

/// Name of the built-in demo model.
pub const DEMO: &str = "demo";
/// What `--model` calls the model of noise.
pub const NOISE: &str = "noise";
/// The seed of the weights of the model of noise.
pub const NOISE_SEED: u64 = 2026;

macro_rules! file {
    ($path:literal) => {
        EmbeddedFile { path: $path, bytes: include_bytes!(concat!("../demo/", $path)) }
    };
}

/// The files of the built-in demo model, as they lie in `models/demo/`: a small one that `examples/train` has trained
/// (`docs/demo-model.md`), and the drafter that `heartstream distill` has trained for it.
static DEMO_FILES: [EmbeddedFile; 8] = [
    file!("HeartMuLa-oss-3B/config.json"),
    file!("HeartMuLa-oss-3B/model.safetensors"),
    file!("HeartMuLa-oss-3B/drafter.safetensors"),
    file!("HeartCodec-oss/config.json"),
    file!("HeartCodec-oss/model.safetensors"),
    file!("tokenizer.json"),
    file!("gen_config.json"),
    file!("tags.json"),
];

/// The files of the model of noise, made when they are first asked for.
static NOISE_FILES: LazyLock<Vec<EmbeddedFile>> = LazyLock::new(|| {
    static MADE: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
        synth::files(SynthSize::Noise, NOISE_SEED).expect("it is made of nothing that could be missing or wrong")
    });
    MADE.iter().map(|(path, bytes)| EmbeddedFile { path, bytes }).collect()
});

impl Checkpoint {
    /// The built-in demo model.
    pub fn demo() -> Self {
        Self::Embedded { name: DEMO, files: &DEMO_FILES }
    }

    /// A small model of random weights, made from a seed in a moment: a wash of noise, the same for ever. It stays what
    /// it is whatever lies in `models/demo/`, so tests are made with it.
    pub fn noise() -> Self {
        Self::Embedded { name: NOISE, files: &NOISE_FILES }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelDirectory;

    #[test]
    fn the_model_of_noise_is_the_same_for_ever() {
        let directory = ModelDirectory::open(Checkpoint::noise()).expect("configs");
        directory.check_tensors().expect("all tensors");
        assert_eq!(directory.fingerprint().expect("a name"), "8871040e5f12138d");
    }

    #[test]
    fn the_model_of_noise_is_what_its_size_gives_in_files() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        synth::synthesise(SynthSize::Noise, NOISE_SEED, folder.path(), &mut |_, _| ()).expect("a checkpoint");
        for file in NOISE_FILES.iter() {
            let written = std::fs::read(folder.path().join(file.path)).expect("a synthesised file");
            assert!(written == file.bytes, "{}", file.path);
        }
    }

    #[test]
    fn the_trained_model_fits_its_configs_and_takes_at_most_32_megabytes() {
        let directory = ModelDirectory::open(Checkpoint::demo()).expect("configs");
        directory.check_tensors().expect("all tensors");
        directory.check_codes().expect("a codebook for each code");
        directory.load_tokenizer().expect("a tokenizer");
        assert!(DEMO_FILES.iter().map(|file| file.bytes.len()).sum::<usize>() <= 32_000_000);
    }
}
