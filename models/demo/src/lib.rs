//! The built-in demo model: its weights, compiled into the program.
//!
//! A small model that `examples/train` has trained (`docs/demo-model.md`), and the drafter that `heartstream distill` has
//! trained for it. 31 MB in every program that calls [`checkpoint`].

use heartstream_models::weights::{Checkpoint, EmbeddedFile};

/// The name of the model, on command lines and in messages.
pub const NAME: &str = "demo";

macro_rules! file {
    ($path:literal) => {
        EmbeddedFile { path: $path, bytes: include_bytes!(concat!("../", $path)) }
    };
}

/// The files in the published layout.
static FILES: [EmbeddedFile; 9] = [
    file!("HeartMuLa-oss-3B/config.json"),
    file!("HeartMuLa-oss-3B/model.safetensors"),
    file!("HeartMuLa-oss-3B/drafter.safetensors"),
    file!("HeartCodec-oss/config.json"),
    file!("HeartCodec-oss/model.safetensors"),
    file!("tokenizer.json"),
    file!("gen_config.json"),
    file!("tags.json"),
    file!("card.json"),
];

/// The model.
pub fn checkpoint() -> Checkpoint {
    Checkpoint::Embedded { name: NAME, files: &FILES }
}

#[cfg(test)]
mod tests {
    use heartstream_models::ModelDirectory;

    use super::*;

    #[test]
    fn the_trained_model_fits_its_configs_and_takes_at_most_32_megabytes() {
        let directory = ModelDirectory::open(checkpoint()).expect("configs");
        directory.check_tensors().expect("all tensors");
        directory.check_codes().expect("a codebook for each code");
        directory.load_tokenizer().expect("a tokenizer");
        let card = heartstream_models::ModelCard::of(&checkpoint()).expect("a card");
        assert!(card.gain_db.is_some() && card.seconds_per_line.is_some());
        assert!(FILES.iter().map(|file| file.bytes.len()).sum::<usize>() <= 32_000_000);
    }
}
