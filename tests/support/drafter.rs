//! Drafters for tests, with numbers that were never trained.

use std::{fs, path::Path};

use heartstream::Checkpoint;
use heartstream_models::{
    ModelDirectory,
    heartmula::HeartMulaConfig,
    speculation::{DRAFTER_FILE, DrafterSizes, DrafterWeights},
};
use safetensors::{Dtype, tensor::TensorView};

/// Puts a drafter beside the language model in `model`. `change` has the sizes of the model that it is for, and its own,
/// which would fit.
pub fn add_drafter(model: &Path, change: impl Fn(&mut HeartMulaConfig, &mut DrafterSizes)) {
    let directory = ModelDirectory::open(Checkpoint::open(model).expect("a directory")).expect("configs");
    let mut config = directory.lm.clone();
    let mut sizes = DrafterSizes::usual(&config, 3);
    change(&mut config, &mut sizes);
    let filled: Vec<(String, Vec<usize>, Vec<u8>)> = DrafterWeights::expected(&config, sizes)
        .into_iter()
        .map(|tensor| {
            let count = tensor.shape.iter().product::<usize>();
            let numbers = (0..count).flat_map(|place| ((place as f32 * 0.7).sin() * 0.05).to_le_bytes()).collect();
            (tensor.name, tensor.shape, numbers)
        })
        .collect();
    let views = filled
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor")));
    let file = safetensors::serialize(views, None).expect("a file");
    fs::write(model.join(&directory.lm_part).join(DRAFTER_FILE), file).expect("a drafter");
}
