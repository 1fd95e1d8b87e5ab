//! Promise: the same weights and the same noise give the reference's numbers.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
};

use heartstream_models::{ModelDirectory, kernels::cpu::KernelSet, weights::Checkpoint};
use heartstream_tools::golden::{self, Row};
use safetensors::{SafeTensors, tensor::TensorView};
use support::{complaint, copy_tree, folder, program, run, text};

/// The sets of golden data, and how many tensors of each are compared.
const SETS: [(&str, usize); 2] = [("windows", 10), ("half", 9)];

fn set(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn rows(directory: &Path) -> Vec<Row> {
    let checkpoint = Checkpoint::open(directory).expect("a directory");
    let directory = ModelDirectory::open(checkpoint).expect("configs");
    let mut rows = Vec::new();
    golden::check(&directory, &candle_core::Device::Cpu, &mut |row| rows.push(row)).expect("a comparison");
    rows
}

#[test]
fn the_engine_computes_what_the_reference_computed() {
    for (name, count) in SETS {
        let rows = rows(&set(name));
        assert_eq!(rows.len(), count, "{name}: {rows:#?}");
        for row in rows {
            assert!(row.ok(), "{name}: {row:#?}");
        }
    }
}

#[test]
fn the_program_prints_a_row_for_each_tensor_and_says_that_all_are_ok() {
    for (name, count) in SETS {
        let output = run(&["check", text(&set(name))]);
        assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
        let table = String::from_utf8_lossy(&output.stdout);
        assert_eq!(table.lines().filter(|line| line.ends_with(" ok") && !line.starts_with("all")).count(), count);
        assert_eq!(table.lines().last(), Some(&*format!("all {count} ok")));
        assert!(table.lines().any(|line| line == "device: cpu"), "it says what computed");
    }
}

/// The portable kernels round each product and each sum, all others both at once. So their errors differ in the last
/// digits, or it was not they who computed.
#[test]
fn every_set_of_kernels_that_runs_here_gives_the_references_numbers_in_its_own_way() {
    for (name, count) in SETS {
        let mut portable = String::new();
        for kernels in KernelSet::here() {
            let mut check = program();
            check.args(["check", text(&set(name))]).env("HEARTSTREAM_KERNELS", kernels.to_string());
            let output = check.output().expect("the program runs");
            assert_eq!(output.status.code(), Some(0), "{kernels}: {}", complaint(&output));
            let table = String::from_utf8_lossy(&output.stdout);
            assert_eq!(table.lines().next(), Some(&*format!("kernels: {kernels}")));
            assert_eq!(table.lines().last(), Some(&*format!("all {count} ok")), "{kernels}");
            let rows = table.lines().skip(1).collect::<Vec<_>>().join("\n");
            match kernels {
                KernelSet::Portable => portable = rows,
                _ => assert_ne!(rows, portable, "{name}: {kernels} gives the very numbers of the portable kernels"),
            }
        }
    }
}

/// Every golden output, changed in one number, must be noticed: a comparison that cannot fail says nothing.
#[test]
fn one_wrong_number_in_any_golden_tensor_is_noticed() {
    let copy = folder();
    copy_tree(&set("half"), copy.path());
    let path = copy.path().join("goldens.safetensors");
    let good = fs::read(&path).expect("golden data");
    let outputs = ["lm.plain.greedy_codes", "lm.cfg30.logits", "codec.rvq_output", "codec.vocoder.pcm"];
    for tensor in
        outputs.into_iter().chain(["codec.condition", "codec.estimator.output", "codec.steps4_noguide.latents"])
    {
        fs::write(&path, with_another_number(&good, tensor)).expect("changed golden data");
        let bad: Vec<String> = rows(copy.path()).into_iter().filter(|row| !row.ok()).map(|row| row.tensor).collect();
        assert_eq!(bad, [tensor]);
    }
    let output = run(&["check", text(copy.path())]);
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    let table = String::from_utf8_lossy(&output.stdout);
    assert_eq!(table.lines().filter(|line| line.ends_with("NOT OK")).count(), 1);
    assert_eq!(table.lines().last(), Some("1 of 9 not ok"));
}

/// Shapes that the model does not ask for: none of them may be computed with.
#[test]
fn golden_data_of_another_shape_is_refused_by_its_tensor() {
    let copy = folder();
    copy_tree(&set("half"), copy.path());
    let path = copy.path().join("goldens.safetensors");
    let good = fs::read(&path).expect("golden data");
    let shape = |tensor: &str| {
        let file = SafeTensors::deserialize(&good).expect("golden data");
        file.tensor(tensor).expect(tensor).shape().to_vec()
    };
    let (input, times, codes) = ("codec.estimator.input", "codec.estimator.timestep", "codec.codes");
    let [batch, length, width] = shape(input).try_into().expect("three dimensions");
    let [codebooks, frames] = shape(codes).try_into().expect("two dimensions");
    for (tensor, shape) in [
        (input, vec![batch, length, width - 1]),
        (input, vec![batch, length, 0]),
        (input, vec![batch, 0, width]),
        (input, vec![length, width]),
        (times, vec![batch + 1]),
        (times, vec![0]),
        (codes, vec![codebooks, 0]),
        (codes, vec![codebooks - 1, frames]),
        (codes, vec![0]),
    ] {
        fs::write(&path, with_another_shape(&good, tensor, &shape)).expect("changed golden data");
        let output = run(&["check", text(copy.path())]);
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{tensor} of {shape:?}: {said}");
        assert!(said.contains(tensor) && !said.contains("panicked"), "{tensor} of {shape:?}: {said}");
    }
}

/// The safetensors file with zeros of this shape in the place of `tensor`.
fn with_another_shape(file: &[u8], tensor: &str, shape: &[usize]) -> Vec<u8> {
    let file = SafeTensors::deserialize(file).expect("golden data");
    let dtype = file.tensor(tensor).expect(tensor).dtype();
    let zeros = vec![0; shape.iter().product::<usize>() * dtype.bitsize() / 8];
    let other = TensorView::new(dtype, shape.to_vec(), &zeros).expect("a tensor");
    let views = file.tensors().into_iter().map(|(name, view)| {
        let view = if name == tensor { other.clone() } else { view };
        (name, view)
    });
    safetensors::serialize(views, None).expect("golden data")
}

/// The safetensors file with another first number in `tensor`: a code one higher, or a float far off.
fn with_another_number(file: &[u8], tensor: &str) -> Vec<u8> {
    let header = u64::from_le_bytes(file[..8].try_into().expect("eight bytes")) as usize;
    let json: serde_json::Value = serde_json::from_slice(&file[8..8 + header]).expect("a header");
    let info = &json[tensor];
    let start = 8 + header + info["data_offsets"][0].as_u64().expect("an offset") as usize;
    let mut file = file.to_vec();
    if info["dtype"] == "I64" {
        file[start] ^= 1;
    } else {
        file[start..start + 4].copy_from_slice(&30f32.to_le_bytes());
    }
    file
}
