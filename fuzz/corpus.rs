//! Corpus of the fuzz targets: good inputs of each, and those that other tests read.

use std::{
    collections::HashMap,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, tensor::TensorView};

use super::bodies::scene;

/// Good inputs of a target.
pub fn good(target: &str) -> Vec<Vec<u8>> {
    match target {
        "header" => headers(),
        "index" => vec![
            br#"{"metadata":{"total_size":1},"weight_map":{"a":"x.safetensors"}}"#.to_vec(),
            read(&tests("golden/windows/HeartMuLa-oss-3B/model.safetensors.index.json")),
        ],
        "config" => configs(),
        "tokenizer" => vec![read(&made("tokenizer.json"))],
        "codes" => vec![codes()],
        "plan" => vec![
            br#"{"plan":{"checkpoint":"0","continuity":"chained","first_window":48,"windows":[]}}"#.to_vec(),
            br#"{"checkpoint":"0","continuity":"parallel","first_window":9,"look_ahead":2,"windows":[{"first":0,"frames":9}]}"#
                .to_vec(),
        ],
        "words" => words(),
        _ => [(32, hound::SampleFormat::Float), (16, hound::SampleFormat::Int), (24, hound::SampleFormat::Int)]
            .map(|(bits, format)| wav(bits, format))
            .to_vec(),
    }
}

/// A file of the smallest model.
fn made(file: &str) -> PathBuf {
    scene().folder.path().join(file)
}

/// A file of the tests.
fn tests(file: &str) -> PathBuf {
    // Of the package topology/cli, whose tests read this.
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(file)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("a file")
}

/// Files of few tensors, of each dtype that is known by name; a fuzzer makes nothing of large ones.
fn headers() -> Vec<Vec<u8>> {
    let file = |dtype: Dtype, bytes: usize| {
        let data = vec![0x3f; 6 * bytes];
        let views = [("embed.weight", vec![2, 3]), ("norm.weight", vec![6])]
            .map(|(name, shape)| (name, TensorView::new(dtype, shape, &data).expect("a tensor")));
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).expect("a file")
    };
    [(Dtype::F32, 4), (Dtype::F16, 2), (Dtype::BF16, 2), (Dtype::I64, 8), (Dtype::F64, 8), (Dtype::F8_E4M3, 1)]
        .map(|(dtype, bytes)| file(dtype, bytes))
        .to_vec()
}

/// Configs, each behind the byte that says of what.
fn configs() -> Vec<Vec<u8>> {
    let parts = [(0, "HeartMuLa-oss-3B/config.json"), (1, "HeartCodec-oss/config.json"), (2, "gen_config.json")];
    let of = |folder: PathBuf| parts.map(|(kind, file)| [&[kind][..], &read(&folder.join(file))].concat());
    [of(made("")), of(tests("golden/half")), of(tests("golden/windows"))].concat()
}

fn codes() -> Vec<u8> {
    let notes = [
        (
            "request",
            r#"{"tags":"a","lyrics":"b","seed":1,"max_frames":9,"sampling":{"temperature":1.0,"top_k":5,"cfg_scale":1.5},"flow":{"steps":10,"guidance":1.25},"continuity":"chained","first_window":{"most":48,"deadline":null}}"#,
        ),
        ("checkpoint", "0123456789abcdef"),
    ];
    let notes = notes.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    let path = made("good.codes");
    heartstream::codes::SongCodes { codebooks: 8, codes: vec![7; 24], notes }.write(&path).expect("written");
    read(&path)
}

/// Words as people wrote them: the inputs of `tests/cases`.
fn words() -> Vec<Vec<u8>> {
    let mut words = vec![
        "piano,calm\n[Verse]\nThe sun creeps in\r\n\u{FEFF}[00:01.00]l\u{e0} \u{4f60}\u{597d}".as_bytes().to_vec(),
        b"\xff\xfel\0a\0".to_vec(),
    ];
    let files = fs::read_dir(tests("cases/inputs")).expect("the inputs of the cases");
    words.extend(files.map(|file| read(&file.expect("an entry").path())));
    words
}

fn wav(bits_per_sample: u16, sample_format: hound::SampleFormat) -> Vec<u8> {
    let mut wav = Cursor::new(Vec::new());
    let spec = hound::WavSpec { channels: 2, sample_rate: 48_000, bits_per_sample, sample_format };
    let mut writer = hound::WavWriter::new(&mut wav, spec).expect("a header");
    for place in 0..8 {
        match sample_format {
            hound::SampleFormat::Float => writer.write_sample(place as f32 / 8.0),
            hound::SampleFormat::Int => writer.write_sample(place * 1000),
        }
        .expect("a sample");
    }
    writer.finalize().expect("a file");
    wav.into_inner()
}
