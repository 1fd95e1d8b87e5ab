//! Promise: whatever the bytes of a checkpoint are, reading them gives a model or an error; it never panics.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, path::Path};

use heartstream_models::{
    CODEC_PART, LM_PARTS, ModelError, SongDefaults, TOKENIZER,
    heartcodec::{self, HeartCodecConfig},
    heartmula::{self, HeartMulaConfig, SpecialIds},
    kernels::cpu::WeightDtype,
    text::PromptTokenizer,
    weights::{Checkpoint, Json, TensorStore},
};
use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use serde_json::{Map, Value, json};
use support::{folder, tiny_model};

const LM: &str = LM_PARTS[0];

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
}

fn directory(path: &Path) -> Checkpoint {
    Checkpoint::open(path).expect("a directory")
}

/// A change to the bytes of a file.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Splice(Index, Index, Vec<u8>),
    /// Another length of the header.
    Header(u64),
    /// A character of the header for another one that keeps it JSON more often than not.
    Retell(Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<Index>;
    prop_oneof![
        (place(), 1u8..).prop_map(|(place, mask)| Damage::Flip(place, mask)),
        place().prop_map(Damage::Cut),
        (place(), place(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(a, b, new)| Damage::Splice(a, b, new)),
        prop_oneof![any::<u64>(), 0u64..3000, (0u32..64).prop_map(|bits| 1 << bits)].prop_map(Damage::Header),
        (place(), prop::sample::select(b"0123456789,:[]{}\"-FIB".to_vec())).prop_map(|(a, b)| Damage::Retell(a, b)),
    ]
}

fn damaged(good: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for damage in damages {
        let length = bytes.len();
        match damage {
            _ if length < 9 => break,
            Damage::Flip(place, mask) => bytes[place.index(length)] ^= mask,
            Damage::Cut(place) => bytes.truncate(place.index(length)),
            Damage::Splice(a, b, new) => {
                let (a, b) = (a.index(length), b.index(length));
                bytes.splice(a.min(b)..a.max(b), new.iter().copied());
            }
            Damage::Header(claim) => bytes[..8].copy_from_slice(&claim.to_le_bytes()),
            Damage::Retell(place, letter) => {
                let header = u64::from_le_bytes(good[..8].try_into().expect("eight bytes")) as usize;
                bytes[8 + place.index(header.min(length - 8))] = *letter;
            }
        }
    }
    bytes
}

/// Opens `part` and uses everything in it in every way; what can be read must have the size that it says.
fn use_all(checkpoint: &Checkpoint, part: &str) {
    let Ok(store) = TensorStore::open(checkpoint, part) else { return };
    for name in store.names() {
        let shape = store.shape(name).expect("a tensor that is listed").to_vec();
        let (_, count, _) = store.stored(name).expect("a tensor that is listed");
        if let Ok(floats) = store.floats(name) {
            assert_eq!(floats.len() as u64, count, "{name}");
        }
        if let Ok(tensor) = store.tensor(name, &shape, &candle_core::Device::Cpu) {
            assert_eq!(tensor.dims(), shape, "{name}");
        }
        let _ = store.integers(name);
        if let Some(table) = shape.first().zip(shape.get(1)).and_then(|(r, w)| store.row_table(name, *r, *w).ok()) {
            assert_eq!(table.row(table.rows().saturating_sub(1)).is_ok(), table.rows() > 0, "{name}");
            assert!(table.row(table.rows()).is_err(), "{name}");
        }
    }
}

#[test]
fn damaged_weights_load_or_are_refused() {
    let model = tiny_model();
    let path = model.path().join(LM).join("model.safetensors");
    let good = fs::read(&path).expect("weights");
    let checkpoint = directory(model.path());
    let (config, _) = HeartMulaConfig::read(&checkpoint, &format!("{LM}/config.json")).expect("a config");
    let check = |damages: Vec<Damage>| {
        let bytes = damaged(&good, &damages);
        fs::write(&path, &bytes).expect("weights");
        use_all(&checkpoint, LM);
        if let Ok(store) = TensorStore::open(&checkpoint, LM) {
            let fits = store.check(&heartmula::expected_tensors(&config)).is_ok();
            let loaded = heartmula::HeartMula::load(&config, &store, &candle_core::Device::Cpu);
            // What fits by its header can still have numbers that are not finite.
            let numbers = matches!(loaded, Err(ModelError::NotFinite { .. }));
            prop_assert_eq!(fits, loaded.is_ok() || numbers);
        }
        Ok(())
    };
    runner(300).run(&prop::collection::vec(damage(), 1..4), check).expect("no panic");
}

#[test]
fn any_bytes_are_weights_or_refused() {
    let model = tiny_model();
    let checkpoint = directory(model.path());
    let header = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60),
        json_value().prop_map(|value| value.to_string().into_bytes()),
        (prop::collection::vec(any::<u64>(), 0..4), any::<[u64; 2]>(), "(F32|F16|BF16|I64|F64|U8|F4|BOOL)").prop_map(
            |(shape, offsets, dtype)| json!({"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})
                .to_string()
                .into_bytes()
        ),
    ];
    let check = |(header, data): (Vec<u8>, Vec<u8>)| {
        let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
        fs::write(model.path().join(CODEC_PART).join("model.safetensors"), bytes).expect("weights");
        use_all(&checkpoint, CODEC_PART);
        Ok(())
    };
    runner(300).run(&(header, prop::collection::vec(any::<u8>(), 0..40)), check).expect("no panic");
}

/// Any JSON, with the numbers that hurt.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (0u64..100).prop_map(Value::from),
        any::<f64>().prop_map(|x| json!(x)),
        prop::sample::select(vec![json!(0), json!(-1), json!(1e30), json!(1u64 << 63), json!(1 << 20), json!(1 << 24)]),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,12}", inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Puts `new` in the place of some part of `value`, found by going down at random.
fn replaced(value: &mut Value, path: &[Index], new: Value) {
    let deeper = match value {
        Value::Object(fields) if !fields.is_empty() => path.first().map(|place| place.index(fields.len())),
        Value::Array(items) if !items.is_empty() => path.first().map(|place| place.index(items.len())),
        _ => None,
    };
    match (deeper, value) {
        (Some(place), Value::Object(fields)) => {
            replaced(fields.values_mut().nth(place).expect("a field"), &path[1..], new);
        }
        (Some(place), Value::Array(items)) => replaced(&mut items[place], &path[1..], new),
        (_, value) => *value = new,
    }
}

/// A JSON file of a good model with some of its parts replaced, or any JSON at all.
fn spoiled(good: Value) -> impl Strategy<Value = Value> {
    let change = (prop::collection::vec(any::<Index>(), 1..4), json_value());
    let changes = prop::collection::vec(change, 1..4).prop_map(move |changes| {
        let mut value = good.clone();
        changes.into_iter().for_each(|(path, new)| replaced(&mut value, &path, new));
        value
    });
    prop_oneof![9 => changes, 1 => json_value()]
}

fn file(model: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(model.join(name)).expect("a file")).expect("JSON")
}

#[test]
fn any_json_is_a_config_or_refused_by_file_and_field() {
    let model = tiny_model();
    let checkpoint = directory(model.path());
    let lm_file = format!("{LM}/config.json");
    let codec_file = format!("{CODEC_PART}/config.json");
    let (lm, _) = HeartMulaConfig::read(&checkpoint, &lm_file).expect("a config");
    for name in [&lm_file, &codec_file, "gen_config.json"] {
        let check = |value: Value| {
            fs::write(model.path().join(name), value.to_string()).expect("a file");
            // What is accepted must be such that its sizes can be computed; what is not must say where.
            let refused = match name {
                name if name == lm_file => HeartMulaConfig::read(&checkpoint, name)
                    .map(|(config, _)| {
                        let positions = config.backbone.max_seq_len as u64;
                        drop((
                            heartmula::expected_tensors(&config),
                            config.song_bytes(2, positions, positions, WeightDtype::F32),
                        ))
                    })
                    .err(),
                name if name == codec_file => HeartCodecConfig::read(&checkpoint, name)
                    .map(|(config, _)| {
                        assert_eq!(config.samples_per_latent(), 1920);
                        drop((
                            heartcodec::expected_tensors(&config),
                            config.window_bytes(2, 372),
                            config.sound_bytes(),
                        ));
                    })
                    .err(),
                _ => SpecialIds::read(&checkpoint, &lm).and(SongDefaults::read(&checkpoint)).map(drop).err(),
            };
            if let Some(error) = refused {
                prop_assert!(error.to_string().contains(name), "{error}");
            }
            Ok(())
        };
        runner(400).run(&spoiled(file(model.path(), name)), check).expect("no panic");
    }
}

#[test]
fn any_field_is_read_or_refused_by_its_name() {
    let place = folder();
    let checkpoint = directory(place.path());
    let check = |value: Value| {
        fs::write(place.path().join("x.json"), json!({ "field": value }).to_string()).expect("a file");
        let read = || Json::read(&checkpoint, "x.json").expect("an object");
        let named = |result: heartstream_models::Result<()>| match result {
            Ok(()) => true,
            Err(error) => error.to_string().contains("`field`") && error.to_string().len() < 1000,
        };
        prop_assert!(named(read().whole("field", 3, 1..=10).map(|x| assert!((1..=10).contains(&x)))));
        prop_assert!(named(read().positive("field", 1.0).map(|x| assert!(x.is_finite() && x > 0.0))));
        prop_assert!(named(read().wholes("field", &[], 0..=9).map(|x| assert!(x.iter().all(|x| *x <= 9)))));
        prop_assert!(named(read().flag("field", true).map(drop)));
        prop_assert!(named(read().text("field", "").map(drop)));
        prop_assert!(named(read().object("field").map(|object| drop(object.map(Json::finish)))));
        prop_assert_eq!(read().finish().len(), 1);
        Ok(())
    };
    runner(400).run(&json_value(), check).expect("no panic");
}

#[test]
fn any_index_opens_or_is_refused_and_leads_nowhere_else() {
    let model = tiny_model();
    let checkpoint = directory(model.path());
    let path = model.path().join(LM).join("model.safetensors.index.json");
    let name =
        prop_oneof![Just("model.safetensors".to_owned()), "(\\.\\./|/|\\./|\\.\\.|~|\\PC){0,4}".prop_map(|name| name),];
    let map = prop::collection::vec(("[a-z.]{1,8}", name), 0..4)
        .prop_map(|map| json!({ "weight_map": map.into_iter().collect::<std::collections::BTreeMap<_, _>>() }));
    let check = |value: Value| {
        fs::write(&path, value.to_string()).expect("a file");
        if let Ok(store) = TensorStore::open(&checkpoint, LM) {
            let folder = model.path().join(LM);
            prop_assert!(store.files().all(|(file, _)| file.parent() == Some(&folder) && file.is_file()));
        }
        Ok(())
    };
    runner(300).run(&prop_oneof![map, json_value()], check).expect("no panic");
}

#[test]
fn any_json_is_a_tokenizer_or_refused() {
    let model = tiny_model();
    let checkpoint = directory(model.path());
    let (lm, _) = HeartMulaConfig::read(&checkpoint, &format!("{LM}/config.json")).expect("a config");
    let (ids, _) = SpecialIds::read(&checkpoint, &lm).expect("ids");
    let good = file(model.path(), TOKENIZER);
    let check = |value: Value| {
        fs::write(model.path().join(TOKENIZER), value.to_string()).expect("a file");
        match PromptTokenizer::load(&checkpoint, TOKENIZER, ids, lm.text_vocab_size) {
            Ok(tokenizer) => {
                if let Ok(prompt) = tokenizer.prompt("piano,calm", "[Verse]\nlà là, 你好") {
                    let known = |id: &u32| (*id as usize) < lm.text_vocab_size;
                    prop_assert!(prompt.ids.tags.iter().chain(&prompt.ids.lyrics).all(known));
                }
            }
            Err(error) => prop_assert!(error.to_string().contains(TOKENIZER), "{error}"),
        }
        Ok(())
    };
    runner(400).run(&spoiled(good), check).expect("no panic");
}
