//! The model of noise: a checkpoint without files, for tests.

use std::sync::LazyLock;

use heartstream_models::weights::{Checkpoint, EmbeddedFile};

use super::SynthSize;

/// The name of the model of noise, on command lines and in messages.
pub const NOISE: &str = "noise";
/// The seed of its weights.
pub const NOISE_SEED: u64 = 2026;

/// Its files, made when they are first asked for.
static FILES: LazyLock<Vec<EmbeddedFile>> = LazyLock::new(|| {
    static MADE: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
        super::files(SynthSize::Noise, NOISE_SEED).expect("it is made of nothing that could be missing or wrong")
    });
    MADE.iter().map(|(path, bytes)| EmbeddedFile { path, bytes }).collect()
});

/// A small model of random weights, made from a seed in a moment: a wash of noise, the same for ever. It stays what it
/// is whatever the demo model becomes, so tests are made with it.
pub fn noise() -> Checkpoint {
    Checkpoint::Embedded { name: NOISE, files: &FILES }
}

#[cfg(test)]
mod tests {
    use heartstream_models::ModelDirectory;

    use super::*;
    use crate::synth::synthesise;

    #[test]
    fn the_model_of_noise_is_the_same_for_ever() {
        let directory = ModelDirectory::open(noise()).expect("configs");
        directory.check_tensors().expect("all tensors");
        assert_eq!(directory.fingerprint().expect("a name"), "8871040e5f12138d");
    }

    #[test]
    fn the_model_of_noise_is_what_its_size_gives_in_files() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        synthesise(SynthSize::Noise, NOISE_SEED, folder.path(), &mut |_, _| ()).expect("a checkpoint");
        for file in FILES.iter() {
            let written = std::fs::read(folder.path().join(file.path)).expect("a synthesised file");
            assert!(written == file.bytes, "{}", file.path);
        }
    }
}
