//! Opus files: read back by another reader of Ogg, long to a sample, and whole pages at every moment.

use std::{fs, path::Path};

use heartstream_formats::{AudioFile, Format, Metadata};
use heartstream_messages::{PcmBlock, units::SampleIndex};
use ogg::PacketReader;
use proptest::prelude::*;

const SEED: u64 = 9;
/// Samples of a block of the engine.
const BLOCK: u64 = 11_520;

fn metadata() -> Metadata {
    Metadata::new("piano,calm", "[Verse]\nThe sun creeps in", SEED, "abcd")
}

fn music(start: u64, sample_frames: u64) -> PcmBlock {
    let sample = |place: u64| (place as f32 * 0.13).sin() * 0.6 + (place as f32 * 0.41).sin() * 0.2;
    let samples = (start..start + sample_frames).flat_map(|place| [sample(place), sample(place / 2)]).collect();
    PcmBlock { start: SampleIndex(start), samples }
}

fn written(path: &Path, pieces: &[u64]) -> AudioFile {
    let mut file = AudioFile::create(path, Format::Opus, &metadata(), SEED).expect("a file");
    let mut start = 0;
    for piece in pieces {
        file.write(&music(start, *piece)).expect("room");
        start += piece;
    }
    file
}

/// What a player makes of a file: the comments, and the samples.
struct Heard {
    comments: Vec<u8>,
    samples: Vec<f32>,
    ended: bool,
}

/// Reads a file as RFC 7845 says: without the samples that are to be left out, and no further than its last position.
fn heard(path: &Path) -> Heard {
    let mut packets = PacketReader::new(fs::File::open(path).expect("a file"));
    let head = packets.read_packet_expected().expect("a first packet");
    assert!(head.first_in_stream() && head.data.starts_with(b"OpusHead\x01\x02"));
    let pre_skip = usize::from(u16::from_le_bytes([head.data[10], head.data[11]]));
    let comments = packets.read_packet_expected().expect("comments").data;
    let mut decoder = ropus::Decoder::new(48_000, ropus::Channels::Stereo).expect("a decoder");
    let (mut samples, mut position, mut ended) = (Vec::new(), 0, false);
    while let Some(packet) = packets.read_packet().expect("whole pages with right checksums") {
        let mut decoded = [0.0; 2 * 5760];
        let some = decoder.decode_float(&packet.data, &mut decoded, ropus::DecodeMode::Normal).expect("a packet");
        samples.extend(&decoded[..2 * some]);
        position = packet.absgp_page();
        ended = packet.last_in_stream();
    }
    samples.truncate(2 * position as usize);
    Heard { comments, samples: samples.split_off(samples.len().min(2 * pre_skip)), ended }
}

/// The signal's power over that of its difference, in decibels.
fn signal_to_noise(song: &[f32], heard: &[f32]) -> f64 {
    let power = |samples: &mut dyn Iterator<Item = f32>| samples.map(|sample| f64::from(sample).powi(2)).sum::<f64>();
    let noise = power(&mut song.iter().zip(heard).map(|(song, heard)| song - heard));
    10.0 * (power(&mut song.iter().copied()) / noise).log10()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_song_of_any_length_is_as_long_to_a_sample_and_the_same_bytes_in_any_pieces(
        pieces in prop::collection::vec(prop_oneof![0u64..40, 640u64..970, 0u64..30_000], 0..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("song.opus");
        let (bytes, length) = (written(&path, &pieces).finish().unwrap(), pieces.iter().sum());
        prop_assert_eq!(bytes, fs::metadata(&path).unwrap().len());
        let Heard { samples, ended, .. } = heard(&path);
        prop_assert_eq!((samples.len() as u64, ended), (2 * length, true));
        let whole = folder.path().join("whole.opus");
        written(&whole, &[length]).finish().unwrap();
        prop_assert!(fs::read(path).unwrap() == fs::read(whole).unwrap());
    }

    #[test]
    fn any_samples_can_be_encoded(
        samples in prop::collection::vec(prop_oneof![-1f32..1.0, -50f32..50.0, Just(f32::MAX), Just(0.0)], 4000),
    ) {
        let mut encoder = Format::Opus.encoder(&metadata(), SEED).unwrap();
        let mut bytes = Vec::new();
        encoder.encode(&PcmBlock { start: SampleIndex(0), samples }, &mut bytes).unwrap();
        encoder.finish(&mut bytes).unwrap();
    }
}

#[test]
fn it_sounds_like_the_song_and_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.opus");
    written(&path, &[BLOCK; 10]).finish().unwrap();
    let (song, heard) = (music(0, 10 * BLOCK).samples, heard(&path).samples);
    let ratio = signal_to_noise(&song, &heard);
    assert!(ratio > 20.0, "{ratio} dB");
    let late = signal_to_noise(&song[2..], &heard);
    assert!(ratio > late, "a sample later fits better: {late} dB");
}

#[test]
fn a_file_that_is_let_go_of_in_the_middle_plays_to_its_last_page() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.opus");
    // Never dropped, as in a process that is killed.
    std::mem::forget(written(&path, &[BLOCK; 20]));
    let Heard { samples, ended, .. } = heard(&path);
    assert!(!ended);
    let (length, missing) = (samples.len() as u64 / 2, 20 * BLOCK - samples.len() as u64 / 2);
    assert!(missing < 7 * 960, "of {length} samples, {missing} are not there");
}

#[test]
fn words_that_fill_more_than_a_page_are_found_and_the_sound_begins_on_a_page_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.opus");
    let (tags, words) = ("t".repeat(32 << 10), "w".repeat(40_000));
    let long = Metadata::new(&tags, &words, SEED, "abcd");
    let mut file = AudioFile::create(&path, Format::Opus, &long, SEED).unwrap();
    let head = Format::Opus.encoder(&long, SEED).unwrap().head().unwrap();
    file.write(&music(0, BLOCK)).unwrap();
    file.finish().unwrap();
    let Heard { comments, samples, .. } = heard(&path);
    let text = String::from_utf8_lossy(&comments);
    assert!(
        text.starts_with("OpusTags")
            && text.contains("SEED=9")
            && text.contains(&format!("LYRICS={}", &words[..32 << 10]))
    );
    assert_eq!(samples.len() as u64, 2 * BLOCK);
    let bytes = fs::read(path).unwrap();
    assert!(bytes.starts_with(&head) && bytes[head.len()..].starts_with(b"OggS\0\0"));
}
