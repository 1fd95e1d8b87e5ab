//! Vorbis comments: the metadata of FLAC and of Opus.

use crate::Metadata;

/// The program, a count, and `NAME=value`, each behind its length ("Ogg Vorbis I format specification: comment field and
/// header specification"). Shorter than 24 bits say, because metadata is.
pub(crate) fn vorbis_comments(metadata: &Metadata) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    let entries = metadata.comments();
    let mut bytes = text(&metadata.software);
    bytes.extend((entries.len() as u32).to_le_bytes());
    bytes.extend(entries.iter().flat_map(|(name, value)| text(&format!("{name}={value}"))));
    bytes
}
