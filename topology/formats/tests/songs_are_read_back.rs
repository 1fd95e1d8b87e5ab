//! Files of every lossless format are read back bit for bit by another reader, at the end and after a kill.

use std::{fs, path::Path};

use heartstream_actors::wav_sink::SampleFormat;
use heartstream_formats::{AudioFile, Format, Metadata};
use heartstream_messages::{PcmBlock, units::SampleIndex};
use heartstream_models::signal::KeyedNoise;
use proptest::prelude::*;

const SEED: u64 = 9;
const LOSSLESS: [Format; 4] =
    [Format::Wav(SampleFormat::S16), Format::Wav(SampleFormat::S24), Format::Flac16, Format::Flac24];

fn metadata() -> Metadata {
    Metadata::new("piano,calm", "[Verse]\nThe sun creeps in", SEED, "abcd")
}

fn music(start: u64, sample_frames: u64) -> PcmBlock {
    let sample = |place: u64| (place as f32 * 0.013).sin() * 0.6 + (place as f32 * 0.41).sin() * 0.2;
    let samples = (start..start + sample_frames).flat_map(|place| [sample(place), sample(place / 2)]).collect();
    PcmBlock { start: SampleIndex(start), samples }
}

/// The integers that a song should have.
fn expected(format: Format, sample_frames: u64) -> Vec<i32> {
    let samples = match format {
        Format::Wav(SampleFormat::S24) | Format::Flac24 => SampleFormat::S24,
        _ => SampleFormat::S16,
    };
    let mut bytes = Vec::new();
    samples.encode(&music(0, sample_frames), &KeyedNoise::new(SEED), &mut bytes);
    let size = usize::from(samples.bits() / 8);
    bytes.chunks(size).map(integer).collect()
}

fn integer(bytes: &[u8]) -> i32 {
    let mut wide = [0; 4];
    wide[4 - bytes.len()..].copy_from_slice(bytes);
    i32::from_le_bytes(wide) >> (8 * (4 - bytes.len()))
}

/// The integers that another reader finds, as far as the file goes.
fn heard(format: Format, path: &Path) -> Vec<i32> {
    match format {
        Format::Wav(_) => hound::WavReader::open(path).expect("a WAV").samples::<i32>().map_while(Result::ok).collect(),
        _ => claxon::FlacReader::open(path).expect("a FLAC").samples().map_while(Result::ok).collect(),
    }
}

fn written(format: Format, path: &Path, pieces: &[u64]) -> AudioFile {
    let mut file = AudioFile::create(path, format, &metadata(), SEED).expect("a file");
    let mut start = 0;
    for piece in pieces {
        let end = file.write(&music(start, *piece)).expect("room");
        assert_eq!(end, fs::metadata(path).expect("a file").len());
        start += piece;
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_song_of_any_length_in_any_pieces_has_every_sample(
        format in prop::sample::select(&LOSSLESS[..]),
        pieces in prop::collection::vec(prop_oneof![0u64..40, 4090u64..4100, 0u64..30_000], 0..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("song");
        let bytes = written(format, &path, &pieces).finish().unwrap();
        prop_assert_eq!(bytes, fs::metadata(&path).unwrap().len());
        prop_assert_eq!(heard(format, &path), expected(format, pieces.iter().sum()));
    }
}

#[test]
fn a_file_that_is_let_go_of_in_the_middle_plays_to_its_last_second() {
    for format in LOSSLESS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("song");
        // Never dropped, as in a process that is killed.
        std::mem::forget(written(format, &path, &[11_520; 20]));
        let (heard, expected) = (heard(format, &path), expected(format, 20 * 11_520));
        assert!(expected.len() - heard.len() < 2 * 48_000, "{format} lacks {}", expected.len() - heard.len());
        assert_eq!(heard, expected[..heard.len()], "{format}");
    }
}

#[test]
fn the_head_of_a_stream_is_as_long_as_that_of_the_file_and_what_follows_is_the_same() {
    for format in LOSSLESS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("song");
        let file = written(format, &path, &[20_000, 30_000]);
        let head = format.encoder(&metadata(), SEED).unwrap().head().unwrap();
        let growing = fs::read(&path).unwrap();
        file.finish().unwrap();
        let finished = fs::read(&path).unwrap();
        assert_eq!(finished[head.len()..growing.len()], growing[head.len()..], "{format}");
        assert_ne!(finished[..head.len()], head, "the file says how long the song is");
        let stream = folder.path().join("stream");
        fs::write(&stream, [&head[..], &finished[head.len()..]].concat()).unwrap();
        if matches!(format, Format::Flac16 | Format::Flac24) {
            assert_eq!(heard(format, &stream), expected(format, 50_000), "{format}");
        }
    }
}

#[test]
fn metadata_is_found_by_another_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.flac");
    written(Format::Flac16, &path, &[100]).finish().unwrap();
    let reader = claxon::FlacReader::open(&path).unwrap();
    let entry = |name| reader.get_tag(name).collect::<String>();
    assert_eq!((entry("TITLE"), entry("SEED")), ("The sun creeps in".to_owned(), "9".to_owned()));
    assert_eq!(reader.streaminfo().samples, Some(100));

    let path = folder.path().join("song.wav");
    written(Format::Wav(SampleFormat::S16), &path, &[100]).finish().unwrap();
    let bytes = fs::read(&path).unwrap();
    let title = b"INAM\x12\0\0\0The sun creeps in\0";
    assert!(bytes.windows(title.len()).any(|window| window == title));
}

#[test]
fn a_format_that_was_not_built_says_with_what_to_build_it() {
    if cfg!(feature = "mp3") {
        return assert!(Format::Mp3.check().is_ok());
    }
    let refused = Format::Mp3.check().unwrap_err().to_string();
    assert!(refused.contains("LGPL") && refused.contains("feature mp3"), "{refused}");
}
