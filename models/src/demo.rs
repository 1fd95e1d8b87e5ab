//! Which model is inside the program? One to try everything with, when no other is at hand.
//!
//! Its files lie in `models/demo/` and are what [`crate::synth`] makes of [`SEED`]: random weights, no music yet.

use crate::{
    synth::SynthSize,
    weights::{Checkpoint, EmbeddedFile},
};

/// What `--model` calls it.
pub const NAME: &str = "demo";
/// The seed of its weights.
pub const SEED: u64 = 2026;
/// The size of its weights.
pub const SIZE: SynthSize = SynthSize::Demo;

macro_rules! file {
    ($path:literal) => {
        EmbeddedFile { path: $path, bytes: include_bytes!(concat!("../demo/", $path)) }
    };
}

static FILES: [EmbeddedFile; 6] = [
    file!("HeartMuLa-oss-3B/config.json"),
    file!("HeartMuLa-oss-3B/model.safetensors"),
    file!("HeartCodec-oss/config.json"),
    file!("HeartCodec-oss/model.safetensors"),
    file!("tokenizer.json"),
    file!("gen_config.json"),
];

/// The model inside the program.
pub fn checkpoint() -> Checkpoint {
    Checkpoint::Embedded { name: NAME, files: &FILES }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_in_the_program_are_what_the_seed_gives() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        crate::synth::synthesise(SIZE, SEED, directory.path(), &mut |_, _| ()).expect("a checkpoint");
        for file in FILES {
            let made = std::fs::read(directory.path().join(file.path)).expect("a synthesised file");
            assert!(
                made == file.bytes,
                "{} differs: write it again with `heartstream synth --size demo --out models/demo`",
                file.path
            );
        }
    }
}
