//! Bodies of the fuzz targets: each reads bytes as the engine would read a file, and demands no more than that it comes to
//! an end. `topology/cli/tests/fuzz_targets.rs` runs them as property tests, `.ci/fuzz` under libFuzzer.

use std::{
    fs,
    io::Cursor,
    panic,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use heartstream::codes::SavedSong;
use heartstream_models::{
    ModelDirectory, SongDefaults,
    heartcodec::HeartCodecConfig,
    heartmula::{HeartMulaConfig, SpecialIds, expected_tensors},
    text::{PromptTokenizer, decode, normalise},
    weights::{Checkpoint, TensorStore},
};
use heartstream_tools::synth::{SynthSize, synthesise};
use tempfile::TempDir;

/// Tensors of more numbers are not read: a file of a megabyte has none, and a fuzzer's is smaller.
const MOST_NUMBERS: u64 = 1 << 18;

/// The smallest model, in a folder for one target at a time.
pub struct Scene {
    pub folder: TempDir,
    directory: ModelDirectory,
    turn: Mutex<()>,
}

/// Made once.
pub fn scene() -> &'static Scene {
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

/// What a fuzz target does first: a panic ends the process, as libFuzzer wants it, unless it is one of a library's that the
/// engine catches.
pub fn begin() {
    let abort = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !heartstream_models::is_contained() {
            abort(panic);
        }
    }));
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
            drop(SongDefaults::read(&checkpoint));
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
