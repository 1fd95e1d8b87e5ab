//! Bodies of the fuzz targets: each reads bytes as the engine would read a file, and demands no more than that it comes to
//! an end. `tests/fuzz_targets.rs` runs them as property tests, `.ci/fuzz` under libFuzzer.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use heartstream::codes::SavedSong;
use heartstream_models::{
    ModelDirectory,
    heartcodec::HeartCodecConfig,
    heartmula::{HeartMulaConfig, SpecialIds, expected_tensors},
    synth::{SynthSize, synthesise},
    text::{PromptTokenizer, decode, normalise},
    weights::{Checkpoint, TensorStore},
};
use tempfile::TempDir;

/// Tensors of more numbers are not read: a file of a megabyte has none, and a fuzzer's is smaller.
const MOST_NUMBERS: u64 = 1 << 18;

/// The smallest model, in a folder for one target at a time.
struct Scene {
    folder: TempDir,
    directory: ModelDirectory,
    turn: Mutex<()>,
}

fn scene() -> &'static Scene {
    static SCENE: OnceLock<Scene> = OnceLock::new();
    SCENE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        synthesise(SynthSize::Tiny, 5, folder.path(), &mut |_, _| ()).expect("a checkpoint");
        let checkpoint = Checkpoint::open(folder.path()).expect("a directory");
        let directory = ModelDirectory::open(checkpoint).expect("configs");
        Scene { folder, directory, turn: Mutex::default() }
    })
}

impl Scene {
    /// Puts `data` into a part of its own, and gives that part's name and the right to be there alone.
    fn with(&self, part: &str, file: &str, data: &[u8]) -> (Checkpoint, MutexGuard<'_, ()>) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.folder.path().join(part);
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join(file), data).expect("a file");
        (self.directory.checkpoint.clone(), turn)
    }
}

/// Good inputs of each target, for a corpus.
pub fn good(target: &str) -> Vec<Vec<u8>> {
    let path = |file: &str| scene().folder.path().join(file);
    let read = |file: &str| fs::read(path(file)).expect("a file");
    let kind = |kind: u8, file: &str| [&[kind][..], &read(file)].concat();
    match target {
        "header" => {
            let bytes = read("HeartMuLa-oss-3B/model.safetensors");
            vec![
                bytes,
                b"\x3a\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}    \0\0\x80\x3f"
                    .to_vec(),
            ]
        }
        "index" => vec![br#"{"metadata":{"total_size":1},"weight_map":{"a":"x.safetensors"}}"#.to_vec()],
        "config" => vec![
            kind(0, "HeartMuLa-oss-3B/config.json"),
            kind(1, "HeartCodec-oss/config.json"),
            kind(2, "gen_config.json"),
        ],
        "tokenizer" => vec![read("tokenizer.json")],
        "codes" => {
            let notes = [
                (
                    "request",
                    r#"{"tags":"a","lyrics":"b","seed":1,"max_frames":9,"sampling":{"temperature":1.0,"top_k":5,"cfg_scale":1.5},"flow":{"steps":10,"guidance":1.25},"continuity":"chained","first_window":{"most":48,"deadline":null}}"#,
                ),
                ("checkpoint", "0123456789abcdef"),
            ];
            let notes = notes.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
            let path = path("good.codes");
            heartstream::codes::SongCodes { codebooks: 8, codes: vec![7; 24], notes }.write(&path).expect("written");
            vec![fs::read(path).expect("a file")]
        }
        "plan" => {
            vec![br#"{"plan":{"checkpoint":"0","continuity":"chained","first_window":48,"windows":[]}}"#.to_vec()]
        }
        "words" => vec![
            "[Verse]\nThe sun creeps in\r\n\u{FEFF}[00:01.00]l\u{e0} \u{4f60}\u{597d}".as_bytes().to_vec(),
            b"\xff\xfel\0a\0".to_vec(),
        ],
        _ => {
            let mut wav = Cursor::new(Vec::new());
            let spec = hound::WavSpec {
                channels: 2,
                sample_rate: 48_000,
                bits_per_sample: 32,
                sample_format: hound::SampleFormat::Float,
            };
            let mut writer = hound::WavWriter::new(&mut wav, spec).expect("a header");
            (0..8).for_each(|place| writer.write_sample(place as f32 / 8.0).expect("a sample"));
            writer.finalize().expect("a file");
            vec![wav.into_inner()]
        }
    }
}

/// A safetensors file: its header, and every tensor that it has.
pub fn header(data: &[u8]) {
    let (checkpoint, _turn) = scene().with("fuzzed-header", "model.safetensors", data);
    let Ok(shards) = TensorStore::open(&checkpoint, "fuzzed-header") else { return };
    for name in shards.names() {
        let shape = shards.shape(name).map(<[usize]>::to_vec).unwrap_or_default();
        if shards.stored(name).is_some_and(|(_, count, _)| count <= MOST_NUMBERS) {
            let _ = (shards.floats(name).is_ok(), shards.integers(name).is_ok());
        }
        if let [rows, width] = shape[..]
            && let Ok(table) = shards.row_table(name, rows, width)
        {
            assert!(table.row(rows).is_err(), "a row behind the last");
        }
    }
    let _ = shards.check(&expected_tensors(&scene().directory.lm)).map_err(|error| error.to_string());
}

/// An index of shards.
pub fn index(data: &[u8]) {
    let (checkpoint, _turn) = scene().with("fuzzed-index", "model.safetensors.index.json", data);
    if let Ok(shards) = TensorStore::open(&checkpoint, "fuzzed-index") {
        let folder: PathBuf = scene().folder.path().join("fuzzed-index");
        assert!(shards.files().all(|(file, _)| file.parent() == Some(&folder)), "an index leads out of its folder");
    }
}

/// A config of the language model, of the codec, or of the ids with a meaning, as the first byte says.
pub fn config(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    let (checkpoint, _turn) = scene().with("fuzzed-config", "config.json", data);
    let file = "fuzzed-config/config.json";
    match kind % 3 {
        0 => drop(HeartMulaConfig::read(&checkpoint, file).map(|(config, _)| expected_tensors(&config))),
        1 => drop(HeartCodecConfig::read(&checkpoint, file).map(|(config, _)| config.sound_bytes())),
        _ => {
            let folder = scene().folder.path().join("fuzzed-config");
            fs::write(folder.join("gen_config.json"), data).expect("a file");
            let checkpoint = Checkpoint::open(folder).expect("a directory");
            drop(SpecialIds::read(&checkpoint, &scene().directory.lm));
        }
    }
}

/// A tokenizer, and the words that it writes.
pub fn tokenizer(data: &[u8]) {
    let ModelDirectory { ids, lm, .. } = &scene().directory;
    if let Ok(tokenizer) = PromptTokenizer::read(Path::new("tokenizer.json"), data, *ids, lm.text_vocab_size) {
        let known = |id: &u32| (*id as usize) < lm.text_vocab_size;
        for lyrics in ["[Verse]\nla l\u{e0}, \u{4f60}\u{597d}  \n", &"a".repeat(3000)] {
            if let Ok(prompt) = tokenizer.prompt("piano,calm", lyrics) {
                assert!(
                    prompt.ids.tags.iter().chain(&prompt.ids.lyrics).all(known),
                    "an id that the model does not know"
                );
            }
        }
    }
}

/// A codes file.
pub fn codes(data: &[u8]) {
    let path = Path::new("song.codes");
    if let Ok(kept) = SavedSong::parse(path, data) {
        let _ = kept.codes.check(path, 8, 32).map_err(|error| error.to_string());
        assert!(kept.codes.frames() * kept.codes.codebooks <= data.len(), "more codes than bytes");
    }
}

/// A plan.
pub fn plan(data: &[u8]) {
    let _ = heartstream_cli::reads_as_plan(data);
}

/// Words: as a file of them is read, brought into form and written as ids.
pub fn words(data: &[u8]) {
    let Ok(text) = decode(data) else { return };
    let (tags, lyrics) = text.split_at(text.find('\n').unwrap_or(0));
    if normalise(tags, lyrics).is_ok() {
        static TOKENIZER: OnceLock<PromptTokenizer> = OnceLock::new();
        let tokenizer = TOKENIZER.get_or_init(|| scene().directory.load_tokenizer().expect("a tokenizer"));
        let _ = tokenizer.prompt(tags, lyrics).map_err(|error| error.to_string());
    }
}

/// A WAV file, as the tests read it.
pub fn wav(data: &[u8]) {
    if let Ok(mut reader) = hound::WavReader::new(Cursor::new(data)) {
        let _ = reader.samples::<f32>().take(data.len()).take_while(Result::is_ok).count();
    }
}
