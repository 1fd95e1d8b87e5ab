//! Streaming encoder: the interface of every format.

use heartstream_messages::PcmBlock;

use crate::FormatError;

/// Turns the blocks of one song into the bytes of one format. Its output is never taken back, but for the
/// head of a file.
pub trait Encoder: Send {
    /// What stands before the sound, as long as the length of the song is not known.
    ///
    /// # Errors
    /// When the metadata does not fit into the format.
    fn head(&self) -> Result<Vec<u8>, FormatError>;

    /// Appends the bytes of the next block to `bytes`: whole units of the format, so that a decoder can begin with what
    /// follows them. Samples that fill no unit wait for the next block.
    ///
    /// # Errors
    /// When the format cannot hold the song.
    fn encode(&mut self, block: &PcmBlock, bytes: &mut Vec<u8>) -> Result<(), FormatError>;

    /// Appends what still waits.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    fn finish(&mut self, bytes: &mut Vec<u8>) -> Result<(), FormatError>;

    /// The head of a file that holds all output so far, as long as [`Encoder::head`]; `None` where the head
    /// says nothing of the length.
    ///
    /// # Errors
    /// As [`Encoder::head`].
    fn head_of_file(&self) -> Result<Option<Vec<u8>>, FormatError>;
}
