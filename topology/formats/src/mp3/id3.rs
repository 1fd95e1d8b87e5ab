//! ID3 tag: the metadata of an MP3.

use crate::Metadata;

/// A tag of version 2.4 ("ID3 tag version 2.4.0: Main Structure" and "Native Frames", M. Nilsson, 2000), all text as UTF-8.
pub(super) fn id3(metadata: &Metadata) -> Vec<u8> {
    const UTF_8: u8 = 3;
    let frame = |name: &[u8; 4], content: Vec<u8>| [&name[..], &synchsafe(content.len()), &[0, 0], &content].concat();
    let text = |text: &str| [&[UTF_8], text.replace('\0', " ").as_bytes()].concat();
    let named = |name: &str, value: &str| [&text(name)[..], &[0], value.replace('\0', " ").as_bytes()].concat();
    let lyrics = [&[UTF_8][..], b"eng\0", metadata.lyrics.replace('\0', " ").as_bytes()].concat();
    let frames = [
        frame(b"TIT2", text(&metadata.title)),
        frame(b"TCON", text(&metadata.tags)),
        frame(b"TSSE", text(&metadata.software)),
        frame(b"USLT", lyrics),
        frame(b"TXXX", named("SEED", &metadata.seed.to_string())),
        frame(b"TXXX", named("MODEL", &metadata.model)),
    ];
    let frames = frames.concat();
    [&b"ID3\x04\0\0"[..], &synchsafe(frames.len()), &frames].concat()
}

/// A size in four bytes of seven bits each. Metadata is shorter than 28 bits say.
fn synchsafe(size: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (size >> shift) as u8 & 0x7f)
}
