//! WAV header, as a function of the format and the length.
//!
//! | offset | file below 4 GiB | file above (RF64) | stream |
//! |---|---|---|---|
//! | 0 | `RIFF`, size | `RF64`, -1 | `RIFF`, -1 |
//! | 8 | `WAVE` | `WAVE` | `WAVE` |
//! | 12 | `JUNK`, 28 bytes | `ds64`: size, bytes and length in 64 bits | |
//! | 48, stream 12 | `fmt ` | `fmt ` | `fmt ` |
//! | then | `fact`, length | `fact`, -1 | `fact`, -1 |
//! | then | `data`, bytes | `data`, -1 | `data`, -1 |
//!
//! The `JUNK` chunk keeps the place of `ds64` free, so a file that outgrows 32 bits changes its first bytes and nothing
//! moves. Every reader skips it.
//!
//! Documents: "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft, 1991) for RIFF and
//! WAVE; "Multiple Channel Audio Data and WAVE Files" (Microsoft, 2001) for which formats want `WAVEFORMATEX`, which
//! `WAVEFORMATEXTENSIBLE`, and which a `fact` chunk; EBU Tech 3306 "RF64: An extended File Format for Audio" (2009) for
//! `RF64`, `ds64` and `JUNK`.

use heartstream_messages::units::{CHANNELS, SAMPLE_RATE};

use super::sample_format::SampleFormat;

/// In a field of 32 bits: "not known", in RF64 "see `ds64`".
const UNKNOWN: u32 = u32::MAX;
/// The largest size that the `RIFF` field can say.
pub const LARGEST_RIFF: u64 = UNKNOWN as u64 - 1;
/// Bytes before the content of a chunk: its name and its size.
const CHUNK_HEAD: u64 = 8;
/// `ds64` without a table: three sizes of 64 bits and the length of the table.
const DS64_BYTES: usize = 28;

/// `WAVE_FORMAT_PCM`, `WAVE_FORMAT_IEEE_FLOAT` and `WAVE_FORMAT_EXTENSIBLE` of mmreg.h.
const TAG_PCM: u16 = 1;
const TAG_IEEE_FLOAT: u16 = 3;
const TAG_EXTENSIBLE: u16 = 0xFFFE;
/// `SPEAKER_FRONT_LEFT | SPEAKER_FRONT_RIGHT`.
const LEFT_AND_RIGHT: u32 = 3;
/// `KSDATAFORMAT_SUBTYPE_PCM`, as it lies in a file.
const SUBTYPE_PCM: [u8; 16] = *b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71";

/// The header of a file with `data_bytes` bytes of samples, which must be whole sample frames, and with the chunks
/// `info` before them: whole chunks of an even length, or nothing. Its length depends on the format and on `info`
/// alone. RF64 when the file would be larger than `largest_riff`: [`LARGEST_RIFF`], but in tests.
pub fn of_file(format: SampleFormat, info: &[u8], data_bytes: u64, largest_riff: u64) -> Vec<u8> {
    let frames = data_bytes / format.bytes_per_sample_frame();
    // What the RIFF field counts: all but its own chunk head. A sample frame has an even number of bytes, so no chunk
    // needs a byte of padding.
    let riff_bytes = file_header_bytes(format) - CHUNK_HEAD + info.len() as u64 + data_bytes;
    if riff_bytes > largest_riff {
        let (sizes, table_length) = ([riff_bytes, data_bytes, frames].map(u64::to_le_bytes), 0u32.to_le_bytes());
        let ds64 = chunk(b"ds64", &[sizes.as_flattened(), &table_length].concat());
        return assemble(b"RF64", &ds64, format, info, &Lengths::UNKNOWN);
    }
    // All three fit, for the largest does.
    let lengths = Lengths { riff: riff_bytes as u32, frames: frames as u32, data: data_bytes as u32 };
    assemble(b"RIFF", &chunk(b"JUNK", &[0; DS64_BYTES]), format, info, &lengths)
}

/// The header of a file that is read while it grows: as long as that of [`of_file`], and it says that the length is not
/// known.
pub fn of_growing_file(format: SampleFormat, info: &[u8]) -> Vec<u8> {
    assemble(b"RIFF", &chunk(b"JUNK", &[0; DS64_BYTES]), format, info, &Lengths::UNKNOWN)
}

/// The length of [`of_file`]'s header without further chunks.
pub(super) fn file_header_bytes(format: SampleFormat) -> u64 {
    let stream = of_stream(format).len() as u64;
    stream + CHUNK_HEAD + DS64_BYTES as u64
}

/// The header of a stream of unknown length.
pub fn of_stream(format: SampleFormat) -> Vec<u8> {
    assemble(b"RIFF", &[], format, &[], &Lengths::UNKNOWN)
}

/// The fields that depend on the length of the song.
struct Lengths {
    /// Bytes of the file behind this field.
    riff: u32,
    /// Samples of one channel.
    frames: u32,
    /// Bytes of all samples.
    data: u32,
}

impl Lengths {
    const UNKNOWN: Self = Self { riff: UNKNOWN, frames: UNKNOWN, data: UNKNOWN };
}

fn assemble(name: &[u8; 4], sizes: &[u8], format: SampleFormat, info: &[u8], lengths: &Lengths) -> Vec<u8> {
    // Every format but plain PCM says its length a second time.
    let fact = if tag(format) == TAG_PCM { Vec::new() } else { chunk(b"fact", &lengths.frames.to_le_bytes()) };
    let (riff, data) = (lengths.riff.to_le_bytes(), lengths.data.to_le_bytes());
    [name, &riff[..], b"WAVE", sizes, &format_chunk(format), &fact, info, b"data", &data].concat()
}

/// Plain PCM has at most 16 bits; integers of more must be `EXTENSIBLE`.
fn tag(format: SampleFormat) -> u16 {
    match format {
        SampleFormat::F32 => TAG_IEEE_FLOAT,
        SampleFormat::S24 => TAG_EXTENSIBLE,
        SampleFormat::S16 => TAG_PCM,
    }
}

/// The `fmt ` chunk.
fn format_chunk(format: SampleFormat) -> Vec<u8> {
    let bytes_per_sample_frame = format.bytes_per_sample_frame() as u16; // at most 8
    let mut content = Vec::new();
    content.extend(tag(format).to_le_bytes());
    content.extend((CHANNELS as u16).to_le_bytes());
    content.extend(SAMPLE_RATE.to_le_bytes());
    content.extend((SAMPLE_RATE * u32::from(bytes_per_sample_frame)).to_le_bytes());
    content.extend(bytes_per_sample_frame.to_le_bytes());
    content.extend(format.bits().to_le_bytes());
    match format {
        SampleFormat::S16 => (),
        // The size of an extension: there is none, but it must be said, or readers complain.
        SampleFormat::F32 => content.extend(0u16.to_le_bytes()),
        SampleFormat::S24 => {
            content.extend(22u16.to_le_bytes()); // bytes that follow
            content.extend(format.bits().to_le_bytes()); // valid bits: all
            content.extend(LEFT_AND_RIGHT.to_le_bytes());
            content.extend(SUBTYPE_PCM);
        }
    }
    chunk(b"fmt ", &content)
}

/// A chunk around `content`, which has an even number of bytes.
pub fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    debug_assert!(content.len().is_multiple_of(2), "a chunk starts at an even place");
    [name, &(content.len() as u32).to_le_bytes()[..], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The chunks of a header: name, size field and place of the content. Stops at `data`, whose content is not here.
    fn chunks(header: &[u8]) -> Vec<(String, u32, usize)> {
        let (mut found, mut place) = (Vec::new(), 12);
        while place < header.len() {
            let name = String::from_utf8(header[place..place + 4].to_vec()).unwrap();
            let size = word(header, place + 4);
            found.push((name.clone(), size, place + 8));
            place += 8 + if name == "data" { 0 } else { size as usize };
        }
        assert_eq!(place, header.len(), "the header ends where the samples begin");
        found
    }

    fn word(bytes: &[u8], place: usize) -> u32 {
        u32::from_le_bytes(bytes[place..place + 4].try_into().unwrap())
    }

    fn long(bytes: &[u8], place: usize) -> u64 {
        u64::from_le_bytes(bytes[place..place + 8].try_into().unwrap())
    }

    fn names(header: &[u8]) -> Vec<String> {
        chunks(header).into_iter().map(|(name, ..)| name).collect()
    }

    #[test]
    fn a_file_says_its_lengths_in_every_format() {
        for format in SampleFormat::ALL {
            let data = 48_000 * format.bytes_per_sample_frame();
            let header = of_file(format, &[], data, LARGEST_RIFF);
            assert_eq!(header.len() as u64, file_header_bytes(format));
            assert_eq!((&header[..4], &header[8..12]), (&b"RIFF"[..], &b"WAVE"[..]));
            assert_eq!(u64::from(word(&header, 4)), header.len() as u64 + data - 8);
            let fact = if format == SampleFormat::S16 { &[][..] } else { &["fact"][..] };
            assert_eq!(names(&header), [&["JUNK", "fmt "][..], fact, &["data"]].concat());
            for (name, size, place) in chunks(&header) {
                match name.as_str() {
                    "JUNK" => assert_eq!(size, 28),
                    "fact" => assert_eq!((size, word(&header, place)), (4, 48_000)),
                    "data" => assert_eq!(u64::from(size), data),
                    _ => (),
                }
            }
        }
    }

    #[test]
    fn the_format_chunk_is_that_of_the_document_byte_for_byte() {
        // Tag, channels, rate, bytes per second, bytes per sample frame, bits, then the extension.
        assert_eq!(
            format_chunk(SampleFormat::S16)[4..],
            *b"\x10\0\0\0\x01\0\x02\0\x80\xbb\0\0\0\xee\x02\0\x04\0\x10\0"
        );
        assert_eq!(
            format_chunk(SampleFormat::F32)[4..],
            *b"\x12\0\0\0\x03\0\x02\0\x80\xbb\0\0\0\xdc\x05\0\x08\0\x20\0\0\0"
        );
        assert_eq!(
            format_chunk(SampleFormat::S24)[4..32],
            *b"\x28\0\0\0\xfe\xff\x02\0\x80\xbb\0\0\0\x65\x04\0\x06\0\x18\0\x16\0\x18\0\x03\0\0\0"
        );
    }

    #[test]
    fn past_4_gib_the_same_bytes_become_rf64() {
        for format in SampleFormat::ALL {
            let frame = format.bytes_per_sample_frame();
            let most = (LARGEST_RIFF + 8 - file_header_bytes(format)) / frame * frame;
            let (last_small, first_large) =
                (of_file(format, &[], most, LARGEST_RIFF), of_file(format, &[], most + frame, LARGEST_RIFF));
            assert_eq!(&last_small[..4], b"RIFF", "{format}");
            assert_eq!(u64::from(word(&last_small, 4)), most + last_small.len() as u64 - 8);

            assert_eq!(first_large.len(), last_small.len(), "nothing moves");
            assert_eq!((&first_large[..4], &first_large[8..16]), (&b"RF64"[..], &b"WAVEds64"[..]));
            assert_eq!((word(&first_large, 4), word(&first_large, 16)), (UNKNOWN, 28));
            assert_eq!(long(&first_large, 20), most + frame + first_large.len() as u64 - 8, "riffSize");
            assert_eq!(long(&first_large, 28), most + frame, "dataSize");
            assert_eq!(long(&first_large, 36), most / frame + 1, "sampleCount");
            assert_eq!(word(&first_large, 44), 0, "tableLength");
            let format_bytes = format_chunk(format);
            assert_eq!(first_large[48..48 + format_bytes.len()], format_bytes);
            for (name, size, place) in chunks(&first_large) {
                match name.as_str() {
                    "fact" => assert_eq!(word(&first_large, place), UNKNOWN),
                    "data" => assert_eq!(size, UNKNOWN),
                    _ => (),
                }
            }
        }
    }

    #[test]
    fn chunks_before_the_samples_are_counted_and_the_header_of_a_growing_file_is_as_long() {
        let info = chunk(b"LIST", b"INFOINAM\x04\0\0\0Song");
        for format in SampleFormat::ALL {
            let header = of_file(format, &info, 480, LARGEST_RIFF);
            assert_eq!(u64::from(word(&header, 4)), header.len() as u64 + 480 - 8);
            assert_eq!(names(&header).iter().rev().nth(1).map(String::as_str), Some("LIST"));
            let growing = of_growing_file(format, &info);
            assert_eq!((names(&growing), growing.len()), (names(&header), header.len()));
            assert_eq!((word(&growing, 4), &growing[growing.len() - 4..]), (UNKNOWN, &[0xff; 4][..]));
        }
    }

    #[test]
    fn a_stream_says_that_its_length_is_not_known() {
        for format in SampleFormat::ALL {
            let header = of_stream(format);
            assert_eq!((&header[..4], word(&header, 4), &header[8..16]), (&b"RIFF"[..], UNKNOWN, &b"WAVEfmt "[..]));
            assert_eq!(header[header.len() - 8..], *b"data\xff\xff\xff\xff");
            if let Some((_, _, place)) = chunks(&header).iter().find(|(name, ..)| name == "fact") {
                assert_eq!(word(&header, *place), UNKNOWN);
            }
        }
    }
}
