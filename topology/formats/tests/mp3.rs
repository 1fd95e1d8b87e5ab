//! MP3 files: whole frames at every moment, and a length that is right to a sample.
#![cfg(feature = "mp3")]

use std::{fs, path::Path};

use heartstream_formats::{AudioFile, Format, Metadata};
use heartstream_messages::{PcmBlock, units::SampleIndex};

/// Bytes and samples of one channel of a frame at 192 kbit/s and 48 kHz.
const FRAME: (usize, u64) = (576, 1152);
/// Samples of a block of the engine.
const BLOCK: u64 = 11_520;
/// The song's.
const SEED: u64 = 9;

fn metadata() -> Metadata {
    Metadata::new("piano,calm", "[Verse]\nThe sun creeps in", SEED, "abcd")
}

fn written(path: &Path, pieces: &[u64]) -> AudioFile {
    let mut file = AudioFile::create(path, Format::Mp3, &metadata(), SEED).expect("a file");
    let mut start = 0;
    for piece in pieces {
        let sample = |place: u64| (place as f32 * 0.013).sin() * 0.6;
        let samples = (start..start + piece).flat_map(|place| [sample(place), sample(place / 2)]).collect();
        file.write(&PcmBlock { start: SampleIndex(start), samples }).expect("room");
        start += piece;
    }
    file
}

/// The tag, the info frame, and the frames of sound.
struct Parts {
    tag: Vec<u8>,
    info: Vec<u8>,
    sound: Vec<u8>,
}

fn parts(bytes: &[u8]) -> Parts {
    assert_eq!(&bytes[..5], b"ID3\x04\0");
    let tag = 10 + bytes[6..10].iter().fold(0, |size, byte| size << 7 | usize::from(*byte));
    let (tag, frames) = bytes.split_at(tag);
    let (frames, rest) = frames.as_chunks::<{ FRAME.0 }>();
    assert!(rest.is_empty(), "whole frames");
    assert!(frames.iter().all(|frame| frame.starts_with(b"\xff\xfb\xb4")), "each begins where the one before it ends");
    let (info, sound) = frames.split_first().expect("an info frame");
    Parts { tag: tag.to_vec(), info: info.to_vec(), sound: sound.concat() }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn the_info_frame_says_how_many_samples_are_the_songs() {
    let folder = tempfile::tempdir().unwrap();
    for pieces in [&[][..], &[1], &[BLOCK, 7, BLOCK], &[100_000]] {
        let path = folder.path().join("song.mp3");
        written(&path, pieces).finish().unwrap();
        let bytes = fs::read(path).unwrap();
        let Parts { info, sound, .. } = parts(&bytes);
        assert_eq!(&info[36..40], b"Info");
        let frames = number(&info[44..48]);
        assert_eq!(frames, (sound.len() / FRAME.0) as u64);
        assert_eq!(number(&info[48..52]), (FRAME.0 + sound.len()) as u64);
        let (delay, padding) = (number(&info[177..180]) >> 12, number(&info[177..180]) & 0xfff);
        assert_eq!(frames * FRAME.1 - delay - padding, pieces.iter().sum::<u64>(), "{pieces:?}");
        // What a decoder adds at the start (ISO 11172-3 decoders: 529 samples) it lacks at the end.
        assert!(padding >= 529, "{padding}");
    }
}

#[test]
fn a_stream_says_no_length_and_is_the_file_otherwise_also_when_it_is_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.mp3");
    let file = written(&path, &[BLOCK; 20]);
    let head = Format::Mp3.encoder(&metadata(), SEED).unwrap().head().unwrap();
    let growing = fs::read(&path).unwrap();
    assert!(growing.starts_with(&head), "a file that grows is a stream");
    let seconds = parts(&growing).sound.len() as f64 / FRAME.0 as f64 * FRAME.1 as f64 / 48_000.0;
    assert!(seconds > 4.7, "{seconds} of 4.8 s");
    file.finish().unwrap();
    let finished = fs::read(&path).unwrap();
    assert_eq!(finished[head.len()..growing.len()], growing[head.len()..]);
    assert_ne!(finished[..head.len()], head);
}

#[test]
fn the_tag_has_title_words_seed_and_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.mp3");
    written(&path, &[100]).finish().unwrap();
    let Parts { tag, .. } = parts(&fs::read(path).unwrap());
    for entry in [&b"TIT2\0\0\0\x12\0\0\x03The sun creeps in"[..], b"SEED\x009", b"MODEL\0abcd", b"TCON", b"USLT"] {
        assert!(tag.windows(entry.len()).any(|window| window == entry), "{}", String::from_utf8_lossy(entry));
    }
}
