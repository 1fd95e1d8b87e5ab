//! Promise: `--format` says how samples look, in a WAV, a FLAC and on standard output, and the song stays the same song.

#[path = "../../../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
};

use support::{complaint, folder, program, run, samples, sox, text};

const FORMATS: [&str; 3] = ["f32", "s24", "s16"];
const SONG: [&str; 7] = ["--quiet", "--seed", "3", "--max-seconds", "2", "--flow-steps", "1"];
/// Samples of the song, both channels.
const SAMPLES: usize = 2 * 2 * 48_000;

fn render(path: &Path, format: &str, more: &[&str]) {
    let output = run(&[&["render", "-o", text(path), "--format", format][..], &SONG, more].concat());
    assert!(output.status.success(), "{}", complaint(&output));
}

/// The samples of a file of integers, full scale 1.
fn integers(path: &Path, bits: u16) -> Vec<f64> {
    let mut reader = hound::WavReader::open(path).expect("a WAV file");
    assert_eq!((reader.spec().bits_per_sample, reader.spec().sample_format), (bits, hound::SampleFormat::Int));
    let full_scale = f64::from(1u32 << (bits - 1));
    reader.samples::<i32>().map(|sample| f64::from(sample.expect("a sample")) / full_scale).collect()
}

#[test]
fn every_format_is_the_same_song_within_its_rounding_and_plays_without_a_complaint() {
    let folder = folder();
    let path = |format: &str| folder.path().join(format!("{format}.wav"));
    for format in FORMATS {
        let record = folder.path().join("record.json");
        render(&path(format), format, &["--record", text(&record)]);
        assert_eq!(sox::samples_played(&path(format)), SAMPLES as u64);
        let record: serde_json::Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
        assert_eq!(record["options"]["format"], format);
    }
    let exact = samples(&path("f32"));
    // In steps: half of one for rounding, and for 16 bits up to one more of dither.
    for (bits, steps) in [(24, 0.5), (16, 1.5)] {
        let rounded = integers(&path(&format!("s{bits}")), bits);
        assert_eq!(rounded.len(), exact.len());
        let worst = exact.iter().zip(&rounded).map(|(x, y)| (f64::from(*x) - y).abs()).fold(0.0, f64::max);
        let step = 1.0 / f64::from(1u32 << (bits - 1));
        assert!(worst <= steps * step, "s{bits} is off by {} steps", worst / step);
    }
}

#[test]
fn a_flac_holds_the_samples_of_the_wav_of_as_many_bits() {
    let folder = folder();
    for (format, bits) in [("s16", 16), ("s24", 24)] {
        let [wav, flac] = ["wav", "flac"].map(|ending| folder.path().join(format!("{format}.{ending}")));
        render(&wav, format, &[]);
        render(&flac, format, &[]);
        let mut reader = claxon::FlacReader::open(&flac).expect("a FLAC file");
        assert_eq!((reader.streaminfo().channels, reader.streaminfo().bits_per_sample), (2, bits));
        let lossless: Vec<i32> = reader.samples().map(|sample| sample.expect("a sample")).collect();
        let mut plain = hound::WavReader::open(&wav).expect("a WAV file");
        let plain: Vec<i32> = plain.samples::<i32>().map(|sample| sample.expect("a sample")).collect();
        assert_eq!(lossless.len(), SAMPLES);
        assert!(lossless == plain, "{format}: the FLAC has other samples");
    }
}

#[test]
fn the_same_seed_has_the_same_dither() {
    let folder = folder();
    let [once, twice] = ["once.wav", "twice.wav"].map(|name| folder.path().join(name));
    render(&once, "s16", &[]);
    render(&twice, "s16", &["--threads", "1"]);
    assert!(fs::read(once).expect("a file") == fs::read(twice).expect("a file"), "the two files differ");
}

#[test]
fn standard_output_streams_every_format_with_a_header_that_does_not_know_the_length() {
    let folder = folder();
    for format in FORMATS {
        let path = folder.path().join("song.wav");
        render(&path, format, &[]);
        let output = run(&[&["render", "-o", "-", "--format", format][..], &SONG].concat());
        assert!(output.status.success(), "{}", complaint(&output));
        let stream = output.stdout;
        assert_eq!((&stream[..8], &stream[8..12]), (&b"RIFF\xff\xff\xff\xff"[..], &b"WAVE"[..]));
        let data = stream.windows(8).position(|eight| eight == b"data\xff\xff\xff\xff").expect("a data chunk") + 8;
        assert!(data < 100, "the samples begin behind the header");

        let file = fs::read(&path).expect("a file");
        let bytes = stream.len() - data;
        assert_eq!(bytes % SAMPLES, 0);
        assert!(file[file.len() - bytes..] == stream[data..], "{format}: the stream has other samples than the file");

        // sox reads on to the end, as a player does.
        let mut player = Command::new("sox");
        player.args(["-t", "wav", "-", "-n", "stat"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut player = player.spawn().expect("sox is there. If it is not: sudo apt-get install sox");
        player.stdin.take().expect("a pipe").write_all(&stream).expect("sox reads everything");
        let said = complaint(&player.wait_with_output().expect("sox ends"));
        let played = said.lines().find_map(|line| line.strip_prefix("Samples read:")?.trim().parse::<usize>().ok());
        assert_eq!(played, Some(SAMPLES), "{said}");
    }
}

#[test]
fn a_reader_that_wants_no_more_ends_the_song_quietly() {
    let folder = folder();
    let record = folder.path().join("record.json");
    let mut command = program();
    command.args(["render", "-o", "-", "--record", text(&record)]).args(SONG);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut first = [0; 100];
    let mut reader = child.stdout.take().expect("a pipe");
    reader.read_exact(&mut first).expect("the beginning of a song");
    drop(reader);
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    assert_eq!(complaint(&output), "", "there is nothing to say about it");
    assert_eq!(&first[..4], b"RIFF");
    let record: serde_json::Value = serde_json::from_slice(&fs::read(&record).expect("a record")).expect("JSON");
    assert_eq!(record["outcome"]["kind"], "reader_left");
}

#[test]
fn a_format_that_does_not_exist_is_wrong_usage() {
    let output = run(&["render", "--format", "ogg"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains("f32, s24, s16"), "{}", complaint(&output));
}
