//! Good inputs: a whole model with everything that can lie beside it, and a saved song of it.

use std::{fs, path::Path};

use heartstream_tools::synth::{SynthSize, synthesise};
use tempfile::TempDir;

use crate::support::{complaint, drafter::add_drafter, folder, program, text};

/// A whole model, its saved song, and the plan of that.
pub struct Scene {
    pub good: TempDir,
    pub codes: Vec<u8>,
    pub plan: Vec<u8>,
}

impl Scene {
    pub fn new() -> Self {
        let good = folder();
        synthesise(SynthSize::Tiny, 5, good.path(), &mut |_, _| ()).expect("a checkpoint");
        let path = |name: &str| good.path().join(name);
        fs::write(
            path("HeartMuLa-oss-3B/model.safetensors.index.json"),
            r#"{"metadata": {"total_size": 1}, "weight_map": {"a": "model.safetensors"}}"#,
        )
        .expect("an index");
        add_drafter(good.path(), |_, _| ());
        fs::write(path("goldens.safetensors"), goldens()).expect("golden data");
        let (song, codes, plan) = (path("song.wav"), path("song.codes"), path("song.json"));
        let output = program()
            .args([
                "render",
                "-q",
                "--model",
                text(good.path()),
                "-o",
                text(&song),
                "--max-seconds",
                "0.4",
                "--top-k",
                "5",
            ])
            .args(["--tags", "piano", "--lyrics", "la", "--save-codes", text(&codes), "--record", text(&plan)])
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{}", complaint(&output));
        let taken = |path: &Path| (fs::read(path).expect("a file"), fs::remove_file(path).expect("a file")).0;
        taken(&song);
        let (codes, plan) = (taken(&codes), taken(&plan));
        Self { good, codes, plan }
    }
}

/// Golden data that fit no model, of all shapes that are read.
fn goldens() -> Vec<u8> {
    let tensor =
        |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec(), vec![0u8; 4 * shape.iter().product::<usize>()]);
    let all = [
        tensor("codec.estimator.input", &[1, 4, 544]),
        tensor("codec.estimator.timestep", &[1]),
        tensor("codec.estimator.output", &[1, 4, 256]),
        tensor("codec.vocoder.latent", &[2, 128, 4]),
        tensor("codec.vocoder.pcm", &[2, 7680]),
        tensor("codec.steps2.noise", &[1, 200, 256]),
        tensor("codec.steps2.latents", &[1, 2, 128, 200]),
    ];
    serialised(&all, safetensors::Dtype::F32)
}

fn serialised(tensors: &[(String, Vec<usize>, Vec<u8>)], dtype: safetensors::Dtype) -> Vec<u8> {
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).expect("a tensor"))
    });
    safetensors::serialize(views, None).expect("a file")
}
