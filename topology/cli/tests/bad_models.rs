//! Promise: never silent about a model. One that is missing, cut, mislabelled or hostile gets one paragraph that names
//! the file, the field and the remedy; nothing panics, and nothing is allocated by a number that was not checked.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path};

use heartstream_models::{heartmula::HeartMulaConfig, speculation::DrafterSizes};
use serde_json::{Value, json};
use support::{
    complaint, copy_tree, drafter::add_drafter, edit_json, folder, program, refusal::refused, text, tiny_model,
};

const LM_CONFIG: &str = "HeartMuLa-oss-3B/config.json";
const CODEC_CONFIG: &str = "HeartCodec-oss/config.json";
const LM_WEIGHTS: &str = "HeartMuLa-oss-3B/model.safetensors";
const CODEC_WEIGHTS: &str = "HeartCodec-oss/model.safetensors";
const DRAFTER: &str = "HeartMuLa-oss-3B/drafter.safetensors";
const INDEX: &str = "HeartMuLa-oss-3B/model.safetensors.index.json";

/// A way to spoil a model, what spoils it, and what must be said about it.
type Spoiled = (&'static str, Box<dyn Fn(&Path)>, &'static [&'static str]);

/// Every spoiled model must be refused by `render`, and `inspect` must say what is wrong with it.
fn all_refused(cases: Vec<Spoiled>) {
    let (place, good) = (folder(), tiny_model());
    for (what, spoil, says) in cases {
        let model = folder();
        copy_tree(good.path(), model.path());
        spoil(model.path());
        let says: Vec<&str> = says.iter().copied().chain([text(model.path())]).collect();
        let render = ["render", "-q", "--model", text(model.path()), "-o", "song.wav", "--max-seconds", "1"];
        refused(place.path(), model.path(), &render, 1, &says);
        let output = program().args(["inspect", "-q", "--model", text(model.path())]).output().expect("it runs");
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), complaint(&output));
        assert_eq!(output.status.code(), Some(1), "inspect, {what}: {all}");
        assert!(!all.contains("panicked"), "inspect, {what}: {all}");
        for word in says {
            assert!(all.contains(word), "inspect, {what}: `{word}` is not in: {all}");
        }
    }
}

fn removed(file: &'static str) -> Box<dyn Fn(&Path)> {
    Box::new(move |model| fs::remove_file(model.join(file)).expect("a file"))
}

fn written(file: &'static str, bytes: &'static [u8]) -> Box<dyn Fn(&Path)> {
    Box::new(move |model| fs::write(model.join(file), bytes).expect("a file"))
}

fn edited(file: &'static str, edit: impl Fn(&mut Value) + 'static) -> Box<dyn Fn(&Path)> {
    Box::new(move |model| edit_json(&model.join(file), &edit))
}

/// Changes a safetensors file's bytes.
fn changed(file: &'static str, change: impl Fn(&mut Vec<u8>) + 'static) -> Box<dyn Fn(&Path)> {
    Box::new(move |model| {
        let mut bytes = fs::read(model.join(file)).expect("a file");
        change(&mut bytes);
        fs::write(model.join(file), bytes).expect("a file");
    })
}

/// Changes the header of a safetensors file and writes it anew.
fn retold(file: &'static str, edit: impl Fn(&mut Value) + 'static) -> Box<dyn Fn(&Path)> {
    changed(file, move |bytes| {
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let mut header = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        edit(&mut header);
        let header = header.to_string();
        let data = bytes.split_off(8 + length);
        *bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
    })
}

#[test]
fn a_model_that_is_not_one_is_refused() {
    let (place, model) = (folder(), tiny_model());
    fs::write(place.path().join("file"), "x").expect("a file");
    for (given, says) in [("nowhere", "No such file"), ("file", "it is a file"), (".", LM_CONFIG)] {
        for command in [&["render", "-o", "song.wav"][..], &["inspect"]] {
            let arguments = [command, &["-q", "--model", given]].concat();
            refused(place.path(), model.path(), &arguments, 1, &[given, says, "HeartMuLa-oss-3B/"]);
        }
    }
}

#[test]
fn files_that_are_missing_or_damaged_are_named() {
    all_refused(vec![
        ("no config of the model", removed(LM_CONFIG), &[LM_CONFIG, "download what is missing"]),
        ("no config of the codec", removed(CODEC_CONFIG), &[CODEC_CONFIG, "download what is missing"]),
        ("no special ids", removed("gen_config.json"), &["gen_config.json", "download what is missing"]),
        ("no tokenizer", removed("tokenizer.json"), &["tokenizer.json", "download what is missing"]),
        ("no weights of the model", removed(LM_WEIGHTS), &[LM_WEIGHTS, "ownload"]),
        ("no weights of the codec", removed(CODEC_WEIGHTS), &[CODEC_WEIGHTS, "ownload"]),
        ("an empty config", written(LM_CONFIG, b""), &[LM_CONFIG, "it is empty"]),
        ("a config that is no JSON", written(CODEC_CONFIG, b"{\"dim\": "), &[CODEC_CONFIG, "not JSON", "Restore"]),
        ("a config that is not UTF-8", written(LM_CONFIG, b"{\"a\": \"\xff\"}"), &[LM_CONFIG, "not UTF-8"]),
        ("a config that is a list", written(LM_CONFIG, b"[1]"), &[LM_CONFIG, "found a list", "Restore"]),
        ("a tokenizer that is none", written("tokenizer.json", b"{}"), &["tokenizer.json", "no tokenizer", "Restore"]),
        (
            "a tokenizer of another model",
            edited("tokenizer.json", |t| t["model"]["vocab"]["zzz"] = json!(128_000)),
            &["tokenizer.json", "ids up to 128000", "knows 259"],
        ),
        (
            "an index that names a file that is not there",
            written(
                INDEX,
                br#"{"weight_map":{"a":"model.safetensors","b":"model-2.safetensors","c":"model-3.safetensors"}}"#,
            ),
            &["model-2.safetensors, model-3.safetensors", "of the 3 files", "Download"],
        ),
        (
            "an index that leads outside",
            written(INDEX, br#"{"weight_map":{"a":"../gen_config.json"}}"#),
            &[INDEX, "its own folder", "../gen_config.json"],
        ),
        (
            "an index to an absolute path",
            written(INDEX, br#"{"weight_map":{"a":"/etc/passwd"}}"#),
            &[INDEX, "/etc/passwd"],
        ),
        ("an index without a map", written(INDEX, br#"{"metadata":{}}"#), &[INDEX, "`weight_map`", "Restore"]),
        ("an index with an empty map", written(INDEX, br#"{"weight_map":{}}"#), &[INDEX, "is empty"]),
        ("an index with numbers", written(INDEX, br#"{"weight_map":{"a":7}}"#), &[INDEX, "names 7"]),
        ("an index that is no JSON", written(INDEX, b"model.safetensors"), &[INDEX, "not JSON"]),
        (
            "weights cut in the middle",
            changed(LM_WEIGHTS, |file| file.truncate(file.len() / 2)),
            &[LM_WEIGHTS, "cut short", "download the file again"],
        ),
        (
            "weights cut by a byte",
            changed(CODEC_WEIGHTS, |file| file.truncate(file.len() - 1)),
            &[CODEC_WEIGHTS, "cut short"],
        ),
        ("weights cut in the header", changed(CODEC_WEIGHTS, |file| file.truncate(100)), &[CODEC_WEIGHTS, "100 bytes"]),
        ("weights of four bytes", changed(LM_WEIGHTS, |file| file.truncate(4)), &[LM_WEIGHTS, "4 bytes"]),
        (
            "a header of 2^60 bytes",
            changed(LM_WEIGHTS, |f| f[..8].copy_from_slice(&(1u64 << 60).to_le_bytes())),
            &[LM_WEIGHTS],
        ),
        ("a header of 2^64 - 1 bytes", changed(LM_WEIGHTS, |f| f[..8].fill(0xff)), &[LM_WEIGHTS]),
        ("a header of no bytes", changed(LM_WEIGHTS, |f| f[..8].fill(0)), &[LM_WEIGHTS]),
        ("a header that is no JSON", changed(LM_WEIGHTS, |file| file[8] = b'?'), &[LM_WEIGHTS, "header"]),
        (
            "a text in the place of weights",
            written(LM_WEIGHTS, b"version https://git-lfs.github.com/spec/v1\n"),
            &[LM_WEIGHTS],
        ),
    ]);
}

#[test]
fn tensors_that_do_not_fit_are_all_listed_at_once() {
    all_refused(vec![
        (
            "a tensor that is missing",
            retold(LM_WEIGHTS, |header| {
                let tensor = header["projection.weight"].take();
                header.as_object_mut().expect("an object").remove("projection.weight");
                header["projection.waits"] = tensor;
            }),
            &["1 tensor does not fit", LM_WEIGHTS, "projection.weight: expected [32, 32], missing", "Download"],
        ),
        (
            "three tensors of other shapes, and one missing",
            retold(CODEC_WEIGHTS, |header| {
                header["flow_matching.cond_feature_emb.bias"]["shape"] = json!([2, 16]);
                header["flow_matching.cond_feature_emb.weight"]["shape"] = json!([1024]);
                header["scalar_model.decoder.0.bias"]["shape"] = json!([1, 32, 1]);
                let tensor = header["scalar_model.decoder.1.up_conv.layer.bias"].take();
                header.as_object_mut().expect("an object").remove("scalar_model.decoder.1.up_conv.layer.bias");
                header["renamed"] = tensor;
            }),
            &[
                "4 tensors do not fit",
                CODEC_WEIGHTS,
                "flow_matching.cond_feature_emb.bias: expected [32], found [2, 16]",
                "flow_matching.cond_feature_emb.weight: expected [32, 32], found [1024]",
                "scalar_model.decoder.0.bias: expected [32], found [1, 32, 1]",
                "scalar_model.decoder.1.up_conv.layer.bias: expected [16], missing",
            ],
        ),
        (
            "weights that are whole numbers",
            retold(LM_WEIGHTS, |header| header["codebook0_head.weight"]["dtype"] = json!("I16")),
            &["codebook0_head.weight", "found numbers of type I16", "need f32, f16 or bf16"],
        ),
        (
            "a number type that does not exist",
            retold(LM_WEIGHTS, |header| header["codebook0_head.weight"]["dtype"] = json!("F17")),
            &[LM_WEIGHTS, "header"],
        ),
        (
            "a shape whose size overflows",
            retold(LM_WEIGHTS, |header| header["projection.weight"]["shape"] = json!([1u64 << 40, 1u64 << 40])),
            &[LM_WEIGHTS, "header"],
        ),
        (
            "tensors that overlap",
            retold(LM_WEIGHTS, |header| header["projection.weight"]["data_offsets"] = json!([0, 2048])),
            &[LM_WEIGHTS, "header"],
        ),
        (
            "a config of a larger model",
            edited(LM_CONFIG, |config| config["backbone"]["num_layers"] = json!(3)),
            &["18 tensors do not fit", "backbone.layers.1.attn.q_proj.weight", "backbone.layers.2.mlp.w3.weight"],
        ),
    ]);
}

#[test]
fn configs_of_models_that_cannot_be_are_refused_by_field() {
    let backbone = |field: &'static str, value: Value| edited(LM_CONFIG, move |c| c["backbone"][field] = value.clone());
    let lm = |field: &'static str, value: Value| edited(LM_CONFIG, move |c| c[field] = value.clone());
    let codec = |field: &'static str, value: Value| edited(CODEC_CONFIG, move |c| c[field] = value.clone());
    let ids = |field: &'static str, value: Value| edited("gen_config.json", move |c| c[field] = value.clone());
    all_refused(vec![
        ("no heads", backbone("num_heads", json!(0)), &[LM_CONFIG, "`backbone.num_heads`", "from 1", "is 0"]),
        ("no key heads", backbone("num_kv_heads", json!(0)), &["`backbone.num_kv_heads`", "from 1"]),
        ("heads that do not divide the width", backbone("num_heads", json!(3)), &["`backbone.embed_dim`", "multiple"]),
        ("key heads that do not divide", backbone("num_kv_heads", json!(3)), &["`backbone.num_heads`", "multiple"]),
        ("text for a number", backbone("num_layers", json!("three")), &["`backbone.num_layers`", "\"three\""]),
        ("a fraction", backbone("num_layers", json!(1.5)), &["`backbone.num_layers`", "1.5"]),
        ("a negative number", backbone("embed_dim", json!(-32)), &["`backbone.embed_dim`", "-32"]),
        ("1e30", backbone("embed_dim", json!(1e30)), &["`backbone.embed_dim`", "1e+30", "1048576"]),
        ("2^63", backbone("max_seq_len", json!(1u64 << 63)), &["`backbone.max_seq_len`", "9223372036854775808"]),
        ("a base of nothing", backbone("rope_base", json!(0)), &["`backbone.rope_base`", "above 0"]),
        ("a negative epsilon", backbone("norm_eps", json!(-1e-5)), &["`backbone.norm_eps`", "above 0"]),
        (
            "a missing size",
            edited(LM_CONFIG, |c| drop(c["decoder"].as_object_mut().expect("sizes").remove("num_heads"))),
            &["`decoder.num_heads`", "missing"],
        ),
        (
            "an unknown flavour",
            edited(LM_CONFIG, |config| {
                config["backbone_flavor"] = json!("llama-9B");
                config.as_object_mut().expect("an object").remove("backbone");
            }),
            &["`backbone_flavor`", "llama-3B, llama-7B", "\"llama-9B\""],
        ),
        ("a flavour that is a number", lm("decoder_flavor", json!(300)), &["`decoder_flavor`", "text", "300"]),
        ("sizes that are a list", lm("backbone", json!([1, 2])), &["`backbone`", "an object", "[1,2]"]),
        ("a vocabulary of 2^63", lm("audio_vocab_size", json!(1u64 << 63)), &["`audio_vocab_size`", "65536"]),
        ("a vocabulary of 1e30", lm("text_vocab_size", json!(1e30)), &["`text_vocab_size`"]),
        ("one codebook", lm("audio_num_codebooks", json!(1)), &["`audio_num_codebooks`", "from 2"]),
        (
            "a decoder with too few positions",
            edited(LM_CONFIG, |c| c["decoder"]["max_seq_len"] = json!(4)),
            &["`decoder.max_seq_len`", "audio_num_codebooks"],
        ),
        (
            "factors that do not make 1920",
            codec("upsample_factors", json!([5, 4, 4, 4, 4])),
            &[CODEC_CONFIG, "`upsample_kernel_sizes`", "twice `upsample_factors`"],
        ),
        (
            "factors and kernels that do not make 1920",
            edited(CODEC_CONFIG, |config| {
                config["upsample_factors"] = json!([5, 4, 4, 4]);
                config["upsample_kernel_sizes"] = json!([10, 8, 8, 8]);
            }),
            &["`upsample_factors`", "1920"],
        ),
        ("a factor of 0", codec("upsample_factors", json!([5, 4, 4, 4, 0])), &["`upsample_factors`", "from 1"]),
        ("factors that are text", codec("upsample_factors", json!("5,4,4,4,3")), &["`upsample_factors`", "a list"]),
        ("no heads in the codec", codec("num_attention_heads", json!(0)), &["`num_attention_heads`", "from 1"]),
        ("an odd head", codec("attention_head_dim", json!(15)), &["`attention_head_dim`", "even"]),
        (
            "a first convolution that is off centre",
            codec("delay_kernel_size", json!(4)),
            &["`delay_kernel_size`", "odd"],
        ),
        ("another sample rate", codec("sample_rate", json!(44_100)), &["`sample_rate`", "48000", "44100"]),
        ("another norm", codec("norm_type", json!("layer_norm")), &["`norm_type`", "ada_norm_single", "layer_norm"]),
        ("a truth value that is text", codec("causal", json!("yes")), &["`causal`", "true or false"]),
        ("channels that do not add up", codec("in_channels", json!(1000)), &["`in_channels`", "544", "1000"]),
        (
            "latents of another width",
            codec("latent_hidden_dim", json!(64)),
            &["`out_channels`", "`latent_hidden_dim` (64)"],
        ),
        ("other codebooks than the model's", codec("num_quantizers", json!(7)), &["`num_quantizers`", "(8)", "7"]),
        ("an end beyond the vocabulary", ids("audio_eos_id", json!(99)), &["gen_config.json", "`audio_eos_id`", "99"]),
        ("a begin beyond the vocabulary", ids("text_bos_id", json!(128_000)), &["`text_bos_id`", "128000"]),
        ("no begin", ids("text_bos_id", Value::Null), &["`text_bos_id`", "missing"]),
        ("an id that is text", ids("text_eos_id", json!("</s>")), &["`text_eos_id`", "</s>"]),
        ("a default below 0", ids("temperature", json!(-1)), &["gen_config.json", "`temperature`", "from 0", "is -1"]),
        ("a default beyond f32", ids("temperature", json!(1e300)), &["`temperature`", "1e+300"]),
        ("a default that is text", ids("flow_guidance", json!("2")), &["`flow_guidance`", "a number", "\"2\""]),
        ("a default of no guidance", ids("flow_guidance", json!(0.5)), &["`flow_guidance`", "from 1.0", "0.5"]),
        ("a default of much guidance", ids("cfg_scale", json!(1001)), &["`cfg_scale`", "to 1000", "1001"]),
        ("a default of no steps", ids("flow_steps", json!(0)), &["`flow_steps`", "from 1 up", "is 0"]),
        ("a default of many steps", ids("flow_steps", json!(1001)), &["`flow_steps`", "from 1 to 1000", "1001"]),
        ("a default that is a fraction", ids("top_k", json!(2.5)), &["`top_k`", "a whole number from 1 up", "2.5"]),
    ]);
}

/// A drafter beside the model whose sizes, or those of the model that it is for, are changed.
fn drafted(change: impl Fn(&mut HeartMulaConfig, &mut DrafterSizes) + 'static) -> Box<dyn Fn(&Path)> {
    Box::new(move |model| add_drafter(model, &change))
}

#[test]
fn a_drafter_that_does_not_fit_its_model_is_refused_before_a_song_begins() {
    let (place, model) = (folder(), tiny_model());
    add_drafter(model.path(), |_, _| ());
    let render = ["render", "-q", "--model", text(model.path()), "-o", "song.wav", "--max-seconds", "0.4"];
    let output =
        program().args(render).args(["--top-k", "5", "--speculate", "heads:3"]).current_dir(place.path()).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "one that fits is used: {}", complaint(&output));
    all_refused(vec![
        (
            "of a narrower model",
            drafted(|model, _| model.backbone.embed_dim /= 2),
            &[DRAFTER, "input.weight: expected"],
        ),
        ("of a wider model", drafted(|model, _| model.backbone.embed_dim *= 2), &[DRAFTER, "input.weight: expected"]),
        (
            "of a model of fewer codes",
            drafted(|model, _| model.audio_vocab_size -= 1),
            &[DRAFTER, "transition.from: expected"],
        ),
        (
            "a layer of width 0",
            drafted(|_, sizes| sizes.hidden = 0),
            &[DRAFTER, "mlp.w1.weight", "size of 0", "distill"],
        ),
        ("heads of width 0", drafted(|_, sizes| sizes.narrow = 0), &[DRAFTER, "heads.2.down.weight", "size of 0"]),
        ("transitions of rank 0", drafted(|_, sizes| sizes.rank = 0), &[DRAFTER, "transition.from", "size of 0"]),
        ("a layer beyond all width", drafted(|_, sizes| sizes.narrow = 65_537), &[DRAFTER, "size of 65537"]),
    ]);
}

#[test]
fn golden_data_that_is_none_is_refused() {
    let (place, model) = (folder(), tiny_model());
    let goldens = model.path().join("goldens.safetensors");
    let check = ["check", "-q", text(model.path())];
    refused(place.path(), model.path(), &check, 1, &["goldens.safetensors", "No such file", "--write-goldens"]);
    refused(place.path(), model.path(), &["check", "-q", "nowhere"], 1, &["nowhere", "No such file"]);
    for (bytes, says, remedy) in [
        (&b"not a header"[..], "header", "download the file again"),
        (&b"\x02\0\0\0\0\0\0\0{}"[..], "no tensor that begins with", "Give a directory with golden data"),
    ] {
        fs::write(&goldens, bytes).expect("golden data");
        refused(place.path(), model.path(), &check, 1, &["goldens.safetensors", says, remedy]);
    }
}

#[test]
fn fields_that_nobody_knows_are_tolerated_with_a_warning() {
    let (place, model) = (folder(), tiny_model());
    edit_json(&model.path().join(LM_CONFIG), |config| config["mood"] = json!({ "a": [1] }));
    edit_json(&model.path().join(LM_CONFIG), |config| config["backbone"]["bias"] = json!(false));
    edit_json(&model.path().join(CODEC_CONFIG), |config| config["flux"] = json!(9));
    edit_json(&model.path().join("gen_config.json"), |config| config["max_new_frames"] = json!(1));
    let render = ["render", "--model", text(model.path()), "-o", "song.wav", "--max-seconds", "0.2", "--top-k", "5"];
    let output = program().args(render).current_dir(place.path()).output().expect("the program runs");
    let warnings = complaint(&output);
    assert_eq!(output.status.code(), Some(0), "{warnings}");
    for field in ["mood", "backbone.bias", "flux", "max_new_frames"] {
        assert!(warnings.contains(&format!("unknown field `{field}` is ignored")), "{field}: {warnings}");
    }
}
