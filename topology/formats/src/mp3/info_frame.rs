//! Info frame: the first frame of an MP3, which is silent and says how long the song is, to a sample.
//!
//! Its layout is that of "Mp3 Info Tag revision 1 Specifications" (LAME project), which players read.

/// Bytes of a frame: 1152 samples at 192 kbit/s and 48 kHz.
pub(super) const FRAME_BYTES: usize = 576;
/// Samples of one channel in a frame (ISO 11172-3, section 2.4.2.1).
const FRAME_SAMPLES: u64 = 1152;
/// Samples that the encoder puts before the song (`ENCDELAY` of LAME 3.100). What a decoder adds is not counted.
const DELAY: u64 = 576;
/// Header of a frame (ISO 11172-3, section 2.4.1.3): MPEG-1 Layer III without checksum, 192 kbit/s, 48 kHz, joint stereo,
/// an original.
const HEADER: [u8; 4] = [0xff, 0xfb, 0xb4, 0x44];
/// Bytes of side information of two channels; zeroes are silence.
const SIDE_INFO: usize = 32;
/// Which fields follow: the count of frames, the count of bytes, the table of places, the quality.
const COUNTS: u32 = 1 | 2;
const TABLE_AND_QUALITY: u32 = 4 | 8;
/// Revision 0 of the tag, constant rate.
const CONSTANT_RATE: u8 = 1;
/// Low-pass filter, in 100 Hz: what LAME chooses at 192 kbit/s.
const LOW_PASS: u8 = 186;
const KILOBITS: u8 = 192;

/// How long a song is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Length {
    /// Samples of one channel.
    pub samples: u64,
    /// Frames, without the info frame.
    pub frames: u64,
}

/// The frame. Without a length it says only how many samples the encoder put before the song.
pub(super) fn info_frame(length: Option<Length>) -> Vec<u8> {
    let padding = length.map_or(0, |length| (length.frames * FRAME_SAMPLES).saturating_sub(length.samples + DELAY));
    let bytes = length.map_or(0, |length| (length.frames + 1) * FRAME_BYTES as u64);
    let mut frame = [&HEADER[..], &[0; SIDE_INFO], b"Info"].concat();
    match length {
        None => frame.extend(TABLE_AND_QUALITY.to_be_bytes()),
        Some(Length { frames, .. }) => {
            frame.extend((COUNTS | TABLE_AND_QUALITY).to_be_bytes());
            frame.extend((frames as u32).to_be_bytes()); // 32 bits are three years
            frame.extend((bytes as u32).to_be_bytes());
        }
    }
    // Where each hundredth of the song is, in parts of 256 of the file: with a constant rate, there.
    frame.extend((0..100u32).map(|hundredth| (hundredth * 256 / 100) as u8));
    frame.extend([0; 4]);
    frame.extend(b"LAME3.100");
    frame.extend([CONSTANT_RATE, LOW_PASS]);
    // Peak, two gains, flags of the encoder: not known.
    frame.extend([0; 4 + 2 + 2 + 1]);
    frame.push(KILOBITS);
    // Twelve bits for each.
    let both = DELAY << 12 | padding.min(0xfff);
    frame.extend(&both.to_be_bytes()[5..]);
    // Kind of source, gain, preset.
    frame.extend([0; 1 + 1 + 2]);
    frame.extend((bytes as u32).to_be_bytes());
    // The checksum of the sound, which readers leave alone, and that of this frame.
    frame.extend([0; 2]);
    frame.extend(checksum(&frame).to_be_bytes());
    frame.resize(FRAME_BYTES, 0);
    frame
}

/// CRC of 16 bits: polynomial 0x8005, reflected.
fn checksum(bytes: &[u8]) -> u16 {
    let bit = |sum: u16, _| if sum & 1 == 1 { sum >> 1 ^ 0xa001 } else { sum >> 1 };
    bytes.iter().fold(0, |sum, byte| (0..8).fold(sum ^ u16::from(*byte), bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_catalogue() {
        // CRC-16/ARC.
        assert_eq!(checksum(b"123456789"), 0xbb3d);
    }

    #[test]
    fn a_frame_is_as_long_with_a_length_as_without() {
        let length = Length { samples: 48_000, frames: 43 };
        assert_eq!([None, Some(length)].map(|length| info_frame(length).len()), [FRAME_BYTES; 2]);
    }
}
