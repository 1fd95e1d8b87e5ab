//! Promise: files and weights of other kinds are told apart: one sentence says what they are and what to do. Numbers that are
//! not finite are found while they are read, and refused by their tensor's name.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use support::{complaint, copy_tree, folder, program, run, samples, text, tiny_model};
use tempfile::TempDir;

const LM: &str = "HeartMuLa-oss-3B/model.safetensors";
const CODEC: &str = "HeartCodec-oss/model.safetensors";

/// Tensors of a file: dtype, shape and bytes by name.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn read(path: &Path) -> Tensors {
    let bytes = fs::read(path).expect("weights");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let tensors = file.tensors().into_iter();
    tensors.map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).expect("a tensor")));
    fs::write(path, safetensors::serialize(views, None).expect("a file")).expect("weights");
}

/// The smallest model with the tensors of one of its files changed.
fn model(file: &str, change: impl Fn(&mut Tensors)) -> TempDir {
    let model = tiny_model();
    let path = model.path().join(file);
    let mut tensors = read(&path);
    change(&mut tensors);
    write(&path, &tensors);
    model
}

/// What `render` and `inspect` say of a model that cannot be used.
fn refused(model: &Path) -> String {
    let place = folder();
    let render = program()
        .args(["render", "-q", "--model", text(model), "-o", "song.wav", "--max-seconds", "0.3", "--top-k", "5"])
        .current_dir(place.path())
        .output()
        .expect("the program runs");
    let said = complaint(&render);
    assert_eq!(render.status.code(), Some(1), "{said}");
    let inspect = run(&["inspect", "--model", text(model)]);
    assert_eq!(inspect.status.code(), Some(1), "inspect finds nothing where render says: {said}");
    said
}

fn is_matrix(name: &str, shape: &[usize]) -> bool {
    shape.len() == 2 && !name.contains("embed")
}

#[test]
fn files_of_other_kinds_are_named_with_the_remedy() {
    for (bytes, what, remedy) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4987654321\n"[..],
            "Git LFS",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html>\n<html><head><title>403</title></head></html>\n", "web page", "download it again"),
        (b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "GGUF", "heartstream pull"),
        (&[0; 4096], "zeros", "Download the file again"),
    ] {
        let model = tiny_model();
        fs::write(model.path().join(LM), bytes).expect("a file");
        let said = refused(model.path());
        assert!(said.contains(what) && said.contains(remedy) && said.contains(LM), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn quantised_weights_are_named_by_their_format_in_one_sentence() {
    let four_bits = |tensors: &mut Tensors| {
        let matrices: Vec<String> =
            tensors.iter().filter(|(name, tensor)| is_matrix(name, &tensor.1)).map(|(name, _)| name.clone()).collect();
        for name in matrices {
            let count = tensors[&name].1.iter().product::<usize>();
            tensors.insert(name.clone(), (Dtype::U8, vec![count / 2, 1], vec![0; count / 2]));
            tensors.insert(format!("{name}.absmax"), (Dtype::F32, vec![1], vec![0; 4]));
            tensors.insert(format!("{name}.quant_state.bitsandbytes__nf4"), (Dtype::U8, vec![4], b"null".to_vec()));
        }
    };
    let eight_bits = |tensors: &mut Tensors| {
        let matrices: Vec<String> =
            tensors.iter().filter(|(name, tensor)| is_matrix(name, &tensor.1)).map(|(name, _)| name.clone()).collect();
        for name in matrices {
            let shape = tensors[&name].1.clone();
            let count = shape.iter().product::<usize>();
            tensors.insert(name.clone(), (Dtype::I8, shape.clone(), vec![0; count]));
            tensors.insert(name.replace("weight", "SCB"), (Dtype::F32, vec![shape[0]], vec![0; 4 * shape[0]]));
        }
    };
    let other = |dtype: Dtype, size: usize| {
        move |tensors: &mut Tensors| {
            for (_, (kind, shape, bytes)) in tensors.iter_mut() {
                *kind = dtype;
                *bytes = vec![0; shape.iter().product::<usize>() * size];
            }
        }
    };
    for (model, what) in [
        (model(LM, four_bits), "4 bits by bitsandbytes"),
        (model(LM, eight_bits), "8 bits by bitsandbytes"),
        (model(LM, other(Dtype::F8_E4M3, 1)), "fp8"),
        (model(LM, other(Dtype::F64, 8)), "f64"),
        (model(CODEC, other(Dtype::F64, 8)), "f64"),
    ] {
        let said = refused(model.path());
        assert!(said.contains(what) && said.contains("heartstream pull"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn a_list_of_tensors_that_do_not_fit_ends_after_twenty_lines() {
    let model = model(CODEC, |tensors| {
        for (name, tensor) in std::mem::take(tensors) {
            tensors.insert(format!("another.{name}"), tensor);
        }
    });
    let said = refused(model.path());
    assert!(said.lines().count() <= 20 && said.len() <= 4096, "{said}");
    assert!(said.contains("more") && said.contains("Download the checkpoint again"), "{said}");
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_their_tensors_name() {
    for (file, tensor, number, found) in [
        (LM, "backbone.norm.scale", f32::NAN, "NaN"),
        (CODEC, "flow_matching.cond_feature_emb.bias", f32::INFINITY, "inf"),
    ] {
        let model = model(file, |tensors| {
            let (dtype, shape, bytes) = tensors.get_mut(tensor).expect("a tensor");
            let count = shape.iter().product::<usize>();
            (*dtype, *bytes) =
                (Dtype::F32, [0.5f32, number].iter().cycle().take(count).flat_map(|x| x.to_le_bytes()).collect());
        });
        let said = refused(model.path());
        for word in [tensor, file, found, "16 numbers", "place 1"] {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    }
}

#[test]
fn a_conversion_that_would_overflow_is_refused_and_leaves_nothing() {
    let tensor = "flow_matching.cond_feature_emb.weight";
    let model = model(CODEC, |tensors| {
        let (dtype, shape, bytes) = tensors.get_mut(tensor).expect("a tensor");
        let count = shape.iter().product::<usize>();
        let numbers = std::iter::once(1e5f32).chain(std::iter::repeat(0.5)).take(count);
        (*dtype, *bytes) = (Dtype::F32, numbers.flat_map(f32::to_le_bytes).collect());
    });
    let place = folder();
    let out = place.path().join("out");
    let convert =
        |codec: &str| run(&["convert", "-q", "--model", text(model.path()), "--codec", codec, "--out", text(&out)]);
    let output = convert("f16");
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in [tensor, "beyond the range of f16", "100000", "--codec f32"] {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert_eq!(fs::read_dir(place.path()).expect("a folder").count(), 0, "nothing is left");
    assert!(convert("f32").status.success());
}

/// The samples of a short song of a model.
fn song(model: &Path) -> Vec<f32> {
    let place = folder();
    let path = place.path().join("song.wav");
    let song = ["--max-seconds", "0.3", "--top-k", "5", "--seed", "3", "--tags", "piano", "--lyrics", "la"];
    let output = run(&[&["render", "-q", "--model", text(model), "-o", text(&path)], &song[..]].concat());
    assert!(output.status.success(), "{}", complaint(&output));
    samples(&path)
}

#[test]
fn weights_that_were_saved_inside_of_another_model_are_those_of_the_model() {
    let plain = song(tiny_model().path());
    for (file, inside) in [(LM, "model."), (CODEC, "model."), (CODEC, "decoder."), (CODEC, "model.decoder.")] {
        let model = model(file, |tensors| {
            let saved = std::mem::take(tensors).into_iter();
            *tensors = saved.map(|(name, tensor)| (format!("{inside}{name}"), tensor)).collect();
        });
        assert!(song(model.path()) == plain, "{file} under {inside}");
    }
}

#[test]
fn parts_are_found_by_what_their_configs_say() {
    let good = tiny_model();
    let plain = song(good.path());
    let rename = |model: &Path, from: &str, to: &str| fs::rename(model.join(from), model.join(to)).expect("a file");
    let copy = || {
        let model = folder();
        copy_tree(good.path(), model.path());
        model
    };
    // Folders as on the hub.
    let model = copy();
    rename(model.path(), "HeartMuLa-oss-3B", "HeartMuLa-oss-3B-happy-new-year");
    rename(model.path(), "HeartCodec-oss", "HeartCodec-oss-20260123");
    assert!(song(model.path()) == plain);
    // The folder of a part in the place of the model.
    assert!(song(&model.path().join("HeartMuLa-oss-3B-happy-new-year")) == plain);
    assert!(song(&good.path().join("HeartCodec-oss")) == plain);
    // Weights of another name, and shards whose index was not copied.
    let model = copy();
    rename(model.path(), LM, "HeartMuLa-oss-3B/HeartMuLa-oss-3B-bf16.safetensors");
    assert!(song(model.path()) == plain);
    let model = copy();
    let tensors: Vec<_> = read(&model.path().join(LM)).into_iter().collect();
    fs::remove_file(model.path().join(LM)).expect("weights");
    for (place, half) in tensors.chunks(tensors.len().div_ceil(2)).enumerate() {
        let name = format!("HeartMuLa-oss-3B/model-0000{}-of-00002.safetensors", place + 1);
        write(&model.path().join(name), &half.iter().cloned().collect());
    }
    assert!(song(model.path()) == plain);
    fs::remove_file(model.path().join("HeartMuLa-oss-3B/model-00002-of-00002.safetensors")).expect("a shard");
    let said = refused(model.path());
    assert!(said.contains("of the 2 files") && said.contains("missing: 2"), "{said}");
}

#[test]
fn what_is_there_is_named_beside_what_is_missing() {
    let model = tiny_model();
    fs::rename(model.path().join(LM), model.path().join("HeartMuLa-oss-3B/pytorch_model.bin")).expect("weights");
    let said = refused(model.path());
    assert!(said.contains("pytorch_model.bin") && said.contains("only safetensors"), "{said}");
    let model = tiny_model();
    fs::remove_dir_all(model.path().join("HeartCodec-oss")).expect("a part");
    let place = folder();
    let output = program()
        .args(["render", "-q", "--model", text(model.path()), "-o", "x.wav"])
        .current_dir(place.path())
        .output();
    let said = complaint(&output.expect("the program runs"));
    assert!(said.contains("holds HeartMuLa-oss-3B, gen_config.json, tokenizer.json"), "{said}");
    // Two of a kind, and nothing says which one is meant.
    let model = tiny_model();
    copy_tree(&model.path().join("HeartMuLa-oss-3B"), &model.path().join("HeartMuLa-two"));
    fs::rename(model.path().join("HeartMuLa-oss-3B"), model.path().join("HeartMuLa-one")).expect("a part");
    let output = program()
        .args(["render", "-q", "--model", text(model.path()), "-o", "x.wav"])
        .current_dir(place.path())
        .output();
    let said = complaint(&output.expect("the program runs"));
    assert!(said.contains("several language models") && said.contains("HeartMuLa-one, HeartMuLa-two"), "{said}");
}
