//! Fingerprint of a checkpoint: a short name for its contents.

use super::Checkpoint;
use crate::error::Result;

/// Bytes between two probes of a large file: a checkpoint of 22 GB takes 1400 reads.
const STRIDE: usize = 1 << 24;
/// Bytes of a probe.
const LOOK: usize = 64;

// The 64-bit FNV-1a hash (<http://www.isthe.com/chongo/tech/comp/fnv/>): its basis and its prime.
const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The hash FNV-1a of 64 bits, over all bytes that were added.
#[derive(Debug, Clone, Copy)]
pub struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(BASIS)
    }
}

impl Fnv1a {
    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }

    /// The hash.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// Names the contents of `files`: their lengths and a part of their bytes. It tells checkpoints apart, and is no
/// protection against tampering.
///
/// # Errors
/// When a file cannot be read.
pub fn fingerprint(checkpoint: &Checkpoint, files: &[String]) -> Result<String> {
    let mut hash = Fnv1a::default();
    if let Checkpoint::Seeded(seeded) = checkpoint {
        hash.add(seeded.name().as_bytes());
    }
    for file in files {
        let bytes = checkpoint.file(file)?;
        hash.add(&(bytes.len() as u64).to_le_bytes());
        for place in (0..bytes.len()).step_by(if bytes.len() > STRIDE { STRIDE } else { LOOK }) {
            hash.add(&bytes[place..(place + LOOK).min(bytes.len())]);
        }
    }
    Ok(format!("{:016x}", hash.value()))
}
