//! Promise: a song is an Opus or a FLAC by its name or by `--format`, in a file or a pipe, with its words in it; and as loud
//! as was asked for.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{fs, io::Read, path::Path, process::Stdio};

use support::{complaint, folder, program, run, samples, text};

const SONG: [&str; 9] =
    ["--quiet", "--seed", "3", "--max-seconds", "2", "--flow-steps", "1", "--lyrics", "[Verse]\nThe window clears"];

fn render(more: &[&str]) -> Vec<u8> {
    let output = run(&[&["render"][..], &SONG, more].concat());
    assert!(output.status.success(), "{more:?}: {}", complaint(&output));
    output.stdout
}

fn has(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

/// The gain in decibels of the demo model's card.
fn card_gain() -> f64 {
    let card = heartstream_models::ModelCard::of(&heartstream_demo::checkpoint()).expect("a card");
    card.gain_db.expect("a gain")
}

/// Samples of one channel at the end of an Opus file: the position of its last page, without what is left out at the start.
fn opus_samples(bytes: &[u8]) -> u64 {
    let place = bytes.windows(4).rposition(|window| window == b"OggS").expect("a page");
    let position = bytes[place + 6..place + 14].try_into().map(u64::from_le_bytes).expect("a position");
    let head = bytes.windows(8).position(|window| window == b"OpusHead").expect("a head");
    position - u64::from(u16::from_le_bytes([bytes[head + 10], bytes[head + 11]]))
}

#[test]
fn a_name_or_an_option_makes_an_opus_in_a_file_and_in_a_pipe() {
    let folder = folder();
    let [named, asked] = ["song.opus", "song"].map(|name| folder.path().join(name));
    render(&["-o", text(&named)]);
    render(&["-o", text(&asked), "--format", "opus"]);
    let file = fs::read(&named).expect("a file");
    assert!(file == fs::read(&asked).expect("a file"));
    assert!(file == render(&["-o", "-", "--format", "opus"]), "a pipe gets other bytes");
    assert_eq!(opus_samples(&file), 2 * 48_000);
    assert!(file.starts_with(b"OggS") && has(&file, "TITLE=The window clears") && has(&file, "SEED=3"));
}

#[test]
fn a_pipe_gets_a_flac_without_a_length_and_a_wav_says_its_words_before_its_samples() {
    let folder = folder();
    let [flac, wav] = ["song.flac", "song.wav"].map(|name| folder.path().join(name));
    render(&["-o", text(&flac)]);
    render(&["-o", text(&wav)]);
    let (file, stream) = (fs::read(&flac).expect("a file"), render(&["-o", "-", "--format", "flac"]));
    assert_eq!((&stream[..4], stream.len()), (&b"fLaC"[..], file.len()));
    let head = 42; // the mark and the block with the length
    assert!(stream[head..] == file[head..] && stream[..head] != file[..head]);
    let wav = fs::read(wav).expect("a file");
    let words = wav.windows(4).position(|window| window == b"INFO").expect("an INFO chunk");
    let data = wav.windows(4).position(|window| window == b"data").expect("samples");
    assert!(words < data && has(&wav[..data], "The window clears"));
}

#[test]
fn a_song_without_a_name_is_called_after_its_format() {
    let folder = folder();
    for name in ["song.opus", "song-2.opus"] {
        let mut command = program();
        let output = command.args(["render", "--format", "opus"]).args(SONG).current_dir(folder.path()).output();
        assert!(output.expect("the program runs").status.success());
        assert!(folder.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_reader_that_wants_no_more_of_an_opus_ends_the_song_quietly() {
    let mut command = program();
    command.args(["render", "-o", "-", "--format", "opus", "--max-seconds", "60"]).args(&SONG[..3]).args(&SONG[5..]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut reader = child.stdout.take().expect("a pipe");
    reader.read_exact(&mut [0; 2000]).expect("the beginning of a song");
    drop(reader);
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!((output.status.code(), complaint(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_level_is_given_by_the_models_gain_and_refused_where_no_card_names_one() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let demo = |path: &Path, level: &str| {
        render(&["--model", "demo", "-o", text(path), "--loudness", level]);
        samples(path)
    };
    let (plain, levelled) = (demo(&path("plain.wav"), "off"), demo(&path("levelled.wav"), "-16"));
    assert_eq!(plain.len(), levelled.len());
    // Before the first look at its loudness the song has the card's gain.
    let gain = 10f32.powf(card_gain() as f32 / 20.0);
    let start = plain.iter().zip(&levelled).take(4800);
    assert!(start.into_iter().all(|(plain, levelled)| (*plain * gain - *levelled).abs() < 1e-6));
    let refused = run(&["render", "--loudness", "-16"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(complaint(&refused).contains("whose card.json names a gain"), "{}", complaint(&refused));
}
