//! Ogg pages (RFC 3533): packets of one logical stream, framed so that a reader can begin with any page.

/// Segments in a page at most, of up to 255 bytes each (RFC 3533, section 6).
const MOST_SEGMENTS: usize = 255;
/// Flags of a page (RFC 3533, section 6).
const CONTINUED: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// The granule position of a page on which no packet ends.
const NO_PACKET_ENDS: u64 = u64::MAX;
/// Bytes of a page's checksum; the count of segments follows.
const CHECKSUM: std::ops::Range<usize> = 22..26;

/// Where pages stand in their stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PagePlace {
    First,
    Between,
    Last,
}

/// Pages of one stream, which are numbered.
#[derive(Debug, Clone)]
pub(crate) struct OggStream {
    serial: u32,
    pages: u32,
}

impl OggStream {
    /// A stream without pages; `serial` tells it from others in one file.
    pub fn new(serial: u32) -> Self {
        Self { serial, pages: 0 }
    }

    /// Appends `packets` to `bytes`, in as few pages as hold them. `granule` is the position at which the last one ends.
    pub fn write(&mut self, packets: &[Vec<u8>], granule: u64, place: PagePlace, bytes: &mut Vec<u8>) {
        let lacing: Vec<u8> = packets.iter().flat_map(|packet| lacing(packet.len())).collect();
        let mut content = packets.iter().flatten().copied();
        let pages = lacing.len().div_ceil(MOST_SEGMENTS);
        let mut continued = false;
        for (number, segments) in lacing.chunks(MOST_SEGMENTS).enumerate() {
            let first = if place == PagePlace::First && number == 0 { FIRST } else { 0 };
            let last = if place == PagePlace::Last && number + 1 == pages { LAST } else { 0 };
            let flags = if continued { CONTINUED } else { 0 } | first | last;
            let packet_ends = segments.iter().any(|length| *length < u8::MAX);
            let start = bytes.len();
            bytes.extend(b"OggS\0");
            bytes.push(flags);
            bytes.extend(if packet_ends { granule } else { NO_PACKET_ENDS }.to_le_bytes());
            bytes.extend(self.serial.to_le_bytes());
            bytes.extend(self.pages.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.push(segments.len() as u8); // at most `MOST_SEGMENTS`
            bytes.extend(segments);
            bytes.extend(content.by_ref().take(segments.iter().map(|length| usize::from(*length)).sum()));
            let checksum = checksum(&bytes[start..]).to_le_bytes();
            bytes[start + CHECKSUM.start..start + CHECKSUM.end].copy_from_slice(&checksum);
            self.pages = self.pages.wrapping_add(1);
            continued = segments.last() == Some(&u8::MAX);
        }
    }
}

/// The lengths of a packet's segments: full ones, and one that is not.
fn lacing(length: usize) -> impl Iterator<Item = u8> {
    std::iter::repeat_n(u8::MAX, length / 255).chain([(length % 255) as u8])
}

/// CRC of 32 bits: polynomial 0x04c11db7, neither reflected nor inverted (RFC 3533, section 6).
fn checksum(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(0, |sum, byte| sum << 8 ^ TABLE[(sum >> 24) as usize ^ usize::from(*byte)])
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 << 31 != 0 { sum << 1 ^ 0x04c1_1db7 } else { sum << 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_catalogue() {
        // CRC-32/CKSUM without its inversion: the check value of "123456789" is 0x765e7680, inverted 0x89a1897f.
        assert_eq!(checksum(b"123456789"), 0x89a1_897f);
    }

    #[test]
    fn a_packet_that_fills_its_last_segment_ends_with_an_empty_one() {
        assert_eq!(lacing(0).collect::<Vec<_>>(), [0]);
        assert_eq!(lacing(255).collect::<Vec<_>>(), [255, 0]);
        assert_eq!(lacing(600).collect::<Vec<_>>(), [255, 255, 90]);
    }

    #[test]
    fn a_packet_that_no_page_holds_goes_on_in_the_next_and_has_its_position_where_it_ends() {
        let (mut stream, mut bytes) = (OggStream::new(7), Vec::new());
        stream.write(&[vec![1; 70_000]], 9, PagePlace::Between, &mut bytes);
        let second = 27 + 255 + 255 * 255;
        assert_eq!(&bytes[second..second + 4], b"OggS");
        assert_eq!([bytes[5], bytes[second + 5]], [0, CONTINUED]);
        assert_eq!(bytes[6..14], NO_PACKET_ENDS.to_le_bytes());
        assert_eq!(bytes[second + 6..second + 14], 9u64.to_le_bytes());
        assert_eq!(bytes[second + 18..second + 22], 1u32.to_le_bytes());
        assert_eq!(bytes.len(), 70_000 + 2 * 27 + 255 + 20);
    }
}
